"""Who gets the places, in virtual time: shares, floods, slow calls, and one that abuses it all."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable

import pytest
from tests.support.queueing import VirtualPool

from dspex_pool.lanes import Lane

RUN_S = 150.0


@pytest.mark.parametrize("capacity", [1, 5, 16])
@pytest.mark.parametrize("weights", [{"a": 1, "b": 1}, {"a": 3, "b": 1}, {"a": 5, "b": 2, "c": 1}])
def test_shares_become_the_weights(capacity: int, weights: dict[str, int]) -> None:
    """With all of them flooding; also where a share is no whole number of places."""
    pool = VirtualPool(capacity)
    pool.tenants.set_weights("test", weights)
    for name in weights:
        pool.saturate(name, 0.5)
    pool.run(RUN_S)
    for name, weight in weights.items():
        assert pytest.approx(weight / sum(weights.values()), abs=0.03) == pool.share_of(name)


@pytest.mark.parametrize("capacity", [1, 5, 16])
def test_slow_calls_get_no_more_places(capacity: int) -> None:
    """Places are divided, not calls: one makes calls a hundred times as long."""
    pool = VirtualPool(capacity)
    pool.saturate("slow", 5.0)
    pool.saturate("fast", 0.05)
    pool.run(RUN_S)
    assert pytest.approx(0.5, abs=0.05) == pool.share_of("slow")
    assert len(pool.latencies_s["fast"]) > 50 * len(pool.latencies_s["slow"])


def test_weights_count_with_more_tenants_than_places() -> None:
    """Most have no place most of the time, and yet the heavy one has its due."""
    pool = VirtualPool(16)
    pool.tenants.set_weights("test", {"heavy": 20})
    pool.saturate("heavy", 0.2)
    for number in range(60):
        pool.saturate(f"light {number}", 0.2, calls=3)
    pool.run(RUN_S)
    assert pytest.approx(20 / 80, abs=0.03) == pool.share_of("heavy")
    lights = [pool.share_of(f"light {number}") for number in range(60)]
    assert pytest.approx(1 / 80, abs=0.003) == statistics.fmean(lights)
    assert max(lights) < 1.3 * min(lights)


def test_an_idle_tenant_saves_nothing_up() -> None:
    """Who comes late gets its share from then on, not what it missed."""
    pool = VirtualPool(4)
    pool.saturate("early", 0.1)
    pool.saturate("steady", 0.1)
    pool.run(RUN_S)
    pool.held_s.clear()
    pool.saturate("late", 0.1)
    pool.run(RUN_S + 100)
    assert pytest.approx(1 / 3, abs=0.02) == pool.share_of("late")


def test_use_while_nobody_waits_is_free() -> None:
    """Who had all places to itself is not made to wait for it afterwards."""
    pool = VirtualPool(4)
    pool.saturate("first", 1.0, calls=4)
    pool.run(RUN_S)
    pool.held_s.clear()
    pool.saturate("first", 1.0)
    for number in range(9):
        pool.saturate(f"newcomer {number}", 1.0)
    pool.run(RUN_S + 100)
    assert pytest.approx(0.1, abs=0.02) == pool.share_of("first")


@pytest.mark.parametrize("capacity", [1, 4, 40])
@pytest.mark.parametrize("batch_share", [0.1, 0.25, 0.5])
def test_neither_lane_starves_the_other(capacity: int, batch_share: float) -> None:
    """Both flood; each has its share, and at least one place of several."""
    pool = VirtualPool(capacity, batch_share)
    pool.saturate("a", 0.2)
    pool.saturate("a", 0.2, Lane.BATCH)
    pool.run(RUN_S)
    expected = batch_share if capacity == 1 else max(1, round(capacity * batch_share)) / capacity
    assert pytest.approx(expected, abs=0.03) == pool.share_of_lane(Lane.BATCH)


def test_a_batch_call_ends_in_an_interactive_flood_and_the_other_way_round() -> None:
    """One call of the other lane, while one lane floods."""
    for flood, lane in ((Lane.INTERACTIVE, Lane.BATCH), (Lane.BATCH, Lane.INTERACTIVE)):
        pool = VirtualPool(8)
        pool.saturate("flood", 1.0, flood, calls=1000)
        pool.run(10)
        pool.call("one", 1.0, lane)
        pool.run(13)
        assert 1 == len(pool.latencies_s["one"])


def test_an_interactive_call_starts_at_once_beside_a_batch_flood() -> None:
    """Batch leaves a reserve; it gets all else."""
    pool = VirtualPool(16)
    pool.saturate("batch", 10.0, Lane.BATCH)
    pool.run(5)
    assert 14 == pool.waiting.running[Lane.BATCH]
    pool.call("human", 1.0)
    pool.call("human", 1.0)
    assert 2 == pool.waiting.running[Lane.INTERACTIVE]


def test_a_tenant_leaves_a_quarter_while_others_are_about() -> None:
    """And takes it once they have been gone for some seconds."""
    pool = VirtualPool(16)
    pool.call("other", 0.1)
    pool.saturate("flood", 0.1)
    pool.run(5)
    assert 12 == pool.waiting.running[Lane.INTERACTIVE]
    pool.run(20)
    assert 16 == pool.waiting.running[Lane.INTERACTIVE]


def test_a_full_queue_gives_way_to_those_with_less_in_it() -> None:
    """The flood's calls are displaced, nobody else's."""
    pool = VirtualPool(4, max_queue=50)
    pool.saturate("flood", 1.0, calls=200)
    rng = random.Random(3)
    for number in range(5):
        pool.trickle(f"normal {number}", 0.3, 1.0, rng)
    pool.run(60)
    assert {"flood"} == pool.refused.keys()
    assert all(pool.latencies_s[f"normal {number}"] for number in range(5))


# Nine normal tenants and one that floods

NORMAL = [f"normal {number}" for number in range(9)]


def p99_of_normal(*, abuse: Callable[[VirtualPool], None] | None, is_fair: bool = True) -> float:
    """Seconds, of the nine together: a modest rate, about a third of 64 places.

    The abuse comes upon them: before they have made a call nobody keeps places for them.
    """
    pool = VirtualPool(64)
    rng = random.Random(20)
    for name in NORMAL:
        pool.trickle(name if is_fair else "everybody", 5.0, 0.5, rng)
    pool.run(10)
    if abuse is not None:
        abuse(pool)
    pool.run(60)
    normal = NORMAL if is_fair else ["everybody"]
    return statistics.quantiles([late for name in normal for late in pool.latencies_s[name]], n=100)[98]


def flood_both_lanes(pool: VirtualPool) -> None:
    """With calls that keep their places for long."""
    for lane in (Lane.BATCH, Lane.INTERACTIVE):
        pool.saturate("abusive", 5.0, lane, calls=500)


ABUSES: dict[str, Callable[[VirtualPool], None]] = {
    "many": lambda pool: pool.saturate("abusive", 0.5, calls=4000),
    "slow": lambda pool: pool.saturate("abusive", 20.0, calls=1000),
    "fast": lambda pool: pool.saturate("abusive", 0.02, calls=1000),
    "batch": lambda pool: pool.saturate("abusive", 2.0, Lane.BATCH, calls=1000),
    "slow batch": lambda pool: pool.saturate("abusive", 20.0, Lane.BATCH, calls=1000),
    "both lanes": flood_both_lanes,
    "faster than served": lambda pool: pool.trickle("abusive", 500.0, 0.5, random.Random(21)),
}


@pytest.mark.parametrize("abuse", ABUSES)
def test_one_abusive_tenant_harms_nine_normal_ones_little(abuse: str) -> None:
    """Their 99th percentile is at most one and a half times that without it."""
    alone_s = p99_of_normal(abuse=None)
    assert p99_of_normal(abuse=ABUSES[abuse]) <= 1.5 * alone_s


def test_the_experiment_tells_fair_from_unfair() -> None:
    """All in one tenant, the same flood makes the normal calls wait for seconds."""

    def flood(pool: VirtualPool) -> None:
        pool.trickle("everybody", 500.0, 0.5, random.Random(21))

    alone_s = p99_of_normal(abuse=None, is_fair=False)
    assert p99_of_normal(abuse=flood, is_fair=False) > 5 * alone_s
