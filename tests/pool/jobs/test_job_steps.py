"""What follows from what happens to a job, by values."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, cast

import pytest

from dspex_pool.jobs import records, steps
from dspex_pool.jobs.answers import describe
from dspex_pool.jobs.records import Job, Spent, State
from dspex_pool.store import Append, Delete, Drop, Put
from dspex_protocol import DSPexError, decode_value, encode_value, error

NEW = Job(
    job="j",
    kind="k",
    key="the key",
    note=None,
    tenant="t",
    state=State.QUEUED,
    budget={},
    deadline_s=None,
    created_ms=1,
)
RUNNING = steps.taken_up(NEW, 2).job


def entry(**usage: object) -> bytes:
    return encode_value({"kind": "lm", "key": bytes(32), "n": 1, "answer": "a", "usage": usage})


def test_a_job_goes_through_the_store_and_back() -> None:
    """With all that it has."""
    whole = replace(
        RUNNING, spent=Spent(lm_calls=3, cost_usd=0.5), pins={"dataset/d": 2}, budget={"lm_calls": 7}
    )
    assert whole == records.read_job("j", records.write_job(whole))
    with pytest.raises(DSPexError) as moved:
        records.read_job("other", records.write_job(whole))
    assert "store_damaged" == moved.value.code


def test_a_submission_says_whether_it_has_a_deadline() -> None:
    """Which is a record of its own that the store forgets in time."""
    without, with_one = steps.submitted(NEW, b"r"), steps.submitted(replace(NEW, deadline_s=9.0), b"r")
    assert [9.0] == [change.ttl_s for change in with_one.changes if isinstance(change, Put) and change.ttl_s]
    assert len(with_one.changes) == len(without.changes) + 1
    assert 1 == without.job.events


def test_an_attempt_is_counted_and_told() -> None:
    """The first begin stays the job's."""
    again = steps.taken_up(RUNNING, 9).job
    assert (State.RUNNING, 2, 2, 2) == (again.state, again.attempt, again.started_ms, again.events)


OLD: Final = {"dspex": "1.0", "dspy": "3.4.1"}
NEW_DSPY: Final = {"dspex": "1.0", "dspy": "3.5.0"}


def test_a_job_says_with_which_versions_it_was_begun() -> None:
    """Those under which there was first something to keep; that is no event."""
    begun = steps.begun_under(RUNNING, OLD, 3)
    assert (OLD, OLD, RUNNING.events) == (begun.job.begun_with, begun.job.versions, begun.job.events)
    again = steps.begun_under(begun.job, NEW_DSPY, 4)
    assert (NEW_DSPY, NEW_DSPY, ()) == (again.job.begun_with, again.job.versions, again.changes)
    assert {"begun": OLD, "latest": OLD} == describe(begun.job)["versions"]
    assert describe(RUNNING)["versions"] is None


def test_that_it_goes_on_under_others_is_told_once() -> None:
    """From which and to which; and where it goes back to the former ones that is told too."""
    kept = replace(steps.begun_under(RUNNING, OLD, 3).job, answers=7)
    changed = steps.begun_under(kept, NEW_DSPY, 4)
    assert {"begun": OLD, "latest": NEW_DSPY} == describe(changed.job)["versions"]
    (event,) = [read_event(change) for change in changed.changes if isinstance(change, Append)]
    assert {"type": "versions_changed", "from": OLD, "to": NEW_DSPY} == event
    assert () == steps.begun_under(changed.job, NEW_DSPY, 5).changes
    assert 1 == len(steps.begun_under(changed.job, OLD, 6).changes)


def test_of_a_job_that_said_nothing_the_former_versions_are_not_known() -> None:
    """One that an older DSPex has begun."""
    changed = steps.begun_under(replace(RUNNING, own_events=1), OLD, 4)
    (event,) = [read_event(change) for change in changed.changes if isinstance(change, Append)]
    assert {"type": "versions_changed", "from": None, "to": OLD} == event
    assert {"begun": None, "latest": OLD} == describe(changed.job)["versions"]


def read_event(change: Append) -> dict[str, object]:
    """What an entry of the journal of events tells."""
    told = cast("dict[str, dict[str, object]]", decode_value(change.body))
    return told["event"]


def test_answers_are_kept_and_added_up() -> None:
    """Behind those that are there; what is new clears the record of deaths."""
    made = steps.answered(
        replace(RUNNING, answers=4, deaths=2, crashes=1),
        [
            entry(lm_calls=1, tokens_in=10, tokens_out=2, cost_usd=0.25),
            entry(lm_calls=2, cost_usd=-1, tokens_in=True),
        ],
    )
    assert Spent(lm_calls=3, tokens_in=10, tokens_out=2, cost_usd=0.25) == made.job.spent
    assert (6, 0, 0) == (made.job.answers, made.job.deaths, made.job.crashes)
    assert [4, 5] == [change.after for change in made.changes if isinstance(change, Append)]
    with pytest.raises(DSPexError) as caught:
        steps.answered(RUNNING, [b"\x01"])
    assert "entries" == caught.value.details["field"]


