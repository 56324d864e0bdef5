"""Who is refused when workers die, and who is not: the table, and a killer among bystanders."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fakes import Room

from dspex_pool.calls import Call
from dspex_pool.deaths import (
    ALONE,
    MAX_DEATHS,
    MAX_UNSTARTED_SENDS,
    AfterDeath,
    after_death,
    count_suspects,
    is_suspect,
)
from dspex_protocol.states import CallState

CONNECTION = Room().add_client().connection


def a_call(call_id: int = 1, /, **fields: object) -> Call:
    """A call as it stood when its worker died; at its first worker unless `fields` say else."""
    call = Call(CONNECTION, call_id, "program.predict", {}, b"\xc0", 0.0)
    call.attempt = 1
    for name, value in fields.items():
        setattr(call, name, value)
    return call


def verdict(call: Call, **facts: object) -> AfterDeath:
    """After a death that nobody is to blame for but the calls, with tokens left."""
    usual: dict[str, object] = {
        "started": True,
        "has_effects": False,
        "innocent": False,
        "suspects_beside": 0,
        "may_repeat": True,
    }
    return after_death(call, **(usual | facts))  # type: ignore[arg-type]


WAITS = {"started": False}
SECOND: dict[str, object] = {"attempt": 2, "deaths": 1}
THIRD: dict[str, object] = {"attempt": 3, "deaths": 2}
TWICE_UNREAD: dict[str, object] = {"attempt": 2}
LAST: dict[str, object] = {"attempt": MAX_UNSTARTED_SENDS}


@pytest.mark.parametrize(
    ("fields", "facts", "expected"),
    [
        # The first death.
        ({}, {}, AfterDeath.REPEAT),
        ({}, {"suspects_beside": 3}, AfterDeath.REPEAT),
        ({}, {"may_repeat": False}, AfterDeath.SPENT),
        ({}, {"has_effects": True}, AfterDeath.FAIL),
        # The second.
        (SECOND, {}, AfterDeath.POISONED),
        (SECOND, {"may_repeat": False}, AfterDeath.POISONED),
        (SECOND, {"suspects_beside": 1}, AfterDeath.REPEAT_ALONE),
        (SECOND, {"suspects_beside": 1, "may_repeat": False}, AfterDeath.SPENT),
        (SECOND, {"innocent": True}, AfterDeath.REPEAT),
        # The third.
        (THIRD, {}, AfterDeath.POISONED),
        (THIRD, {"suspects_beside": 1}, AfterDeath.POISONED),
        (THIRD, {"innocent": True}, AfterDeath.REPEAT),
        (THIRD, {"innocent": True, "may_repeat": False}, AfterDeath.SPENT),
        # It had not begun.
        ({}, WAITS, AfterDeath.RESEND),
        ({}, {**WAITS, "may_repeat": False}, AfterDeath.RESEND),
        ({}, {**WAITS, "has_effects": True}, AfterDeath.RESEND),
        (SECOND, WAITS, AfterDeath.RESEND),
        (THIRD, WAITS, AfterDeath.RESEND),
        (TWICE_UNREAD, WAITS, AfterDeath.RESEND_ALONE),
        (TWICE_UNREAD, {**WAITS, "innocent": True}, AfterDeath.RESEND),
        ({**LAST, "attempt": MAX_UNSTARTED_SENDS - 1}, WAITS, AfterDeath.RESEND_ALONE),
        (LAST, WAITS, AfterDeath.POISONED),
        (LAST, {**WAITS, "innocent": True}, AfterDeath.RESEND),
        (LAST, {**WAITS, "has_effects": True}, AfterDeath.FAIL),
        # It is committed.
        ({"committed": True}, {}, AfterDeath.FAIL),
        ({"committed": True}, WAITS, AfterDeath.FAIL),
        ({"committed": True}, {"innocent": True}, AfterDeath.FAIL),
        ({"committed": True, **THIRD}, {}, AfterDeath.FAIL),
        # Nobody waits for it any more.
        ({"caller": None}, {"has_effects": True}, AfterDeath.DROP),
        ({"caller": None, "committed": True, **THIRD}, {}, AfterDeath.DROP),
        ({"state": CallState.CANCELLING}, {}, AfterDeath.CANCELLED),
        ({"state": CallState.CANCELLING, "committed": True, **THIRD}, {}, AfterDeath.CANCELLED),
    ],
)
def test_what_follows_a_death(
    fields: dict[str, object], facts: dict[str, object], expected: AfterDeath
) -> None:
    """The table of docs/reliability.md."""
    assert expected is verdict(a_call(**fields), **facts)


CALLS: list[dict[str, object]] = [
    {"attempt": attempt, "deaths": deaths, "committed": committed, **ended}
    for attempt in range(1, MAX_UNSTARTED_SENDS + 1)
    for deaths in range(min(attempt, MAX_DEATHS))
    for committed in (False, True)
    for ended in ({}, {"caller": None}, {"state": CallState.CANCELLING})
]
FACTS: list[dict[str, object]] = [
    {
        "started": started,
        "has_effects": effects,
        "innocent": innocent,
        "suspects_beside": n,
        "may_repeat": may,
    }
    for started, effects, innocent, may in itertools.product((False, True), repeat=4)
    for n in (0, 1, 2)
]


def each_case() -> Iterable[tuple[Call, dict[str, object], AfterDeath]]:
    """Every call with every set of facts: some 15,000."""
    for fields in CALLS:
        call = a_call(**fields)
        for facts in FACTS:
            yield call, facts, verdict(call, **facts)


def test_nothing_with_effects_is_sent_again() -> None:
    """Whatever else is so: what was committed, or had begun and has effects by nature."""
    for call, facts, fate in each_case():
        if call.committed or (facts["started"] and facts["has_effects"]):
            assert fate in (AfterDeath.FAIL, AfterDeath.DROP, AfterDeath.CANCELLED)


def test_nobody_is_refused_for_a_death_that_was_not_his() -> None:
    """A kill of ours convicts no call, however often it has been through that."""
    assert all(fate is not AfterDeath.POISONED for _, facts, fate in each_case() if facts["innocent"])


def test_only_what_had_begun_costs_a_token() -> None:
    """Without one the others are sent on as ever."""
    for call, facts, fate in each_case():
        if fate in (AfterDeath.REPEAT, AfterDeath.REPEAT_ALONE):
            assert (True, True) == (facts["started"], facts["may_repeat"])
            assert AfterDeath.SPENT is verdict(call, **(facts | {"may_repeat": False}))


def test_no_call_goes_on_for_ever() -> None:
    """Deaths and sends each have an end."""
    for call, facts, fate in each_case():
        deaths = call.deaths + bool(facts["started"])
        if not facts["innocent"] and (deaths >= MAX_DEATHS or call.attempt >= MAX_UNSTARTED_SENDS):
            assert fate in (AfterDeath.POISONED, AfterDeath.FAIL, AfterDeath.DROP, AfterDeath.CANCELLED)


def test_a_call_that_was_given_up_is_a_suspect_still() -> None:
    """It is at work in its worker, and may be what kills it."""
    given_up = a_call(1, caller=None, attempt=2)
    assert (True, 1) == (is_suspect(given_up), count_suspects([given_up, a_call(2)]))


@dataclass(eq=False)
class PretendWorker:
    """Calls in the order in which they were sent, of which it has begun the first few."""

    calls: list[Call] = field(default_factory=list[Call])
    begun: int = 0

    def end(self, call: Call) -> None:
        at = self.calls.index(call)
        self.begun -= at < self.begun
        del self.calls[at]


class KillerAmongCalls:
    """Workers, calls, and one call that kills whatever runs it. Chance does the rest.

    Attributes:
        kills: Workers that the killer has ended.
        refused: Calls that were POISONED.
    """

    def __init__(self, chance: Random, workers: int, places: int, calls: int, *, announced: bool) -> None:
        self.chance = chance
        self.places = places
        self.announced = announced
        self.workers = [PretendWorker() for _ in range(workers)]
        self.waiting = [a_call(n, attempt=0) for n in range(calls)]
        self.killer = chance.choice(self.waiting)
        self.alone: set[Call] = set()
        self.refused: list[Call] = []
        self.kills = 0
        self.innocent_kills_left = 3

    def run(self, *, giving_up: bool = False) -> None:
        """Until every call has ended."""
        for _ in range(20_000):
            if not self.waiting and not any(worker.calls for worker in self.workers):
                return
            self.send()
            worker = self.chance.choice(self.workers)
            what = self.chance.choice(["begin", "begin", "end", "kill", "kill", "recycle", "give up"])
            if what == "begin":
                self.begin(worker)
            elif what == "end":
                self.end_one(worker)
            elif what == "kill":
                self.kill()
            elif what == "recycle" and self.innocent_kills_left and self.chance.random() < 0.2:
                self.innocent_kills_left -= 1
                self.die(worker, innocent=True)
            elif what == "give up" and giving_up and worker.calls and self.chance.random() < 0.1:
                self.chance.choice(worker.calls).caller = None
        raise AssertionError("some calls never end")

    def send(self) -> None:
        self.chance.shuffle(self.waiting)
        for call in list(self.waiting):
            free = [worker for worker in self.workers if self.takes(worker, call)]
            if free and self.chance.random() < 0.8:
                worker = self.chance.choice(free)
                self.waiting.remove(call)
                worker.calls.append(call)
                call.attempt += 1

    def takes(self, worker: PretendWorker, call: Call) -> bool:
        if call in self.alone and self.alone.intersection(worker.calls):
            return False
        return len(worker.calls) < self.places

    def begin(self, worker: PretendWorker) -> None:
        """It takes up some of what it was sent; what kills when it is read is never taken up."""
        upto = self.chance.randint(worker.begun, len(worker.calls))
        if self.killer in worker.calls and not self.announced:
            upto = min(upto, worker.calls.index(self.killer))
        worker.begun = max(worker.begun, upto)

    def end_one(self, worker: PretendWorker) -> None:
        done = [call for call in worker.calls[: worker.begun] if call is not self.killer]
        if done:
            worker.end(self.chance.choice(done))

    def kill(self) -> None:
        for worker in self.workers:
            if self.killer in (worker.calls[: worker.begun] if self.announced else worker.calls):
                self.kills += 1
                self.die(worker, innocent=False)

    def die(self, worker: PretendWorker, *, innocent: bool) -> None:
        suspects = count_suspects(worker.calls)
        for at, call in enumerate(worker.calls):
            started = at < worker.begun
            beside = suspects - is_suspect(call)
            fate = verdict(call, started=started, innocent=innocent, suspects_beside=beside)
            self.follow(call, fate)
        for at, call in enumerate(worker.calls):
            call.deaths += at < worker.begun and not innocent
        worker.calls, worker.begun = [], 0

    def follow(self, call: Call, fate: AfterDeath) -> None:
        if fate is AfterDeath.POISONED:
            self.refused.append(call)
        elif fate is not AfterDeath.DROP:
            self.waiting.append(call)
        if fate in ALONE:
            self.alone.add(call)


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=400, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 6), st.integers(1, 16))
def test_a_killer_is_refused_after_three_workers_and_nobody_with_it(
    seed: int, workers: int, places: int, calls: int
) -> None:
    """Wherever it stands, and though other workers are ended for reasons of our own."""
    story = KillerAmongCalls(Random(seed), workers, places, calls, announced=True)
    story.run()
    assert [story.killer] == story.refused
    assert 2 <= story.kills <= MAX_DEATHS


@settings(max_examples=300, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 6), st.integers(1, 16))
def test_a_killer_that_is_never_announced_takes_nobody_with_it(
    seed: int, workers: int, places: int, calls: int
) -> None:
    """What kills while it is read looks as if it had not begun."""
    story = KillerAmongCalls(Random(seed), workers, places, calls, announced=False)
    story.run()
    assert [story.killer] == story.refused
    assert story.kills <= MAX_UNSTARTED_SENDS


@settings(max_examples=200, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 12))
def test_with_one_call_for_each_worker_a_killer_is_refused_after_two(
    seed: int, workers: int, calls: int
) -> None:
    """Nobody can be confused with it."""
    story = KillerAmongCalls(Random(seed), workers, 1, calls, announced=True)
    story.run()
    assert ([story.killer], 2) == (story.refused, story.kills)


@settings(max_examples=300, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 6), st.integers(1, 16), st.booleans())
def test_a_killer_that_is_given_up_leaves_no_blame_behind(
    seed: int, workers: int, places: int, calls: int, announced: bool
) -> None:
    """It may kill once more, unseen, and those beside it are not taken for it."""
    story = KillerAmongCalls(Random(seed), workers, places, calls, announced=announced)
    story.run(giving_up=True)
    assert {story.killer} >= set(story.refused)
