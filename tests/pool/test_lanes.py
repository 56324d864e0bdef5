"""How lanes divide the places: shares, borrowing, the reserve, turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.lanes import Lane, LaneShares, reserve_of
from dspex_pool.metadata import lane as lane_of

INTERACTIVE, BATCH, CONTROL = Lane
CAPACITIES = st.integers(1, 300)
SHARES = st.floats(0.05, 0.95)


def by_lane(interactive: int, batch: int, control: int = 0) -> dict[Lane, int]:
    return {INTERACTIVE: interactive, BATCH: batch, CONTROL: control}


def lines(interactive: int, batch: int) -> dict[Lane, range]:
    """Queues of such lengths."""
    return {INTERACTIVE: range(interactive), BATCH: range(batch)}


@pytest.mark.parametrize(
    ("running", "waiting", "expected"),
    [
        ((0, 0), (0, 0), ()),
        ((0, 0), (1, 0), (INTERACTIVE,)),
        ((0, 0), (0, 1), (BATCH,)),
        ((7, 2), (9, 9), (BATCH, INTERACTIVE)),  # 7 of 12, 2 of 4
        ((5, 2), (9, 9), (INTERACTIVE, BATCH)),  # 5 of 12, 2 of 4
        ((15, 0), (9, 9), (BATCH, INTERACTIVE)),  # its share, whatever runs
        ((15, 0), (9, 0), (INTERACTIVE,)),  # borrows all
        ((0, 13), (0, 9), (BATCH,)),
        ((0, 14), (0, 9), ()),  # the reserve
        ((0, 14), (1, 9), (INTERACTIVE,)),
        ((10, 4), (0, 9), ()),
        ((10, 3), (0, 9), (BATCH,)),
    ],
)
def test_whose_call_starts_next(
    running: tuple[int, int], waiting: tuple[int, int], expected: tuple[Lane, ...]
) -> None:
    """Of 16 places a quarter is batch's and two are kept; control calls occupy none of them."""
    shares = LaneShares(0.25)
    assert expected == shares.order(by_lane(*running, control=50), lines(*waiting), 16)
    first = expected[0] if expected else None
    assert first is shares.pick(by_lane(*running), lines(*waiting), 16)


@pytest.mark.parametrize(("capacity", "expected"), [(0, 0), (1, 0), (2, 1), (8, 1), (16, 2), (256, 32)])
def test_the_reserve(capacity: int, expected: int) -> None:
    """An eighth, at least one place, never all."""
    assert expected == reserve_of(capacity)


@given(CAPACITIES, SHARES)
def test_batch_alone_fills_all_but_the_reserve(capacity: int, batch_share: float) -> None:
    """Even where its share is larger than that."""
    shares, batch = LaneShares(batch_share), 0
    while batch < capacity and shares.pick(by_lane(0, batch), lines(0, 1), capacity) is BATCH:
        batch += 1
    assert capacity - reserve_of(capacity) == batch


@given(CAPACITIES, SHARES, st.data())
def test_a_lane_below_its_share_is_never_shut_out(capacity: int, share: float, data: st.DataObject) -> None:
    """Interactive may always start; batch may as long as it has less than its share."""
    shares = LaneShares(share)
    running = by_lane(data.draw(st.integers(0, capacity)), data.draw(st.integers(0, capacity)))
    assert INTERACTIVE in shares.order(running, lines(1, 1), capacity)
    if running[BATCH] < min(share * capacity, capacity - reserve_of(capacity)):
        assert BATCH in shares.order(running, lines(1, 1), capacity)


def test_with_one_place_they_take_turns() -> None:
    """By their shares; who waited alone before owes nothing."""
    shares, started = LaneShares(0.25), by_lane(0, 0)
    for _ in range(50):
        shares.took(BATCH, lines(0, 1))
    for _ in range(400):
        lane = shares.pick(by_lane(0, 0), lines(1, 1), 1)
        assert lane is not None
        shares.took(lane, lines(1, 1))
        started[lane] += 1
    assert by_lane(300, 100) == started


@pytest.mark.parametrize("lane", Lane)
def test_a_call_names_its_lane(lane: Lane) -> None:
    """Interactive where it names none."""
    assert lane is lane_of({"lane": lane.value})
    assert INTERACTIVE is lane_of({})
