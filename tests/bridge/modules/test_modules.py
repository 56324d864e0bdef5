"""Modules by name, DSPy's and those of plug-ins, and their options."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_bridge.lms.request_config import check_config
from dspex_bridge.modules.catalog import Catalog
from dspex_bridge.programs.builder import Builder
from dspex_bridge.signatures.signatures import build_signature
from dspex_bridge.signatures.type_names import describe_types
from dspex_protocol import DSPexError, decode_value, encode_value

CATALOG = Catalog()
BUILDER = Builder(CATALOG)


def over_the_wire(value: object) -> Any:
    return decode_value(encode_value(value))


def test_predict_and_chain_of_thought_answer() -> None:
    """Built from a signature, with their config."""
    with dspy.context(lm=DummyLM([{"answer": "Paris"}, {"reasoning": "It is.", "answer": "Paris"}])):
        predict = CATALOG.build(
            "Predict", build_signature("question -> answer"), {"config": {"temperature": 0.5}}, BUILDER
        ).module
        assert {"temperature": 0.5} == predict.config
        assert "Paris" == predict(question="Capital of France?").answer
        thought = CATALOG.build("ChainOfThought", build_signature("question -> answer"), {}, BUILDER).module
        assert {"reasoning": "It is.", "answer": "Paris"} == thought(question="Capital of France?").toDict()


def test_the_reasoning_may_have_a_type() -> None:
    """An argument of the constructor that is a type of Python is a type of the protocol here."""
    options: dict[str, object] = {"rationale_field_type": "list[str]"}
    module: Any = CATALOG.build("ChainOfThought", build_signature("q -> a"), options, BUILDER).module
    assert list[str] == module.predict.signature.output_fields["reasoning"].annotation


@pytest.mark.parametrize(
    ("name", "signature", "options", "field"),
    [
        ("Predictt", "q -> a", {}, "spec.module"),
        ("LM", "q -> a", {}, "spec.module"),
        ("__builtins__", "q -> a", {}, "spec.module"),
        ("Predict", "q -> a", {"callbacks": []}, "spec.options.callbacks"),
        ("Predict", "q -> a", {"config": 3}, "spec.options.config"),
        ("Predict", "q -> a", {"config": {"api_key": "x"}}, "spec.options.config.api_key"),
        ("Predict", "q -> a", {"config": {"api_base": "http://x"}}, "spec.options.config.api_base"),
        ("Predict", "q -> a", {"config": {"n": 0}}, "spec.options.config.n"),
        ("Predict", "q -> a", {"config": {"temperature": "hot"}}, "spec.options.config.temperature"),
        ("Predict", "q -> a", {"config": {"stop": [b"x"]}}, "spec.options.config.stop[0]"),
        (
            "ChainOfThought",
            "q -> a",
            {"config": {"rationale_field": 1}},
            "spec.options.config.rationale_field",
        ),
        ("ChainOfThought", "q -> a", {"rationale_field_type": "os"}, "spec.options.rationale_field_type"),
        ("ChainOfThought", "reasoning -> a", {}, "spec.signature"),
    ],
)
def test_a_bad_spec_is_refused_by_its_part(
    name: str, signature: object, options: dict[str, object], field: str
) -> None:
    """Unknown modules, unknown options, and what would say where requests go."""
    with pytest.raises(DSPexError) as refused:
        CATALOG.build(name, build_signature(signature), options, BUILDER)
    assert "invalid_argument" == refused.value.code
    assert field == refused.value.details["field"]


def test_config_passes_what_only_the_provider_knows() -> None:
    """As it is, if it is plain."""
    config = {"n": 2, "stop": ["x"], "response_format": {"type": "json_object"}, "logit_bias": None}
    assert config == check_config(config)


def test_modules_are_found_in_dspy_and_described() -> None:
    """All of them; those with a rule say what they take. The description fits the wire."""
    rows = {str(row["name"]): row for row in over_the_wire(CATALOG.describe())}
    assert {"Predict", "ChainOfThought", "ReAct", "BestOfN"} <= set(rows)
    assert ["rationale_field_type", "config"] == list(rows["ChainOfThought"]["options"])
    assert rows["Predict"]["async"]
    assert not rows["BestOfN"]["async"]


def test_every_described_type_can_be_used() -> None:
    """A word as the type of a field builds, with each constraint that it says it takes."""
    values: dict[str, object] = {"pattern": "^x", "min_length": 1, "max_length": 9}
    for row in over_the_wire(describe_types()):
        if "word" == row["form"]:
            limits = {name: values.get(name, 1) for name in row["constraints"] if name not in ("gt", "lt")}
            build_signature(
                {"inputs": [{"name": "a", "type": row["name"], **limits}], "outputs": [{"name": "b"}]}
            )
