"""How long calls took: percentiles of the last minute that are right to an eighth."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.latencies import WINDOW_S, Latencies

LEAST_MS = 2.0**-7
NOW_S = 500.0

times_ms = st.lists(st.floats(LEAST_MS, 2.0**21), min_size=1, max_size=200)


def counted(times: list[float], now_s: float = NOW_S) -> Latencies:
    latencies = Latencies()
    for ms in times:
        latencies.add(now_s, ms)
    return latencies


@given(times_ms, st.sampled_from([("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99)]))
def test_percentiles_are_right_to_an_eighth(times: list[float], wanted: tuple[str, float]) -> None:
    """Of whatever times; buckets are a fifth wide, and the answer is the middle of one."""
    name, part = wanted
    exact_ms = sorted(times)[math.ceil(len(times) * part) - 1]
    # … and that rounded to a microsecond.
    assert abs(exact_ms - counted(times).snapshot(NOW_S)[name]) <= exact_ms / 8 + 0.00051


@given(times_ms)
def test_count_and_greatest_are_exact(times: list[float]) -> None:
    """But for rounding to a microsecond."""
    snapshot = counted(times).snapshot(NOW_S)
    assert (len(times), round(max(times), 3)) == (snapshot["count"], snapshot["max_ms"])


@pytest.mark.parametrize("ms", [0.0, 1e-12, 1e-6, LEAST_MS / 2])
def test_no_time_at_all_is_the_least(ms: float) -> None:
    """A clock that ticks in milliseconds has many of these; they must not look like a quarter of one."""
    assert counted([ms]).snapshot(NOW_S)["p50_ms"] < 2 * LEAST_MS


def test_what_lasts_for_days_is_counted() -> None:
    """In the last bucket, half an hour or more."""
    snapshot = counted([1e12]).snapshot(NOW_S)
    assert snapshot["p50_ms"] > 1.8e6
    assert 1e12 == snapshot["max_ms"]


def test_nothing_is_told_where_nothing_was() -> None:
    """Zeros, and no division by them."""
    assert {0.0} == set(Latencies().snapshot(NOW_S).values())


@given(st.floats(0.0, 10 * WINDOW_S))
def test_a_time_is_kept_for_one_to_two_windows(later_s: float) -> None:
    """Never forgotten early, nor kept long."""
    snapshot = counted([7.0]).snapshot(NOW_S + later_s)
    if later_s <= WINDOW_S:
        assert (1, 7.0) == (snapshot["count"], snapshot["max_ms"])
    elif later_s > 2 * WINDOW_S:
        assert (0, 0.0) == (snapshot["count"], snapshot["max_ms"])


def test_a_steady_load_is_seen_for_its_last_windows() -> None:
    """An old bad time leaves, a new one comes in, and the count stays between one window and two."""
    latencies = Latencies()
    latencies.add(NOW_S, 60_000.0)
    for second in range(300):
        latencies.add(NOW_S + second, 1.0)
        count = latencies.snapshot(NOW_S + second)["count"]
        assert min(second, WINDOW_S) <= count <= 2 * WINDOW_S + 3
    assert 1.0 == latencies.snapshot(NOW_S + 300)["max_ms"]
