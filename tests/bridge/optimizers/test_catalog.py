"""Every optimizer of the installed DSPy is found, described, and its options checked."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

import dspy
import pytest
from dspy.teleprompt.signature_opt import SignatureOptimizer

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.optimizers.catalog import check_means, read_optimizer
from dspex_bridge.optimizers.classes import describe_optimizers, optimizer_classes
from dspex_bridge.optimizers.options import FROM_REQUEST, LEFT_OUT, SPREAD
from dspex_protocol import DSPexError, LMConfig

RUN_NOWHERE = {"AvatarOptimizer", "GRPO", "SignatureOptimizer"}


def refused(spec: object) -> DSPexError:
    with pytest.raises(DSPexError) as caught:
        read_optimizer(spec, "optimizer")
    assert "invalid_argument" == caught.value.code
    return caught.value


def test_all_that_dspy_exports_are_found() -> None:
    """And those that it hides in modules of their own."""
    exported = {name for name in dspy.teleprompt.__all__ if inspect.isclass(getattr(dspy.teleprompt, name))}
    assert exported | {"GRPO", "ReAnchor", "SignatureOptimizer"} == set(optimizer_classes())


def test_those_that_cannot_run_say_why() -> None:
    """And the reasons are true."""
    told = {row["name"]: row.get("reason") for row in describe_optimizers()}
    assert RUN_NOWHERE == {name for name, reason in told.items() if reason is not None}
    with pytest.raises(AttributeError, match="TypedPredictor"):
        dspy.teleprompt.AvatarOptimizer(metric=len)
    with pytest.raises(TypeError, match="positional arguments"):
        SignatureOptimizer()
    assert "TypedPredictor" in refused({"optimizer": "AvatarOptimizer"}).message


@pytest.mark.parametrize("name", sorted(optimizer_classes()))
def test_every_argument_is_accounted_for(name: str) -> None:
    """It is an option, or comes with the request, or is left out with a reason."""
    row = optimizer_classes()[name]
    known = FROM_REQUEST | set(LEFT_OUT) | set(SPREAD) | {"_kwargs"}
    for make, record in ((row.make.__init__, row.options), (row.make.compile, row.compile)):  # type: ignore[attr-defined]
        arguments = set(inspect.signature(make).parameters)
        assert arguments - known <= set(record.__dataclass_fields__)  # type: ignore[attr-defined]


def test_what_is_left_out_is_an_argument_of_dspys() -> None:
    """A row that nothing needs any more would say what is not so."""
    arguments: set[str] = set()
    for row in optimizer_classes().values():
        arguments |= row.constructor | row.compiling
    assert set(LEFT_OUT) <= arguments


def test_options_have_types_and_defaults() -> None:
    """Those of DSPy's annotations, or of its defaults."""
    told: dict[Any, Any] = {row["name"]: row for row in describe_optimizers()}
    assert "one of 'light', 'medium', 'heavy' or nil" == told["GEPA"]["options"]["auto"]["type"]
    assert "light" == told["MIPROv2"]["options"]["auto"]["default"]
    assert 4 == told["BootstrapFewShot"]["options"]["max_bootstrapped_demos"]["default"]
    assert told["BootstrapFewShotWithOptuna"]["compile"]["max_demos"]["required"]
    assert {"metric", "trainset", "valset"} == set(told["GEPA"]["takes"])  # a teacher it refuses
    assert told["GEPA"]["feedback"]
    assert ["programs"] == told["Ensemble"]["needs"]
    assert "max_bootstrapped_demos" in told["InferRules"]["options"]  # which it hands to BootstrapFewShot


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"optimizer": "Magic"}, "optimizer.optimizer"),
        ({"optimizer": "LabeledFewShot", "options": {"k": "many"}}, "optimizer.options.k"),
        ({"optimizer": "LabeledFewShot", "options": {"q": 1}}, "optimizer.options.q"),
        ({"optimizer": "LabeledFewShot", "compile": {"sample": 1}}, "optimizer.compile.sample"),
        ({"optimizer": "GEPA", "options": {"auto": "extreme"}}, "optimizer.options.auto"),
        ({"optimizer": "GEPA", "options": {"log_dir": "/tmp"}}, "optimizer.options.log_dir"),
        ({"optimizer": "COPRO", "options": {"breadth": 1}}, "optimizer.options.breadth"),
        ({"optimizer": "COPRO", "options": {"metric": "x"}}, "optimizer.options.metric"),
        ({"optimizer": "KNNFewShot", "options": {"vectorizer": "v"}}, "optimizer.options.k"),
        ({"optimizer": "SIMBA", "options": {"num_threads": 65}}, "optimizer.options.num_threads"),
        (
            {"optimizer": "BetterTogether", "options": {"optimizers": {"p": {"optimizer": "Magic"}}}},
            "optimizer.options.optimizers.p.optimizer",
        ),
        (
            {
                "optimizer": "BetterTogether",
                "options": {"optimizers": {"p": {"optimizer": "LabeledFewShot", "options": {"k": 0}}}},
            },
            "optimizer.options.optimizers.p.options.k",
        ),
    ],
)
def test_a_wrong_spec_is_refused_by_its_path(spec: object, field: str) -> None:
    """With what was expected there."""
    assert field == refused(spec).details["field"]


@pytest.mark.parametrize(
    ("name", "package"), [("MIPROv2", "optuna"), ("SIMBA", "numpy"), ("KNNFewShot", "numpy")]
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    """With the extra that brings it."""
    found = importlib.util.find_spec

    def find_spec(wanted: str, within: str | None = None) -> object:
        return None if wanted == package else found(wanted, within)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    reason = refused({"optimizer": name}).message
    assert package in reason
    assert "dspex[optimizers]" in reason


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"reflection_lm": "nobody"}, "unknown_lm"),
        ({"reflection_lm": "vectors"}, "invalid_argument"),
    ],
)
def test_models_of_options_must_be_there(options: dict[str, object], code: str) -> None:
    """By name, as everywhere."""
    lms = LanguageModels(HostFunctions())
    lms.configure({"vectors": LMConfig(model="sim/v", model_type="embedding")}, {})
    chosen = read_optimizer({"optimizer": "GEPA", "options": options}, "optimizer")
    with pytest.raises(DSPexError) as caught:
        check_means(chosen, lms, HostFunctions())
    assert (code, "optimizer.options.reflection_lm") == (caught.value.code, caught.value.details["field"])
