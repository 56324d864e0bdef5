"""Which written rows are taken: those that fit and are new."""

from __future__ import annotations

import sys
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_bridge.signatures.signatures import build_signature
from dspex_bridge.synthesis.angles import angle
from dspex_bridge.synthesis.distinct import Distinct
from dspex_bridge.synthesis.sifting import Sifting
from dspex_bridge.synthesis.writer import Writer
from dspex_protocol import DSPexError

REVIEWS = {
    "inputs": [{"name": "text", "type": "str", "desc": "a review"}],
    "outputs": [
        {"name": "stars", "type": "int", "ge": 1, "le": 5},
        {"name": "mood", "type": {"kind": "enum", "values": ["good", "bad"]}},
        {"name": "tags", "type": {"kind": "list", "items": "str"}},
    ],
}
GOOD: dict[str, Any] = {"text": "Fine.", "stars": 4, "mood": "good", "tags": []}


def sifting(wanted: int = 10, near: float | None = None) -> Sifting:
    return Sifting(build_signature(REVIEWS), Distinct(["text"], near), wanted)


def test_rows_that_fit_are_taken_as_the_wire_has_them() -> None:
    """Numbers and lists may be written as texts; a field that nobody declared is dropped."""
    taker = sifting()
    written = {"text": " Fine. ", "stars": "4", "mood": "good", "tags": '["a", "b"]', "why": "because"}
    assert (1, []) == taker.take([written])
    assert [{"text": " Fine. ", "stars": 4, "mood": "good", "tags": ["a", "b"]}] == taker.rows


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({**GOOD, "stars": 6}, "stars"),
        ({**GOOD, "stars": "many"}, "stars"),
        ({**GOOD, "mood": "middling"}, "mood"),
        ({**GOOD, "tags": "a"}, "tags"),
        ({**GOOD, "text": None}, "text"),
        ({"text": "Fine."}, "stars"),
        ("Fine.", "row"),
        (None, "row"),
    ],
)
def test_rows_that_do_not_fit_are_counted_and_told(row: object, field: str) -> None:
    """With the field, and the others of the answer are taken."""
    taker = sifting()
    taken, told = taker.take([row, GOOD])
    assert (1, {"unfit": 1}) == (taken, dict(taker.refused))
    assert told[0].startswith(f"{field}: expected")


def test_no_more_are_taken_than_are_wanted() -> None:
    """What is left over is not counted as refused."""
    taker = sifting(wanted=2)
    taker.take([{**GOOD, "text": f"Number {number}."} for number in range(5)])
    assert (2, True, {}) == (len(taker.rows), taker.is_done, dict(taker.refused))


@pytest.mark.parametrize(
    ("text", "sameness"),
    [
        ("The room was cold and loud", "duplicate"),
        ("the ROOM was  cold, and loud!", "duplicate"),
        ("The r\u00f6om was cold and loud", "duplicate"),
        ("The rooms were cold and loud", "near_duplicate"),
        ("The food was good", None),
    ],
)
def test_what_counts_as_the_same(text: str, sameness: str | None) -> None:
    """Case, accents, spaces and punctuation make no difference; a few letters do not with `near`."""
    known = Distinct(["text"], 0.85)
    assert known.add({"text": "The room was cold and loud"}) is None
    assert sameness == known.add({"text": text})
    strict = Distinct(["text"], None)
    strict.add({"text": "The room was cold and loud"})
    assert (sameness if sameness == "duplicate" else None) == strict.add({"text": text})


def test_rows_of_punctuation_alone_are_told_apart() -> None:
    """They are no text without it, and still not the same."""
    known = Distinct(["text"], None)
    assert [None, None, "duplicate"] == [known.add({"text": text}) for text in ("?!", "...", "?!")]


def test_near_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says which extra has it."""
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(DSPexError) as refused:
        Distinct(["text"], 0.9, "request.near")
    assert "request.near" == refused.value.details["field"]
    assert "dspex[metrics]" in refused.value.message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD, VALUES)) | VALUES, max_size=6))
def test_whatever_a_model_writes_is_taken_or_counted(answer: list[Any]) -> None:
    """And never raises; each row is one or the other."""
    taker = sifting()
    taken, _ = taker.take(answer)
    assert len(answer) == taken + sum(taker.refused.values())
    assert all({"text", "stars", "mood", "tags"} == row.keys() for row in taker.rows)


def test_angles_come_of_seed_and_number() -> None:
    """And nearly all differ."""
    first = [angle(7, number) for number in range(50)]
    assert first == [angle(7, number) for number in range(50)]
    assert first != [angle(8, number) for number in range(50)]
    assert len(set(first)) > 40


def test_the_model_is_told_the_fields_and_their_limits() -> None:
    """In words and as a schema, without Python's names of types."""
    writer = Writer(build_signature(REVIEWS))
    asked = writer.asked("Rate.", [GOOD], "the usual case", 3)
    told: Any = writer.write.signature
    system, user = dspy.ChatAdapter().format(told, [], asked)
    assert "text: a review" in user["content"]
    assert "less than or equal to: 5" in user["content"]
    assert '"maximum": 5' in system["content"]
    assert "list[Row]" in system["content"]
    assert "WithJsonSchema" not in system["content"]
