"""The number of workers follows the load: up at once, down late, and never to and fro."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.scaling import IDLE_S, MAX_IDLE_S, MAX_WAIT_S, STEP_S, Load, Scaler

PLACES = 10
TICK_S = 0.1


class Pool:
    """Workers that come some time after they were wanted and go at once, and the clock.

    Attributes:
        targets: What was decided, tick by tick.
    """

    def __init__(self, scaler: Scaler, boot_s: float = 0.0, places: int = PLACES) -> None:
        self.scaler = scaler
        self.boot_s = boot_s
        self.places = places
        self.ticks = 0
        self.targets: list[int] = []
        self._ready_at_s = [0.0] * scaler.target
        self._waiting_since_s: float | None = None

    @property
    def now_s(self) -> float:
        return self.ticks * TICK_S

    def run(self, calls: int, time_s: float) -> list[int]:
        """Have that many calls open all the time; returns what was decided meanwhile."""
        before = len(self.targets)
        for _ in range(round(time_s / TICK_S)):
            self.ticks += 1
            self._decide(self._load(calls))
        return self.targets[before:]

    def _load(self, calls: int) -> Load:
        ready = sum(at_s <= self.now_s for at_s in self._ready_at_s)
        running = min(calls, ready * self.places)
        if calls == running:
            self._waiting_since_s = None
        elif self._waiting_since_s is None:
            self._waiting_since_s = self.now_s
        wait_s = 0.0 if self._waiting_since_s is None else self.now_s - self._waiting_since_s
        return load(running, calls - running, wait_s, ready, self.places)

    def _decide(self, load: Load) -> None:
        target = self.scaler.decide(self.now_s, load)
        wanted = max(0, target - len(self._ready_at_s))
        self._ready_at_s = [*self._ready_at_s[:target], *[self.now_s + self.boot_s] * wanted]
        self.targets.append(target)


def load(running: int, waiting: int = 0, wait_s: float = 0.0, ready: int = 1, places: int = PLACES) -> Load:
    return Load(ready=ready, places_per_worker=places, running=running, waiting=waiting, oldest_wait_s=wait_s)


moments = st.tuples(
    st.floats(0, 100),
    st.builds(
        load,
        running=st.integers(0, 3000),
        waiting=st.integers(0, 3000),
        wait_s=st.floats(0, 10),
        ready=st.integers(0, 300),
    ),
)


@given(st.integers(0, 256), st.integers(0, 256), st.lists(moments))
def test_the_number_stays_within_its_bounds(
    least: int, more: int, later_moments: list[tuple[float, Load]]
) -> None:
    """And changes by one at most, whatever load comes when."""
    scaler, now_s, targets = Scaler(least, least + more), 0.0, [least]
    for later_s, moment in later_moments:
        now_s += later_s
        targets.append(scaler.decide(now_s, moment))
    assert all(least <= target <= least + more for target in targets)
    assert all(abs(one - other) <= 1 for one, other in pairwise(targets))


@given(
    before=st.integers(0, 80),
    calls=st.integers(0, 80),
    least=st.integers(0, 3),
    places=st.sampled_from([1, 2, 3, PLACES, 128]),
    boot_s=st.sampled_from([0.0, 0.02, 1.0, 7.0]),
)
def test_a_constant_load_never_makes_the_number_swing(
    before: int, calls: int, least: int, places: int, boot_s: float
) -> None:
    """From whatever it was before, it goes one way only, and settles where the calls have places."""
    pool = Pool(Scaler(least, 8), boot_s, places)
    pool.run(before, 20)
    targets = [pool.scaler.target, *pool.run(calls, 8 * (IDLE_S + 1))]
    assert targets in (sorted(targets), sorted(targets, reverse=True))
    assert {targets[-1]} == set(pool.run(calls, 2 * IDLE_S))
    assert min(calls, 8 * places) <= targets[-1] * places


@given(st.lists(st.floats(TICK_S, IDLE_S - TICK_S), min_size=1, max_size=20))
def test_a_pause_shorter_than_the_idle_time_costs_no_worker(pauses_s: list[float]) -> None:
    """However many of them follow each other."""
    pool = Pool(Scaler(0, 2))
    pool.run(PLACES, 1)
    for pause_s in pauses_s:
        assert {2} == set(pool.run(0, pause_s))
        assert {2} == set(pool.run(PLACES, TICK_S))


def test_a_worker_is_let_go_after_the_idle_time_and_the_next_one_after_another() -> None:
    """One at a time, down to none."""
    pool = Pool(Scaler(0, 3))
    pool.run(2 * PLACES, 1)
    targets = pool.run(0, 4 * IDLE_S)
    steps_s = [index * TICK_S for index, (one, other) in enumerate(pairwise(targets)) if one != other]
    assert [3, 2, 1, 0] == sorted(set(targets), reverse=True)
    assert steps_s == pytest.approx([IDLE_S, 2 * IDLE_S, 3 * IDLE_S], abs=1)


def test_a_worker_stays_while_the_others_would_be_more_than_half_full() -> None:
    """Half of a worker's places and one more keep two; half of them do not."""
    pool = Pool(Scaler(1, 2))
    pool.run(PLACES, 1)
    assert {2} == set(pool.run(PLACES // 2 + 1, 3 * IDLE_S))
    assert 1 == pool.run(PLACES // 2, 2 * IDLE_S)[-1]


def test_from_none_the_first_call_gets_a_worker_at_once() -> None:
    """Even in the moment after the last one was let go."""
    scaler = Scaler(0, 4)
    assert 1 == scaler.decide(0.0, load(0, waiting=1, ready=0))
    scaler.decide(1.0, load(0))
    assert 0 == scaler.decide(1.0 + IDLE_S, load(0))
    assert 1 == scaler.decide(1.0 + IDLE_S, load(0, waiting=1, ready=0))


def test_full_workers_get_another_before_a_call_waits() -> None:
    """At 80 % of all places."""
    assert 1 == Scaler(1, 4).decide(0.0, load(7))
    assert 2 == Scaler(1, 4).decide(0.0, load(8))


def test_waiting_calls_get_one_worker_each_tenth_of_a_second() -> None:
    """Once the oldest has waited long enough; questions in between change nothing."""
    scaler = Scaler(1, 9)
    queue = [load(5, waiting=100, wait_s=wait_s, ready=1) for wait_s in (MAX_WAIT_S, 0.1)]
    assert [1, 2] == [scaler.decide(0.0, moment) for moment in queue]
    times_s = [STEP_S * part for part in (0.5, 0.9, 1.0, 1.5, 2.0)]
    assert [2, 2, 3, 3, 4] == [scaler.decide(now_s, queue[1]) for now_s in times_s]


def test_calls_that_workers_on_their_way_will_take_want_no_more() -> None:
    """A boot may take seconds; one call must not start every worker meanwhile."""
    pool = Pool(Scaler(0, 9), boot_s=5.0)
    assert {1} == set(pool.run(PLACES // 2, 4))
    assert 3 == pool.run(3 * PLACES, 0.9)[-1]


def test_no_place_is_counted_for_workers_that_died() -> None:
    """Theirs come back by themselves: nobody needs more of them."""
    scaler = Scaler(2, 9)
    assert 2 == scaler.decide(0.0, load(0, waiting=2 * PLACES, wait_s=9.0, ready=0))
    assert 3 == scaler.decide(1.0, load(0, waiting=2 * PLACES + 1, wait_s=9.0, ready=0))


def test_regretted_steps_down_become_rare() -> None:
    """Calls that only compute fill one worker and hardly show in two: each try takes twice as long."""
    scaler, changes = Scaler(1, 2), 0
    for tick in range(round(3600 / TICK_S)):
        before = scaler.target
        scaler.decide(tick * TICK_S, load(PLACES if before == 1 else 1, ready=before))
        changes += scaler.target != before
    assert 2 * 7 <= changes <= 2 * 7 + 1  # after 30, 60, 120, 240, 480 and 960 s, and again after 960


def test_no_worker_is_let_go_while_calls_wait() -> None:
    """Few as they are: the workers that they wait for may be dead."""
    scaler = Scaler(1, 2)
    scaler.decide(0.0, load(PLACES))
    targets = [scaler.decide(now_s, load(0, waiting=1, wait_s=now_s, ready=0)) for now_s in (1.0, 50.0)]
    assert [2, 2] == targets


def regret(scaler: Scaler) -> float:
    """Have a call come back right after the last worker was let go, ten times; returns the time."""
    now_s = 0.0
    for _ in range(10):
        scaler.decide(now_s, load(0, waiting=1))
        while scaler.decide(now_s, load(0)):
            now_s += 1
    return now_s


def test_a_step_down_that_was_right_makes_up_for_the_regrets() -> None:
    """It was when the load came back late; the next one takes the usual time."""
    scaler = Scaler(0, 1)
    now_s = regret(scaler) + IDLE_S
    scaler.decide(now_s, load(0, waiting=1))
    assert [1, 1, 0] == [scaler.decide(now_s + later_s, load(0)) for later_s in (0, IDLE_S - 1, IDLE_S)]


def test_a_second_step_down_shows_that_the_first_was_right() -> None:
    """When the load has gone for good, only two workers stay for long."""
    scaler = Scaler(0, 3)
    now_s = regret(scaler)
    for step in range(3):
        scaler.decide(now_s + step, load(PLACES * step, waiting=1, ready=step))
    steps_s = [later_s for later_s in range(3000) if scaler.target != scaler.decide(now_s + later_s, load(0))]
    assert steps_s == pytest.approx([MAX_IDLE_S, 2 * MAX_IDLE_S, 2 * MAX_IDLE_S + IDLE_S], abs=2)
