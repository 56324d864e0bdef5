"""Which rows a selection means: the same ones for ever, all of them once, in the shares asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.datasets.selections import (
    Selection,
    check_selection,
    check_shares,
    rows_of,
    shuffled,
    sizes_of,
)
from dspex_protocol import DSPexError

SHARES = st.lists(st.integers(1, 100), min_size=1, max_size=6).map(
    lambda parts: {f"s{n}": part / sum(parts) for n, part in enumerate(parts)}
)


def test_the_order_of_a_seed_never_changes() -> None:
    """Written down: whoever changes it changes everybody's splits."""
    assert [0, 4, 2, 7, 1, 3, 6, 8, 9, 5] == shuffled(10, 0)
    assert [9, 8, 3, 7, 1, 0, 4, 2, 6, 5] == shuffled(10, 1)


@given(SHARES, st.integers(0, 500), st.integers(0, 2**63 - 1))
def test_sides_share_all_rows_out(shares: dict[str, float], rows: int, seed: int) -> None:
    """No row twice, none left out where the shares are all, and each side within one of its share."""
    sides = {side: list(rows_of(Selection(split=shares, side=side, seed=seed), rows)) for side in shares}
    assert list(range(rows)) == sorted(row for side in sides.values() for row in side)
    assert all(abs(len(sides[side]) - share * rows) < 1 + 1e-6 for side, share in shares.items())
    assert sizes_of(shares, rows) == {side: len(found) for side, found in sides.items()}


@given(st.integers(1, 200), st.integers(1, 300), st.integers(0, 2**63 - 1))
def test_a_sample_has_no_row_twice(rows: int, sample: int, seed: int) -> None:
    """And a larger one of the same seed begins with the smaller one."""
    found = rows_of(Selection(sample=sample, seed=seed), rows)
    assert min(rows, sample) == len(set(found)) == len(found)
    assert list(found) == list(rows_of(Selection(sample=sample + 5, seed=seed), rows))[: len(found)]


def test_a_sample_of_a_side_is_its_beginning() -> None:
    """Which is drawn already."""
    side = Selection(split={"a": 0.5, "b": 0.5}, side="b", seed=4)
    few = Selection(split={"a": 0.5, "b": 0.5}, side="b", seed=4, sample=3)
    assert rows_of(side, 20)[:3] == rows_of(few, 20)


def test_the_order_in_which_sides_are_named_does_not_matter() -> None:
    """A map has none on the wire."""
    one, other = {"b": 0.5, "a": 0.5}, {"a": 0.5, "b": 0.5}
    sides = [rows_of(Selection(split=split, side="a", seed=1), 9) for split in (one, other)]
    assert sides[0] == sides[1]


def test_what_is_left_out_of_the_shares_is_on_no_side() -> None:
    """Half of ten are five."""
    assert {"a": 3, "b": 2} == sizes_of({"a": 0.3, "b": 0.2}, 10)


@pytest.mark.parametrize(
    ("selection", "field"),
    [
        (Selection(side="a"), "select.side"),
        (Selection(split={"a": 0.5}), "select.side"),
        (Selection(split={"a": 0.5}, side="b"), "select.side"),
        (Selection(split={"a": 0.0}, side="a"), "select.split.a"),
        (Selection(split={"a": 0.7, "b": 0.7}, side="a"), "select.split"),
        (Selection(split={}, side="a"), "select.split"),
    ],
)
def test_what_means_nothing_is_refused(selection: Selection, field: str) -> None:
    """By its field."""
    with pytest.raises(DSPexError) as caught:
        check_selection(selection)
    assert field == caught.value.details["field"]


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -0.1, 1.5])
def test_a_share_is_one(share: float) -> None:
    """More than 0, at most 1, and a number."""
    with pytest.raises(DSPexError, match="split"):
        check_shares({"a": share}, "split")
