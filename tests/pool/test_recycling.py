"""Workers are replaced by calls, age and memory, each at limits of its own."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.config import Config
from dspex_pool.recycling import (
    JITTER,
    MAX_WARM_UP_BYTES,
    MIB,
    WARM_UP_CALLS,
    Allowance,
    Baseline,
    RecycleReason,
    draw_allowance,
    is_bloated,
    worn,
)

ENDLESS = Allowance(max_calls=None, max_age_s=None, soft_bytes=None, hard_bytes=None)
LIMITED = Allowance(max_calls=100, max_age_s=60.0, soft_bytes=5000, hard_bytes=9000)


@given(
    calls=st.integers(1, 10**9),
    age_s=st.floats(0.1, 1e7),
    soft_mb=st.integers(1, 10**6),
    hard_mb=st.integers(1, 10**6),
    seed=st.integers(),
)
def test_limits_are_drawn_around_those_of_the_settings(
    calls: int, age_s: float, soft_mb: int, hard_mb: int, seed: int
) -> None:
    """Within 10 %, or half a call where that is more; the hard limit is as it was set."""
    config = Config(
        recycle_after_calls=calls, recycle_after_s=age_s, memory_soft_mb=soft_mb, memory_hard_mb=hard_mb
    )
    drawn = draw_allowance(config, Random(seed))
    assert drawn.max_calls is not None
    assert drawn.max_age_s is not None
    assert drawn.soft_bytes is not None
    assert drawn.max_calls >= 1
    assert abs(drawn.max_calls - calls) <= calls * JITTER + 0.5
    assert abs(drawn.max_age_s - age_s) <= age_s * (JITTER + 1e-9)
    assert abs(drawn.soft_bytes - soft_mb * MIB) <= soft_mb * MIB * JITTER + 0.5
    assert hard_mb * MIB == drawn.hard_bytes


def test_draws_fill_the_range() -> None:
    """Workers that start together are not replaced together: no tenth of the range is empty."""
    random, config = Random(1), Config(recycle_after_s=100.0)
    ages = [draw_allowance(config, random).max_age_s or 0.0 for _ in range(300)]
    assert set(range(10)) == {int((age - 90) / 2) for age in ages}


def test_zero_is_never() -> None:
    """For each of the settings."""
    config = Config(recycle_after_calls=0, recycle_after_s=0.0, memory_soft_mb=0, memory_hard_mb=0)
    assert ENDLESS == draw_allowance(config, Random(1))
    assert worn(ENDLESS, calls=10**12, age_s=1e12, own_bytes=2**60) is None
    assert not is_bloated(ENDLESS, 2**60)


@pytest.mark.parametrize(
    ("calls", "age_s", "own_bytes", "expected"),
    [
        (99, 59.9, 4999, None),
        (100, 0.0, 0, RecycleReason.CALLS),
        (0, 60.0, 0, RecycleReason.AGE),
        (0, 0.0, 5000, RecycleReason.MEMORY),
        (100, 60.0, 0, RecycleReason.CALLS),
        (100, 60.0, 5000, RecycleReason.MEMORY),
    ],
)
def test_when_a_worker_is_worn(
    calls: int, age_s: float, own_bytes: int, expected: RecycleReason | None
) -> None:
    """As soon as it has reached one limit; memory is told first, then calls."""
    assert expected == worn(LIMITED, calls=calls, age_s=age_s, own_bytes=own_bytes)


@pytest.mark.parametrize(("own_bytes", "expected"), [(8999, False), (9000, True), (2**40, True)])
def test_when_a_worker_is_bloated(own_bytes: int, expected: bool) -> None:
    """At the hard limit and beyond it."""
    assert expected == is_bloated(LIMITED, own_bytes)


def test_growth_counts_from_the_first_reading_until_the_worker_is_warm() -> None:
    """So that one that bloats in its first call is seen."""
    baseline = Baseline()
    readings = [(10 * MIB, 0), (40 * MIB, 1), (900 * MIB, WARM_UP_CALLS - 1)]
    assert [0, 30 * MIB, 890 * MIB] == [baseline.own_bytes(*reading) for reading in readings]


def test_what_warming_up_took_is_no_growth() -> None:
    """From the first reading after it on; later ones change nothing."""
    baseline = Baseline()
    readings = [(10 * MIB, 0), (60 * MIB, WARM_UP_CALLS), (70 * MIB, 51), (90 * MIB, 5000), (50 * MIB, 6000)]
    assert [0, 0, 10 * MIB, 30 * MIB, 0] == [baseline.own_bytes(*reading) for reading in readings]


def test_a_leak_just_after_warming_up_is_seen() -> None:
    """The reading that it causes is not taken for the baseline as a whole."""
    baseline = Baseline()
    readings = [(10 * MIB, 0), (20 * MIB, 30), (148 * MIB, WARM_UP_CALLS + 1)]
    assert [0, 10 * MIB, 64 * MIB] == [baseline.own_bytes(*reading) for reading in readings]


def test_a_leak_does_not_pass_for_warming_up() -> None:
    """What goes beyond any measured warm-up stays counted."""
    baseline = Baseline()
    baseline.own_bytes(10 * MIB, 0)
    baseline.own_bytes(MAX_WARM_UP_BYTES + 500 * MIB, 1)
    assert 500 * MIB == baseline.own_bytes(MAX_WARM_UP_BYTES + 510 * MIB, WARM_UP_CALLS)


def test_a_first_reading_of_a_warm_worker_is_its_baseline() -> None:
    """Where the readings came late."""
    baseline = Baseline()
    assert [0, 5] == [baseline.own_bytes(10**9, 1000), baseline.own_bytes(10**9 + 5, 2000)]


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 200))))
def test_growth_is_never_negative_nor_more_than_the_reading(readings: list[tuple[int, int]]) -> None:
    """In whatever order readings come."""
    baseline = Baseline()
    for uss_bytes, calls_ended in readings:
        assert 0 <= baseline.own_bytes(uss_bytes, calls_ended) <= uss_bytes