def test_an_event_is_kept_once() -> None:
    """An attempt that comes by it again changes nothing; one out of turn is refused, and a long one."""
    made = steps.event_told(RUNNING, 1, {"type": "step"}, 3)
    assert (1, 2, 1) == (made.job.own_events, made.job.events, len(made.changes))
    assert (made.job, ()) == steps.event_told(made.job, 1, {"type": "other"}, 4)
    for number, event, field in ((3, {"type": "x"}, "n"), (2, {"type": "x" * 70_000}, "event")):
        with pytest.raises(DSPexError) as caught:
            steps.event_told(made.job, number, event, 5)
        assert field == caught.value.details["field"]


def test_an_attempt_that_goes_another_way_tells_its_events_anew() -> None:
    """From that one on; those that the former way had more of are counted no more."""
    job = replace(RUNNING, own_events=5, events=7)
    made = steps.event_told(job, 3, {"type": "step"}, 3, is_anew=True)
    assert (3, 8, 1) == (made.job.own_events, made.job.events, len(made.changes))
    assert 4 == steps.event_told(made.job, 4, {"type": "step"}, 3).job.own_events


def test_only_what_is_better_is_the_best() -> None:
    """The same again is not."""
    first = steps.best_told(RUNNING, 0.5, b"c")
    assert (0.5, 1) == (first.job.best_score, len(first.changes))
    assert (first.job, ()) == steps.best_told(first.job, 0.5, b"c")
    assert -1.0 == steps.best_told(RUNNING, -1.0, b"c").job.best_score


def test_deaths_without_anything_new_end_a_job() -> None:
    """Those that it caused sooner than those that came from outside; each is waited for longer."""
    job, waits = RUNNING, list[float | None]()
    for _ in range(steps.MAX_CRASHES):
        made, fate = steps.worker_died(job, "SIGSEGV", 1, by_itself=True)
        job = made.job
        waits.append(fate.again_in_s)
    assert [0.1, 0.2, None] == waits
    job, waits = RUNNING, []
    for _ in range(steps.MAX_DEATHS):
        made, fate = steps.worker_died(job, "SIGKILL", 1, by_itself=False)
        job = made.job
        waits.append(fate.again_in_s)
    assert None is waits[-1]
    assert steps.MAX_BACKOFF_S == max(wait for wait in waits if wait is not None)


@pytest.mark.parametrize(
    "made",
    [
        steps.done(RUNNING, b"\xc0", {"answered": 0}, None, 5),
        steps.failed(RUNNING, error("deadline", "late"), 5),
        steps.cancelled(RUNNING, 5),
    ],
)
def test_an_end_clears_what_only_a_running_job_needs(made: steps.Made) -> None:
    """Its place among those that are open, and the wish to end it; of one that is done the answers too."""
    assert made.job.is_ended
    assert 5 == made.job.ended_ms
    gone = {change.key.collection for change in made.changes if isinstance(change, Delete)}
    assert {"job-open", "job-cancel", "job-deadline"} == gone
    unneeded = ["job-answers/j"] if made.job.state == State.DONE else []
    assert unneeded == [change.journal for change in made.changes if isinstance(change, Drop)]


@pytest.mark.parametrize("deadline_s", [None, 9.0])
def test_a_job_that_is_resumed_is_as_one_that_was_submitted(deadline_s: float | None) -> None:
    """But for what it has spent and kept: of that the failures are forgiven."""
    was = replace(RUNNING, answers=7, deaths=3, crashes=2, deadline_s=deadline_s, budget={"lm_calls": 7})
    failed = steps.failed(was, error("budget_spent", "no more"), 5).job
    made = steps.resumed(failed, {"lm_calls": 20}, None, 6)
    job = made.job
    assert (State.QUEUED, 1, 7, 7, 0, 0) == (
        job.state,
        job.resumes,
        job.forgiven,
        job.answers,
        job.deaths,
        job.crashes,
    )
    assert (None, None, {"lm_calls": 20}, failed.events + 1) == (
        job.error,
        job.ended_ms,
        job.budget,
        job.events,
    )
    put = {change.key.collection: change.ttl_s for change in made.changes if isinstance(change, Put)}
    assert ({"job-open": None} | ({} if deadline_s is None else {"job-deadline": 9.0})) == put
    assert ["job-cancel"] == [change.key.collection for change in made.changes if isinstance(change, Delete)]
    assert 4.0 == steps.resumed(failed, None, 4.0, 6).job.deadline_s


def test_what_is_deleted_is_all_of_it() -> None:
    """Its key too, which is free then."""
    changes = steps.removed(replace(NEW, state=State.DONE), 7)
    keys = {(change.key.collection, change.key.id) for change in changes if isinstance(change, Delete)}
    assert {
        ("job", "j"),
        ("job-request", "j"),
        ("job-best", "j"),
        ("job-result", "j"),
        ("job-key", "the key"),
    } == keys
    assert ["job-events/j", "job-answers/j"] == [
        change.journal for change in changes if isinstance(change, Drop)
    ]
