"""Programs in a worker: stored ones by id and version, one-shot ones by their spec."""

from __future__ import annotations

import gc
import weakref

import pytest

from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.programs import ProgramCache
from dspex_bridge.programs.records import Spec
from dspex_bridge.programs.upgrades import SCHEMA
from dspex_protocol import DSPexError, Meta

SPEC = {"module": "Predict", "signature": "question -> answer"}


def record(signature: str = "question -> answer", **changes: object) -> dict[str, object]:
    """A record, as the supervisor stores it."""
    return {**Builder().build(Spec(module="Predict", signature=signature)).record(), **changes}


def normal(signature: str) -> object:
    """A spec in the form in which records have it."""
    return record(signature)["spec"]


def live(programs: ProgramCache, program: str, number: int) -> LiveProgram:
    """The program that a call with this meta would run."""
    stored = programs.named({"program": program, "version": number})
    assert stored is not None
    return stored.live()


def test_a_stored_program_is_built_once() -> None:
    """At its first use."""
    programs = ProgramCache()
    programs.load("p", 1, record())
    first = live(programs, "p", 1)
    assert first is live(programs, "p", 1)
    assert ["question"] == list(first.signature.input_fields)


def test_versions_are_programs_of_their_own() -> None:
    """Both can be called."""
    programs = ProgramCache()
    programs.load("p", 1, record("a -> b"))
    programs.load("p", 2, record("c -> d"))
    assert [["a"], ["c"]] == [list(live(programs, "p", n).signature.input_fields) for n in (1, 2)]


def test_loading_again_replaces() -> None:
    """An id that was deleted may come to mean another program."""
    programs = ProgramCache()
    programs.load("p", 1, record("a -> b"))
    live(programs, "p", 1)
    programs.load("p", 1, record("c -> d"))
    assert ["c"] == list(live(programs, "p", 1).signature.input_fields)


def test_a_program_that_is_forgotten_is_freed() -> None:
    """Nothing here holds its module; others stay."""
    programs = ProgramCache()
    programs.load("p", 1, record())
    programs.load("p", 2, record())
    module = weakref.ref(live(programs, "p", 1).module)
    programs.forget("p", 1)
    gc.collect()
    assert module() is None
    assert [("p", 2)] == list(programs._stored)


def test_forgetting_what_is_not_here_changes_nothing() -> None:
    """The supervisor may say it twice."""
    programs = ProgramCache()
    programs.load("p", 1, record())
    for program, number in (("p", 2), ("q", 1)):
        programs.forget(program, number)
    assert [("p", 1)] == list(programs._stored)


@pytest.mark.parametrize("then", ["forget", "load"])
def test_a_call_keeps_the_program_that_was_here_when_it_came(then: str) -> None:
    """Forgotten or replaced before it was first built."""
    programs = ProgramCache()
    programs.load("p", 1, record("a -> b"))
    mine = programs.named({"program": "p", "version": 1})
    if then == "forget":
        programs.forget("p", 1)
    else:
        programs.load("p", 1, record("c -> d"))
    assert mine is not None
    assert ["a"] == list(mine.live().signature.input_fields)


def test_a_record_is_dropped_when_its_module_is_built() -> None:
    """Nobody needs it again: the supervisor has it."""
    programs = ProgramCache()
    programs.load("p", 1, record())
    built = live(programs, "p", 1)
    assert built is programs._stored["p", 1]._content


def test_a_program_may_be_built_ahead_of_its_first_call() -> None:
    """The call finds it built; what cannot be built is kept, for the call to say."""
    programs = ProgramCache()
    programs.load("p", 1, record())
    programs.build("p", 1)
    stored = programs.named({"program": "p", "version": 1})
    assert stored is not None
    assert isinstance(stored._content, LiveProgram)


def test_a_record_that_cannot_be_built_fails_each_call_the_same_way() -> None:
    """It is not lost by the first."""
    programs = ProgramCache()
    programs.load("p", 1, record(spec={**SPEC, "module": "NoSuch"}))
    for _ in range(2):
        with pytest.raises(DSPexError) as refusal:
            live(programs, "p", 1)
        assert "invalid_argument" == refusal.value.code


@pytest.mark.parametrize(("program", "number"), [("q", 1), ("p", 2)])
def test_what_was_not_loaded_is_unknown(program: str, number: int) -> None:
    """By id and by version."""
    programs = ProgramCache()
    programs.load("p", 1, record())
    with pytest.raises(DSPexError) as refusal:
        programs.named({"program": program, "version": number})
    assert "unknown_program" == refusal.value.code


@pytest.mark.parametrize("meta", [{}, {"version": 1}, {"program": "p"}])
def test_a_meta_without_id_and_version_names_no_program(meta: Meta) -> None:
    """The call brings a spec, or needs none."""
    programs = ProgramCache()
    programs.load("p", 1, record())
    assert programs.named(meta) is None


def test_a_record_of_a_newer_form_is_refused() -> None:
    """Half of what it says would be lost. The calls behind it hear of that, and not that it is unknown."""
    programs = ProgramCache()
    with pytest.raises(DSPexError) as refusal:
        programs.load("p", 1, record(schema=SCHEMA + 1))
    assert ("record_too_new", SCHEMA) == (refusal.value.code, refusal.value.details["known"])
    with pytest.raises(DSPexError) as again:
        live(programs, "p", 1)
    assert "record_too_new" == again.value.code


@pytest.mark.parametrize("bad", [None, [], {}, {"spec": SPEC}, "text", {"schema": SCHEMA}, {"schema": True}])
def test_what_is_no_record_is_refused(bad: object) -> None:
    """When it comes, and again by each call that needs it."""
    programs = ProgramCache()
    for use in (lambda: programs.load("p", 1, bad), lambda: live(programs, "p", 1)):
        with pytest.raises(DSPexError) as refusal:
            use()
        assert "invalid_argument" == refusal.value.code


def test_a_spec_that_comes_again_is_not_built_again() -> None:
    """Whatever dictionary it comes in."""
    programs = ProgramCache()
    assert programs.one_shot(SPEC) is programs.one_shot(dict(SPEC))
    assert programs.one_shot(SPEC) is not programs.one_shot({**SPEC, "module": "ChainOfThought"})


def test_the_spec_that_was_not_used_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is bounded."""
    monkeypatch.setattr(Builder, "MAX_TEMPLATES", 2)
    programs = ProgramCache()
    a, b, c = (normal(f"{name} -> z") for name in "abc")
    first, second = programs.one_shot(a), programs.one_shot(b)
    programs.one_shot(a)
    programs.one_shot(c)
    assert first is programs.one_shot(a)
    assert second is not programs.one_shot(b)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (None, "spec"),
        ({"module": "Predict"}, "spec.signature"),
        ({**SPEC, "module": "NoSuch"}, "spec.module"),
        ({**SPEC, "extra": 1}, "spec.extra"),
    ],
)
def test_a_spec_that_is_wrong_is_refused_by_field(spec: object, field: str) -> None:
    """And is not kept."""
    programs = ProgramCache()
    with pytest.raises(DSPexError) as refusal:
        programs.one_shot(spec)
    assert ("invalid_argument", field) == (refusal.value.code, refusal.value.details["field"])
    assert 0 == len(programs.builder._templates)
