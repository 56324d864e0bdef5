"""What differs between two values, told by place."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.libraries import Shop, content, drive

from dspex_pool.library.answers import changes_answer
from dspex_pool.library.differences import differences
from dspex_protocol import Pairs, Tagged, encode_value

CASES: list[tuple[Any, Any, list[dict[str, Any]]]] = [
    (1, 1, []),
    (math.nan, math.nan, []),
    (1, 1.0, [{"path": "", "change": "changed", "before": 1, "after": 1.0}]),
    (1, True, [{"path": "", "change": "changed", "before": 1, "after": True}]),
    ({"a": 1}, {"a": 2}, [{"path": "a", "change": "changed", "before": 1, "after": 2}]),
    ({"a": None}, {}, [{"path": "a", "change": "removed", "before": None}]),
    ({}, {"a": None}, [{"path": "a", "change": "added", "after": None}]),
    ({"a": {"b c": [1]}}, {"a": {"b c": []}}, [{"path": 'a["b c"][0]', "change": "removed", "before": 1}]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
    ([1, 2, 3], [1, 2, 3], []),
    ([2, 3], [1, 2, 3], [{"path": "[0]", "change": "added", "after": 1}]),
    ([1, 2, 3], [1, 3], [{"path": "[1]", "change": "removed", "before": 2}]),
    ([1, 2, 3], [1, 9, 3], [{"path": "[1]", "change": "changed", "before": 2, "after": 9}]),
    ([{"q": 1}], [{"q": 2}], [{"path": "[0].q", "change": "changed", "before": 1, "after": 2}]),
    (
        Tagged("example", {"q": 1}),
        Tagged("example", {"q": 2}),
        [{"path": "q", "change": "changed", "before": 1, "after": 2}],
    ),
    (
        Tagged("a", 1),
        Tagged("b", 1),
        [{"path": "", "change": "changed", "before": Tagged("a", 1), "after": Tagged("b", 1)}],
    ),
    (Pairs({1: 2}), {"1": 2}, [{"path": "", "change": "changed", "before": {1: 2}, "after": {"1": 2}}]),
]


@pytest.mark.parametrize(("before", "after", "rows"), CASES)
def test_a_difference_is_where_it_is(before: object, after: object, rows: list[dict[str, object]]) -> None:
    """And nowhere else."""
    assert rows == changes_answer(differences(before, after))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=12,
)


@given(values, values)
def test_equal_values_have_none(before: object, after: object) -> None:
    """And others have some, whatever they are; but for the order of keys."""
    found = list(differences(before, after))
    assert [] == list(differences(before, before))
    assert bool(found) == (_sorted(before) != _sorted(after))


def _sorted(value: Any) -> bytes:
    """A value without the order of its keys."""

    def order(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: order(one[key]) for key in sorted(one)}
        return [order(item) for item in one] if isinstance(one, list) else one

    return encode_value(order(value))


def test_two_versions_are_compared() -> None:
    """By what is in them, in either direction."""
    library = Shop().library()
    drive(library.create("qa", content("one")))
    drive(library.add("qa", base=1, must_be_newest=True, content=content("two", module="ReAct")))
    rows = changes_answer(drive(library.diff("qa", 1, 2)))
    assert [
        {"path": "spec.module", "change": "changed", "before": "Predict", "after": "ReAct"},
        {"path": "state.self.instructions", "change": "changed", "before": "one", "after": "two"},
    ] == rows
    assert ["ReAct", "two"] == [row["before"] for row in changes_answer(drive(library.diff("qa", 2, 1)))]
    assert [] == drive(library.diff("qa", 2, 2))
