"""Stored programs as parts: what they are and what they have learned, copied into another."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Final

import dspy
import pytest

from dspex_bridge.modules.catalog import Catalog
from dspex_bridge.modules.classes import ModuleClass
from dspex_bridge.modules.options import options_of
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec, StoredPart, read_record
from dspex_protocol import DSPexError, decode_value, encode_value

QA: Final[dict[str, Any]] = {"module": "ChainOfThought", "signature": "question -> answer"}
DEMO: Final[dict[str, object]] = {"question": "a", "reasoning": "b", "answer": "c"}
LEARNED: Final[dict[str, object]] = {"instructions": "Be brief.", "demos": [DEMO], "lm": "cheap"}
HERE: Final = {"program": "qa", "version": 3}


def stored(state: object = None, **named: Any) -> StoredPart:
    """The program `qa` at version 3, as the supervisor sends it."""
    record = Builder().build(Spec(**{**QA, **named}), state).record()
    return StoredPart(program="qa", version=3, record=encode_value(record))


def pipeline(*, check: object = None) -> Spec:
    """The stored program, and what checks its answer."""
    check = check or {"module": "Predict", "signature": "answer -> ok: bool"}
    options: dict[str, object] = {"nodes": {"ask": HERE, "check": check}}
    return Spec(module="Pipeline", signature="question -> ok: bool", options=options)


def part_of(program: LiveProgram) -> Any:
    options: Any = program.template.spec["options"]
    return options["nodes"]["ask"]


def again(program: LiveProgram) -> LiveProgram:
    """In another worker."""
    return Builder().load(read_record(decode_value(encode_value(program.record()))))


def test_a_stored_program_is_copied_in_with_all_that_it_has_learned() -> None:
    """Its spec says where it came from; the record needs nothing else."""
    made = Builder().build(pipeline(), None, [stored({"predict": LEARNED})])
    assert {"instructions": "Be brief.", "lm": "cheap"} == {
        key: made.state["ask.predict"][key]  # type: ignore[index]
        for key in ("instructions", "lm")
    }
    assert ("ChainOfThought", HERE) == (part_of(made)["module"], part_of(made)["origin"])
    loaded = again(made)
    assert made.state == loaded.state
    assert {"ask.predict": "cheap"} == loaded.lms
    predictors: dict[str, Any] = dict(loaded.module.named_predictors())
    assert [DEMO] == [one.toDict() for one in predictors["ask.predict"].demos]
    assert "lm" not in loaded.state["check"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (Spec(module="Majority", options={"module": HERE, "N": 2}), "module.predict"),
        (
            Spec(
                module="Majority",
                options={"module": {"module": "Majority", "options": {"module": HERE, "N": 2}}, "N": 2},
            ),
            "module.module.predict",
        ),
    ],
)
def test_it_may_be_the_part_of_any_module(spec: Spec, name: str) -> None:
    """At any depth."""
    made = Builder().build(spec, None, [stored({"predict": LEARNED})])
    assert "Be brief." == again(made).state[name]["instructions"]  # type: ignore[index]


def test_the_same_one_twice_is_two() -> None:
    """What one learns the other does not."""
    nodes = {"one": HERE, "two": HERE, "check": {"module": "Predict", "signature": "x, y -> ok: bool"}}
    wires = {"check": {"x": "one.answer", "y": "two.answer"}}
    spec = Spec(module="Pipeline", signature="question -> ok: bool", options={"nodes": nodes, "wires": wires})
    builder = Builder()
    made = builder.build(spec, None, [stored({"predict": LEARNED})])
    after = builder.revise(made, None, {"one.predict": {"instructions": "Else."}})
    assert ["Else.", "Be brief."] == [
        after.state[name]["instructions"]  # type: ignore[index]
        for name in ("one.predict", "two.predict")
    ]


def test_what_is_made_of_it_stays_out_of_other_programs() -> None:
    """A program with the same spec that was made without it has learned nothing."""
    builder = Builder()
    made = builder.build(pipeline(), None, [stored({"predict": LEARNED})])
    options: Any = copy.deepcopy(made.template.spec["options"])
    plain = builder.build(Spec(module="Pipeline", signature="question -> ok: bool", options=options))
    assert plain.template is made.template
    assert "lm" not in plain.state["ask.predict"]  # type: ignore[operator]
    assert [] == plain.state["ask.predict"]["demos"]  # type: ignore[index]


def test_a_patch_goes_before_what_it_has_learned() -> None:
    """Where both say something of the same predictor."""
    made = Builder().build(
        pipeline(), {"ask.predict": {"instructions": "Mine."}}, [stored({"predict": LEARNED})]
    )
    assert ("Mine.", "cheap") == tuple(
        made.state["ask.predict"][key]  # type: ignore[index]
        for key in ("instructions", "lm")
    )


def test_another_version_brings_its_own_state_and_leaves_the_rest() -> None:
    """Whoever names a version in an update wants what that has learned."""
    builder = Builder()
    first = builder.build(pipeline(), None, [stored({"predict": LEARNED})])
    tuned = builder.revise(
        first, None, {"ask.predict": {"instructions": "Tuned."}, "check": {"instructions": "Check well."}}
    )
    newer = stored({"predict": {"instructions": "Newer."}})
    after = builder.revise(tuned, pipeline(), None, [newer])
    assert ["Newer.", "Check well."] == [
        after.state[name]["instructions"]  # type: ignore[index]
        for name in ("ask.predict", "check")
    ]
    # Given back as it was read, the spec names nothing that is stored, and all that was learned stays.
    spec: Any = tuned.template.spec
    same = builder.revise(tuned, Spec(**spec), None)
    assert tuned.state == same.state
    assert HERE == part_of(same)["origin"]


def test_a_pipeline_may_be_a_part_of_a_pipeline() -> None:
    """Its predictors come with their names."""
    inner = Builder().build(pipeline(), None, [stored({"predict": LEARNED})])
    part = StoredPart(program="qa", version=3, record=encode_value(inner.record()))
    nodes: dict[str, object] = {"ask": HERE}
    outer = Builder().build(
        Spec(module="Pipeline", signature="question -> ok: bool", options={"nodes": nodes}), None, [part]
    )
    assert {"ask.ask.predict", "ask.check"} == set(outer.state)
    assert {"ask.ask.predict": "cheap"} == outer.lms


def test_types_are_checked_across_it() -> None:
    """As with a spec in its place."""
    check = {"module": "Predict", "signature": "answer: int -> ok: bool"}
    with pytest.raises(DSPexError, match="of the type int, got ask"):
        Builder().build(pipeline(check=check), None, [stored()])


def test_a_record_that_cannot_be_built_is_told() -> None:
    """With what is wrong with it."""
    broken = StoredPart(program="qa", version=3, record=encode_value({"schema": 1_000}))
    with pytest.raises(DSPexError) as refused:
        Builder().build(pipeline(), None, [broken])
    assert "record_too_new" == refused.value.code


def test_one_whose_record_did_not_come_is_missing() -> None:
    """The supervisor sends it; a one-shot spec has none."""
    for records, field in (
        ([], "spec.options.nodes.ask.program"),
        ([stored()], "spec.options.nodes.check.program"),
    ):
        with pytest.raises(DSPexError) as refused:
            Builder().build(pipeline(check={"program": "other", "version": 1}), None, records)
        assert ("invalid_argument", field) == (refused.value.code, refused.value.details["field"])


@pytest.mark.parametrize(
    ("part", "whole", "fits"),
    [("json", None, False), ("json", "xml", False), ("json", "json", True), (None, "json", True)],
)
def test_a_part_is_asked_as_the_whole_is(part: str | None, whole: str | None, fits: bool) -> None:
    """A program that was made for another adapter is refused, and does not change in silence."""
    record = stored(adapter=part)
    spec = replace(pipeline(), adapter=whole)
    if fits:
        made = Builder().build(spec, None, [record])
        assert whole == made.template.spec["adapter"]["name"]
        assert "adapter" not in part_of(made)
    else:
        with pytest.raises(DSPexError, match="adapter") as refused:
            Builder().build(spec, None, [record])
        assert "spec.options.nodes.ask.program" == refused.value.details["field"]


class Copying(dspy.Module):  # type: ignore[misc]
    """Does not keep the module that it is given."""

    def __init__(self, module: dspy.Module) -> None:
        super().__init__()
        self.other = module.deepcopy()


def test_a_module_that_copies_its_part_is_refused() -> None:
    """Nobody could tell then which of its predictors has learned what."""
    options: Any = options_of(Copying)
    catalog = Catalog([ModuleClass(name="Copying", make=Copying, options=options)])
    with pytest.raises(DSPexError, match="keeps the modules"):
        Builder(catalog).build(Spec(module="Copying", options={"module": HERE}), None, [stored()])
