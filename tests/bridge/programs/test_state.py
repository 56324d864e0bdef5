"""What a module has learned: out of it and into a copy."""

from __future__ import annotations

import threading
from typing import Any

import dspy
import pytest
from tests.support.golden import over_the_wire

from dspex_bridge.modules.catalog import Catalog
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.state import copy_module, dump_state, load_state
from dspex_bridge.signatures.signatures import build_signature
from dspex_protocol import DSPexError, encode_value

PICTURE = dspy.Image("https://example.test/a.png")


def template() -> Any:
    signature = build_signature("question, photo: image -> answer: int")
    return Catalog().build("ChainOfThought", signature, {}, Builder()).module


def trained() -> Any:
    module = template()
    module.predict.demos = [
        dspy.Example(question="x", photo=PICTURE, answer=3).with_inputs("question", "photo")
    ]
    module.predict.signature = module.predict.signature.with_instructions("Count.")
    return module


def test_state_survives_the_wire() -> None:
    """Instructions and demos, with images still images, into a module fresh from its spec."""
    state = over_the_wire(dump_state(trained()))
    fresh = template()
    loaded: Any = load_state(fresh, state).module
    assert "Count." == loaded.predict.signature.instructions
    assert PICTURE == loaded.predict.demos[0].photo
    assert ["question", "photo"] == list(loaded.predict.demos[0].inputs().keys())
    assert int is loaded.predict.signature.output_fields["answer"].annotation
    assert state == over_the_wire(dump_state(loaded))
    assert [] == fresh.predict.demos


def test_state_can_be_loaded_any_number_of_times() -> None:
    """DSPy's own load of one object ends in RecursionError after 140 times."""
    module: Any = trained()
    state = dump_state(module)
    loaded: Any = module
    for _ in range(160):
        loaded = load_state(module, state).module
    assert state == dump_state(loaded)


def test_a_language_model_never_gets_into_state() -> None:
    """It would take its endpoint along, and programs name their models."""
    module = trained()
    module.set_lm(dspy.LM("openai/x", api_key="sk-0123456789abcdef0123", api_base="http://example.test/v1"))
    stored = encode_value(dump_state(module))
    assert b"example.test/v1" not in stored
    assert b"sk-" not in stored
    assert b"openai" not in stored


def test_a_language_model_goes_by_its_name() -> None:
    """Which says which one, and nothing of it."""
    state = dump_state(trained(), {"predict": "fast"})
    loaded = load_state(template(), over_the_wire(state))
    assert {"predict": "fast"} == loaded.lms
    assert state == dump_state(loaded.module, loaded.lms)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (3, "state"),
        ({"predict": 3}, "state.predict"),
        ({"predict": {}}, "state.predict.instructions"),
        ({}, "state.predict"),
        ({"other": {}}, "state.other"),
        ({"predict": {"forward": "x"}}, "state.predict.forward"),
    ],
)
def test_state_of_another_shape_is_refused(change: object, field: str) -> None:
    """DSPy would set unknown keys as attributes."""
    with pytest.raises(DSPexError) as refused:
        load_state(trained(), change)
    assert ("invalid_argument", field) == (refused.value.code, refused.value.details["field"])


@pytest.mark.parametrize(
    ("part", "value", "field"),
    [
        ("lm", {"model": "openai/x"}, "lm"),
        ("demos", [3], "demos[0]"),
        ("demos", [dspy.Prediction(a=1)], "demos[0]"),
        ("train", "x", "train"),
        ("fields", [], "fields"),
        ("fields", [{"prefix": 3, "description": ""}], "fields[0].prefix"),
        ("instructions", None, "instructions"),
        ("decisions", {"answer": {"threshold": 3}}, "decisions"),
        ("decisions", {"__class__": {}}, "decisions"),
    ],
)
def test_a_part_of_another_type_is_refused_by_its_name(part: str, value: object, field: str) -> None:
    """As deep as it lies."""
    good: Any = dump_state(trained())["predict"]
    with pytest.raises(DSPexError) as refused:
        load_state(trained(), {"predict": {**good, part: value}})
    assert f"state.predict.{field}" == refused.value.details["field"]


def test_settings_of_decisions_are_kept() -> None:
    """DSPy keeps them beside the signature, and its optimizers change them."""
    module: Any = dspy.Predict(build_signature("question -> fits: bool"))
    module.fields = {"fits": {"threshold": 0.25, "instructions": "Be strict."}}
    state = over_the_wire(dump_state(module))
    loaded: Any = load_state(dspy.Predict(build_signature("question -> fits: bool")), state).module
    assert module.fields == loaded.fields


def test_a_copy_shares_language_models_and_nothing_else() -> None:
    """They hold connections; demos a call may change."""
    module = trained()
    module.set_lm(dspy.LM("openai/x", api_key="x"))
    copied: Any = copy_module(module)
    assert module.predict.lm is copied.predict.lm
    copied.predict.demos.clear()
    assert 1 == len(module.predict.demos)


def test_a_module_with_something_that_cannot_be_copied_is_copied_but_for_that() -> None:
    """Such as a lock, which a plug-in's module may have."""

    class Locked(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")
            self.lock = threading.Lock()

    module = Locked()
    copied: Any = copy_module(module)
    assert module.lock is copied.lock
    assert module.predict is not copied.predict
