"""Values that grow: what is given fits the type, never goes back, and ends as what was written."""

from __future__ import annotations

import json
from typing import Any, Literal

import dspy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_bridge.streams.fieldtext import FieldText
from dspex_bridge.streams.fieldvalues import AnswerValues, SectionValues
from dspex_bridge.streams.growing import LEAST_GROWTH, GrowingJSON, Unfit, Written, fitted


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int
    tags: list[str] = []


def grown(text: str, annotation: Any, size: int = 1, *, ends: bool = True) -> list[object]:
    """Each other value that is read of a text in pieces, the complete one last."""
    values = SectionValues({"field": annotation})
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    found = [value.value for piece in pieces for value in values.feed(FieldText("field", piece, False))]
    if ends:
        found += [value.value for value in values.feed(FieldText("field", "", True))]
    return [value for n, value in enumerate(found) if n == 0 or found[n - 1] != value]


@pytest.mark.parametrize(
    ("text", "annotation", "expected"),
    [
        ("[1, 23, 4]", list[int], [[], [1], [1, 23], [1, 23, 4]]),
        ('["ab", "c"]', list[str], [[], [""], ["a"], ["ab"], ["ab", ""], ["ab", "c"]]),
        ('["ab", "c"]', list[Literal["ab", "c"]], [[], ["ab"], ["ab", "c"]]),
        ("[true, nul", list[bool | None], [[], [True]]),
        ("```json\n[1]\n```", list[int], [[], [1]]),
        ('{"a": [1, x', dict[str, list[int]], [{}, {"a": []}, {"a": [1]}]),
        ('{"ab": 1, "cd": 2}', dict[str, int], [{}, {"ab": 1}, {"ab": 1, "cd": 2}]),
        ("12", int, [12]),
        ("['a']", list[str], [[], ["a"]]),  # no JSON: DSPy mends it once it is complete
        ("[1, 2]", list[int] | None, [[], [1], [1, 2]]),
        ("[1, 2]", tuple[int, ...], [(), (1,), (1, 2)]),
        ("[1, 2]", tuple[int, int], [(1, 2)]),
        ("[1, 1, 2]", set[int], [set(), {1}, {1, 2}]),
        ("[1]", Any, [[], [1]]),
    ],
)
def test_what_is_given_at_each_moment(text: str, annotation: Any, expected: list[object]) -> None:
    """No half number, no half choice; text letter by letter."""
    assert expected == grown(text, annotation, ends=text[-1] in "]}`2'")


def test_an_object_is_a_map_until_it_is_complete() -> None:
    """Its fields so far; one that is not complete is not made up."""
    text = '[{"name": "x", "age": 12}, {"age": 3'
    assert [
        [],
        [{}],
        [{"name": ""}],
        [{"name": "x"}],
        [Person(name="x", age=12)],
        [Person(name="x", age=12), {}],
    ] == grown(text, list[Person], ends=False)


def test_what_does_not_fit_is_not_given() -> None:
    """The adapter will refuse the whole."""
    assert [[], [1]] == grown('[1, "x", 2', list[int], ends=False)
    assert [] == grown('{"tool_calls": [{"name"', dspy.ToolCalls, ends=False)
    with pytest.raises(Unfit):
        fitted(int, Written([], 1, False))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON_VALUES, max_size=4), st.integers(1, 9), st.booleans())
def test_any_json_ends_as_itself(value: list[object], size: int, ascii_only: bool) -> None:
    """However it is cut, with escapes and pairs of surrogates; lists never get shorter."""
    found = grown(json.dumps(value, ensure_ascii=ascii_only), list[Any], size, ends=False)
    assert value == found[-1]
    lengths = [len(step) for step in found if isinstance(step, list)]
    assert sorted(lengths) == lengths


@given(
    st.lists(st.builds(Person, name=st.text(max_size=9), age=st.integers()), max_size=4), st.integers(1, 9)
)
def test_what_is_given_fits_its_type(people: list[Person], size: int) -> None:
    """All but the last are whole; the last has only fields of its class, each of its type."""
    text = json.dumps([person.model_dump() for person in people])
    for step in grown(text, list[Person], size):
        assert isinstance(step, list)
        assert people[: max(0, len(step) - 1)] == step[:-1]
        for part in step[-1:]:
            told = part if isinstance(part, dict) else part.model_dump()
            whole = people[len(step) - 1].model_dump()
            assert whole["age"] == told.get("age", whole["age"])
            assert whole["name"].startswith(told.get("name", ""))


@given(st.text(alphabet='[]{}",:\\ 1a\n', max_size=40), st.integers(1, 5))
def test_what_is_no_json_does_no_harm(text: str, size: int) -> None:
    """It gives something or nothing, and raises nothing."""
    grown(text, list[Any], size)
    answer = AnswerValues({"a": list[Any]})
    for at in range(0, len(text), size):
        answer.feed(text[at : at + size])


@given(st.lists(st.integers(), max_size=5), st.text(max_size=9), st.integers(), st.integers(1, 9))
def test_fields_of_one_object(numbers: list[int], essay: str, count: int, size: int) -> None:
    """Each field's value is its own, and what looks like one inside of a text is none."""
    fields = {"essay": essay + '"numbers": [0]', "numbers": numbers, "count": count}
    text = "Here it is: " + json.dumps(fields)
    answer = AnswerValues({"numbers": list[int], "count": int})
    found = [value for at in range(0, len(text), size) for value in answer.feed(text[at : at + size])]
    last = {value.field: value.value for value in found}
    assert {"numbers": numbers, "count": count} == last
    assert all(numbers[: len(step)] == step for name, step in found if name == "numbers")  # type: ignore[arg-type]


def test_a_long_value_is_not_read_at_each_letter() -> None:
    """All readings together cost so many times its length, and not its square."""
    text, cost = json.dumps(list(range(20_000))), 0
    growing = GrowingJSON()
    for letter in text:
        growing.feed(letter)
        if growing.is_due:
            growing.read()
            cost += growing._read_at
    assert cost < 2 * LEAST_GROWTH * len(text)
