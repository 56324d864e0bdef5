"""Modules by name, their options, and state that survives the wire."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_bridge.modules import (
    RULES,
    build_module,
    check_config,
    describe_modules,
    describe_types,
    dump_state,
    load_state,
)
from dspex_bridge.signatures import build_signature
from dspex_protocol import DSPexError, decode_value, encode_value


def over_the_wire(value: object) -> Any:
    return decode_value(encode_value(value))


def test_predict_and_chain_of_thought_answer() -> None:
    """Built from a description or from a class, with their config."""
    with dspy.context(lm=DummyLM([{"answer": "Paris"}, {"reasoning": "It is.", "answer": "Paris"}])):
        predict = build_module(
            "Predict", build_signature("question -> answer"), {"config": {"temperature": 0.5}}
        )
        assert {"temperature": 0.5} == predict.config
        assert "Paris" == predict(question="Capital of France?").answer
        thought = build_module("ChainOfThought", "question -> answer", {})
        assert {"reasoning": "It is.", "answer": "Paris"} == thought(question="Capital of France?").toDict()


def test_the_reasoning_may_have_a_type() -> None:
    """An argument of the constructor that is a type of Python is a type of the protocol here."""
    module: Any = build_module("ChainOfThought", "q -> a", {"rationale_field_type": "list[str]"})
    assert list[str] == module.predict.signature.output_fields["reasoning"].annotation


@pytest.mark.parametrize(
    ("name", "signature", "options", "field"),
    [
        ("Predictt", "q -> a", {}, "spec.module"),
        ("LM", "q -> a", {}, "spec.module"),
        ("__builtins__", "q -> a", {}, "spec.module"),
        ("Predict", "q", {}, "spec.signature"),
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
        build_module(name, signature, options)
    assert "invalid_argument" == refused.value.code
    assert field == refused.value.details["field"]


def test_config_passes_what_only_the_provider_knows() -> None:
    """As it is, if it is plain."""
    config = {"n": 2, "stop": ["x"], "response_format": {"type": "json_object"}, "logit_bias": None}
    assert config == check_config(config)


def test_modules_are_found_in_dspy_and_described() -> None:
    """All of them; those with a rule say what they take. The description fits the wire."""
    rows = {str(row["name"]): row for row in over_the_wire(describe_modules())}
    assert {"Predict", "ChainOfThought", "ReAct", "BestOfN"} <= set(rows)
    assert set(RULES) == {name for name, row in rows.items() if row["available"]}
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


def trained() -> dspy.Module:
    module: Any = build_module("ChainOfThought", "question, photo: image -> answer: int", {})
    picture = dspy.Image("https://example.test/a.png")
    module.predict.demos = [
        dspy.Example(question="x", photo=picture, answer=3).with_inputs("question", "photo")
    ]
    module.predict.signature = module.predict.signature.with_instructions("Count.")
    return module


def test_state_survives_the_wire() -> None:
    """Instructions and demos, with images still images, into a module fresh from its spec."""
    state = over_the_wire(dump_state(trained()))
    template: Any = build_module("ChainOfThought", "question, photo: image -> answer: int", {})
    loaded: Any = load_state(template, state)
    assert "Count." == loaded.predict.signature.instructions
    assert dspy.Image("https://example.test/a.png") == loaded.predict.demos[0].photo
    assert int is loaded.predict.signature.output_fields["answer"].annotation
    assert state == over_the_wire(dump_state(loaded))
    assert [] == template.predict.demos


def test_state_can_be_loaded_any_number_of_times() -> None:
    """DSPy's own load of one object ends in RecursionError after 140 times."""
    module, state = trained(), dump_state(trained())
    loaded = module
    for _ in range(160):
        loaded = load_state(module, state)
    assert state == dump_state(loaded)


def test_a_language_model_never_gets_into_state() -> None:
    """It would take its endpoint along, and programs name their models."""
    module: Any = trained()
    module.set_lm(dspy.LM("openai/x", api_key="sk-0123456789abcdef0123", api_base="http://example.test"))
    state: Any = dump_state(module)
    assert state["predict"]["lm"] is None
    assert b"example.test/v1" not in encode_value(state)
    assert b"sk-" not in encode_value(state)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"predict": 3}, "state.predict"),
        ({"predict": {}}, "state.predict.signature"),
        ({}, "state.predict"),
        ({"other": {}}, "state.other"),
        ({"predict": {"forward": "x"}}, "state.predict.forward"),
        ({"predict": {"signature": {"instructions": "x", "fields": []}}}, "state.predict.signature.fields"),
        ({"predict": {"signature": {"instructions": 3, "fields": []}}}, "state.predict.signature"),
    ],
)
def test_state_of_another_shape_is_refused(change: dict[str, object], field: str) -> None:
    """DSPy would set unknown keys as attributes and pair fields by position."""
    with pytest.raises(DSPexError) as refused:
        load_state(trained(), change)
    assert field == refused.value.details["field"]


def test_state_with_a_model_or_with_odd_demos_is_refused() -> None:
    """A stored record must not bring an endpoint, and demos are examples."""
    good: Any = dump_state(trained())
    for key, value in (("lm", {"model": "openai/x"}), ("demos", [3]), ("train", "x")):
        with pytest.raises(DSPexError, match=rf"state\.predict\.{key}"):
            load_state(trained(), {"predict": {**good["predict"], key: value}})
