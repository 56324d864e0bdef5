"""The checker, by histories that are written out: what is right passes, each lie is seen."""

from __future__ import annotations

import pytest

from dspex_protocol import FAIL, REPLY, Envelope

from .checker import Checker, Violation, covered_s
from .faults import INJECTORS
from .history import CallRecord, Death, Fault, History, Kind, Outcome
from .legal import AFTERMATH_S, LEGAL, SLOWING
from .plants import Plant, unnoticed
from .report import bound
from .schedule import draw_schedule

PLACES = 4


def record(kind: Kind = Kind.OK, number: int = 1, **outcome: object) -> CallRecord:
    """A call that was sent at second 0 with 10 s of time, and its outcome after 1 s."""
    given: dict[str, object] = {"at_s": 1.0, "code": "ok", "nonce": f"nonce-{number}"}
    one = Outcome(**{**given, **outcome})  # type: ignore[arg-type]
    return CallRecord(
        id=number, kind=kind, nonce=f"nonce-{number}", sent_s=0.0, deadline_s=10.0, outcomes=[one]
    )


def promises(history: History, one: CallRecord) -> list[str]:
    """The promises that a call breaks."""
    return [violation.promise for violation in Checker(history, PLACES).check(one)]


def test_a_good_call_breaks_nothing() -> None:
    """One outcome, its own nonce, in time."""
    assert [] == promises(History(), record())


def test_every_planted_lie_is_seen() -> None:
    """What each run does to its own history at its end."""
    records = [record(number=1), record(number=2)]
    assert [] == unnoticed(records, Checker(History(), PLACES).check)


def test_a_blind_checker_is_found_out() -> None:
    """A checker that sees nothing makes a run void, and it says for which lies."""

    def blind(one: CallRecord) -> list[Violation]:
        return []

    found = unnoticed([record(number=1), record(number=2)], blind)
    assert ["P1 none", "P1 twice", "P2", "P3", "P6", "P7"] == found


@pytest.mark.parametrize(("deaths", "expected"), [(1, ["P3"]), (2, [])])
def test_poisoned_needs_two_deaths(deaths: int, expected: list[str]) -> None:
    """A pure call may be refused only where workers died while it was open."""
    history = History()
    for number in range(deaths):
        history.deaths.append(Death(at_s=0.5, worker=number, reason="SIGKILL"))
    assert expected == promises(history, record(code="poisoned", nonce=None))


def test_a_death_before_the_call_excuses_nothing() -> None:
    """Nor does one after its end."""
    history = History()
    history.deaths.extend(Death(at_s=at_s, worker=1, reason="SIGKILL") for at_s in (-1.0, 2.0))
    assert ["P3"] == promises(
        history, record(Kind.CALLBACK, code="worker_died", nonce=None, maybe_executed=True)
    )


def test_effects_must_be_owned_up_to() -> None:
    """`worker_died` of a call that may have had effects says so."""
    history = History()
    history.deaths.append(Death(at_s=0.5, worker=1, reason="SIGKILL"))
    assert ["P3"] == promises(history, record(Kind.CALLBACK, code="worker_died", nonce=None))


def test_a_pure_call_is_repeated_while_there_is_a_budget() -> None:
    """`worker_died` for a call without effects is right only where the retry budget was spent."""
    history = History()
    history.deaths.append(Death(at_s=0.5, worker=1, reason="SIGKILL"))
    assert ["P3"] == promises(history, record(code="worker_died", nonce=None))
    assert [] == promises(history, record(code="worker_died", nonce=None, details={"budget": "spent"}))


def test_a_missed_deadline_needs_a_fault_that_slows() -> None:
    """`deadline` for a call that had time enough is excused only while one was at work."""
    late = record(code="deadline", nonce=None, at_s=10.0)
    history = History()
    assert ["P3"] == promises(history, late)
    history.faults.append(Fault(name="worker_kill", from_s=1.0, until_s=1.0))
    assert ["P3"] == promises(history, late)
    history.faults.append(Fault(name="zygote_stop", from_s=-2.0 - AFTERMATH_S, until_s=-1.0 - AFTERMATH_S))
    assert ["P3"] == promises(history, late)
    history.faults.append(Fault(name="zygote_stop", from_s=1.0, until_s=2.0))
    assert [] == promises(history, late)


def test_a_deadline_that_comes_too_early_is_seen() -> None:
    """Time that a caller gave must not be taken from it."""
    assert ["P6"] == promises(History(), record(Kind.DEADLINE, code="deadline", nonce=None, at_s=9.0))


