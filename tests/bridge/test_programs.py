"""Programs in a worker: stored ones by id and version, one-shot ones by their spec."""

from __future__ import annotations

import pytest

from dspex_bridge.programs import SCHEMA, ProgramCache, Spec, build_record
from dspex_protocol import DSPexError

SPEC = {"module": "Predict", "signature": "question -> answer"}


def record(signature: str = "question -> answer", **changes: object) -> dict[str, object]:
    """A record, as the supervisor stores it."""
    return {**build_record(Spec(module="Predict", signature=signature)), **changes}


def test_a_stored_program_is_built_once() -> None:
    """At its first use."""
    programs = ProgramCache()
    programs.load("p", 1, record())
    first = programs.stored("p", 1)
    assert first is programs.stored("p", 1)
    assert ["question"] == list(first.signature.input_fields)


def test_versions_are_programs_of_their_own() -> None:
    """Both can be called."""
    programs = ProgramCache()
    programs.load("p", 1, record("a -> b"))
    programs.load("p", 2, record("c -> d"))
    assert [["a"], ["c"]] == [list(programs.stored("p", n).signature.input_fields) for n in (1, 2)]


def test_loading_again_replaces() -> None:
    """An id that was deleted may come to mean another program."""
    programs = ProgramCache()
    programs.load("p", 1, record("a -> b"))
    programs.stored("p", 1)
    programs.load("p", 1, record("c -> d"))
    assert ["c"] == list(programs.stored("p", 1).signature.input_fields)


def test_the_stored_program_that_was_not_used_longest_is_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live modules are bounded; every record can still be called."""
    monkeypatch.setattr(ProgramCache, "MAX_LIVE", 2)
    programs = ProgramCache()
    for number in (1, 2, 3):
        programs.load("p", number, record())
    first, second = programs.stored("p", 1), programs.stored("p", 2)
    programs.stored("p", 1)
    programs.stored("p", 3)
    assert 2 == len(programs._live)
    assert first is programs.stored("p", 1)
    assert second is not programs.stored("p", 2)


@pytest.mark.parametrize(("program", "number"), [("q", 1), ("p", 2)])
def test_what_was_not_loaded_is_unknown(program: str, number: int) -> None:
    """By id and by version."""
    programs = ProgramCache()
    programs.load("p", 1, record())
    with pytest.raises(DSPexError) as refusal:
        programs.stored(program, number)
    assert "unknown_program" == refusal.value.code


def test_a_record_of_a_newer_form_is_refused() -> None:
    """Half of what it says would be lost."""
    with pytest.raises(DSPexError) as refusal:
        ProgramCache().load("p", 1, record(schema=SCHEMA + 1))
    assert ("invalid_argument", "record.schema") == (refusal.value.code, refusal.value.details["field"])


@pytest.mark.parametrize("bad", [None, [], {}, {"spec": SPEC}, "text"])
def test_what_is_no_record_is_refused(bad: object) -> None:
    """And nothing is kept."""
    programs = ProgramCache()
    with pytest.raises(DSPexError) as refusal:
        programs.load("p", 1, bad)
    assert "invalid_argument" == refusal.value.code
    with pytest.raises(DSPexError):
        programs.stored("p", 1)


def test_a_spec_that_comes_again_is_not_built_again() -> None:
    """Whatever dictionary it comes in."""
    programs = ProgramCache()
    assert programs.one_shot(SPEC) is programs.one_shot(dict(SPEC))
    assert programs.one_shot(SPEC) is not programs.one_shot({**SPEC, "module": "ChainOfThought"})


def test_the_spec_that_was_not_used_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is bounded."""
    monkeypatch.setattr(ProgramCache, "MAX_ONE_SHOT", 2)
    programs = ProgramCache()
    a, b, c = ({**SPEC, "signature": f"{name} -> z"} for name in "abc")
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
    assert 0 == len(programs._one_shot)