def test_what_could_not_be_seen_is_nobodys_lateness() -> None:
    """Spans in which the client was deaf do not count, and overlapping ones count once."""
    slow = record(Kind.DEADLINE, code="deadline", nonce=None, at_s=13.0)
    history = History()
    assert ["P6"] == promises(history, slow)
    history.held.extend([(9.0, 12.0), (11.0, 12.5)])
    assert [] == promises(history, slow)
    assert 2.5 == covered_s(history.held, 10.0, 13.0)


def test_streams_are_whole_and_in_order() -> None:
    """Foreign items, gaps, items after the end and a wrong `last_seq` are seen."""
    history = History()
    history.deaths.append(Death(at_s=0.5, worker=1, reason="SIGKILL"))
    good = record(Kind.STREAM)
    good.items = [(0, "nonce-1"), (1, "nonce-1")]
    assert [] == promises(history, good)
    good.items = [(0, "nonce-1"), (1, "nonce-2")]
    assert ["P2"] == promises(history, good)
    good.items = [(0, "nonce-1"), (2, "nonce-1")]
    assert ["P1"] == promises(history, good)
    died = record(Kind.STREAM, code="worker_died", nonce=None, maybe_executed=True, details={"last_seq": 3})
    died.items = [(0, "nonce-1")]
    assert ["P1"] == promises(history, died)


def test_a_crowded_worker_and_a_slow_cancel_are_seen() -> None:
    """A place that was given away twice, and a cancel that was not answered."""
    assert ["P7"] == promises(History(), record(beside=PLACES + 1))
    slow = record(Kind.CANCEL, code="cancelled", nonce=None, at_s=5.0)
    slow.cancelled_s = 1.0
    assert ["P7"] == promises(History(), slow)


def test_calls_are_judged_when_their_story_is_over() -> None:
    """A second outcome that comes soon is still seen, and what never ends is given up."""
    history = History()
    history.opened(record(number=1))
    never = record(number=2)
    never.outcomes = []
    history.opened(never)
    assert [] == history.settle(2.0, quiet_s=3.0, patience_s=10.0)
    history.ended(1, record(at_s=2.5).outcomes[0])
    assert [] == history.settle(5.0, quiet_s=3.0, patience_s=10.0)
    settled = history.settle(20.0, quiet_s=3.0, patience_s=10.0)
    assert [["P1"], ["P1"]] == [promises(history, one) for one in settled]


# Plants, schedules, tables


@pytest.mark.parametrize(("name", "count"), [("drop", 3), ("double", 5), ("swap", 4)])
def test_a_plant_bends_one_outcome(name: str, count: int) -> None:
    """Of four results the second is dropped, doubled, or changes places with the third."""
    plant = Plant(name, every=2 if name == "swap" else 4)
    frames = [(Envelope(REPLY, number, None, {}, 0), b"%d" % number) for number in range(1, 5)]
    got = [bent for frame in frames for bent in plant.bend(*frame)]
    if name == "swap":
        got += plant.bend(*frames[0])[:0]
        assert [(1, b"1"), (2, b"3"), (3, b"2")] == [(one.id, content) for one, content in got][:3]
    else:
        assert count == len(got)


def test_a_plant_swaps_results_only() -> None:
    """A FAIL has no nonce: to swap it would be no lie that can be seen."""
    plant = Plant("swap", every=1)
    fail = (Envelope(FAIL, 1, None, {}, 0), b"")
    assert [fail] == plant.bend(*fail)


def test_a_seed_gives_the_same_schedule() -> None:
    """And another seed another one; each fault comes before any comes twice."""
    weights = {name: injector.weight for name, injector in INJECTORS.items()}
    first, again, other = (
        draw_schedule(seed, weights, begin_s=2.0, end_s=60.0, per_s=2.0) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert set(weights) == {moment.fault for moment in first[: len(weights)]}
    assert all(2.0 <= moment.at_s < 60.0 for moment in first)


def test_the_table_is_complete() -> None:
    """Each kind of call has its row, and each fault that it names exists."""
    assert set(Kind) == set(LEGAL)
    assert set(INJECTORS) >= SLOWING.union(
        *(faults for row in LEGAL.values() for faults in row.under.values())
    )


def test_the_bound_follows_the_rule_of_three() -> None:
    """Without a violation the rate is below 3/n."""
    assert "0 in 10,000: below 0.03% at 95 %" == bound(0, 10_000)
    assert "0 in 1,000,000: below 3.00 in a million at 95 %" == bound(0, 1_000_000)
    assert "2 in 10" == bound(2, 10)
