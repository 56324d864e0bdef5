"""What follows from what happens to a job. Pure: a job comes in, a job with changes goes out.

submitted ──► queued ──taken up──► running ──► done, failed, cancelled
                ▲             ▲       │                   │       │
                │             └───────┘  its worker died, │       │
                │                        or its owner     │       │
                └───────────────────────resumed───────────┴───────┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, cast

from dspex_pool.store import Append, Change, Delete, Drop, Put
from dspex_protocol import DSPexError, decode_value, encode_failure, encode_value, invalid_argument
from dspex_protocol.slices import cut_map, is_map

from . import records
from .records import Job, Spent, State

MAX_CRASHES: Final = 3
"""Workers that end by themselves, one after another, before there is an answer or event that was not
there before: the next one would do the same."""
MAX_DEATHS: Final = 20
"""The same with those that somebody kills: the kernel when memory runs out, or an operator."""
FIRST_BACKOFF_S: Final = 0.1
MAX_BACKOFF_S: Final = 30.0
VERSIONS_CHANGED: Final = "versions_changed"
MAX_EVENT_BYTES: Final = 65_536
"""Of one event: it tells of something, and is not the place to keep it."""


class Made(NamedTuple):
    """What a step makes of a job.

    Attributes:
        job: As it is then.
        changes: To be committed with it, besides its own record.
    """

    job: Job
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of a job whose worker has died.

    Attributes:
        again_in_s: When it is begun again; None when it is not.
    """

    again_in_s: float | None


def submitted(job: Job, request: bytes) -> Made:
    """The changes that make a job, but for its key's."""
    made = _with_event(job, {"type": "submitted"}, job.created_ms)
    asked = _put(records.REQUEST, job.job, {"request": request})
    return Made(made.job, (*made.changes, asked, *_opened(job)))


def resumed(
    job: Job, budget: Mapping[str, int | float] | None, deadline_s: float | None, now_ms: int
) -> Made:
    """One that has failed, or that nobody wanted any more, is to go on after all.

    Args:
        job: It.
        budget: The limits from now on; None for those that it has. What was spent counts.
        deadline_s: After which it fails, counted from now; None for as long as it had at first.
        now_ms: The wall clock.
    """
    again = replace(
        job,
        state=State.QUEUED,
        budget=job.budget if budget is None else dict(budget),
        deadline_s=job.deadline_s if deadline_s is None else deadline_s,
        resumes=job.resumes + 1,
        forgiven=job.answers,
        crashes=0,
        deaths=0,
        replay=None,
        error=None,
        ended_ms=None,
    )
    event = {"type": "resumed", "budget": again.budget, "deadline_s": again.deadline_s}
    made = _with_event(again, event, now_ms)
    # A wish for its end may have come when it had ended already.
    unwanted = Delete(key=records.key_of(records.CANCEL, job.job))
    return Made(made.job, (*made.changes, unwanted, *_opened(again)))


def _opened(job: Job) -> tuple[Change, ...]:
    """It has not ended, and has so much time from now on."""
    is_open = _put(records.OPEN, job.job, {"has_deadline": job.deadline_s is not None})
    if job.deadline_s is None:
        return (is_open,)
    body = records.write_record(records.DEADLINE, job.job, {})
    key = records.key_of(records.DEADLINE, job.job)
    return is_open, Put(key=key, body=body, expect=0, ttl_s=job.deadline_s)


def taken_up(job: Job, now_ms: int) -> Made:
    """A worker begins it."""
    running = replace(
        job,
        state=State.RUNNING,
        attempt=job.attempt + 1,
        started_ms=job.started_ms or now_ms,
    )
    return _with_event(running, {"type": "started"}, now_ms)


def begun_under(job: Job, versions: Mapping[str, str], now_ms: int) -> Made:
    """A worker of these versions begins it, or goes on with it.

    Under others the same work may ask for something else, so that what was paid for is of no use to it:
    whoever waits for the job is told before that happens.
    """
    if job.versions == versions:
        return Made(job)
    under = replace(job, versions=dict(versions))
    if not job.answers and not job.own_events:  # there is nothing yet that might be of no use
        return Made(replace(under, begun_with=dict(versions)))
    event = {"type": VERSIONS_CHANGED, "from": job.versions or None, "to": dict(versions)}
    return _with_event(under, event, now_ms)


def answered(job: Job, entries: Sequence[bytes]) -> Made:
    """Answers are to be kept. What they cost is added up; else they are not looked into.

    Raises:
        CallerError: `invalid_argument` for entries that are none.
    """
    changes = [
        Append(journal=records.answers_of(job.job), body=entry, after=job.answers + at)
        for at, entry in enumerate(entries)
    ]
    spent = job.spent
    for entry in entries:
        spent = _added(spent, _usage_of(entry))
    grown = replace(job, answers=job.answers + len(entries), spent=spent, crashes=0, deaths=0)
    return Made(grown, tuple(changes))


def paid_among(entries: Sequence[bytes]) -> int:
    """How many of the answers are those of language models."""
    return sum(_number(_usage_of(entry), "lm_calls") > 0 for entry in entries)


def event_told(
    job: Job, number: int, event: Mapping[str, object], now_ms: int, *, is_anew: bool = False
) -> Made:
    """The worker tells of something. What an attempt before has told already is not kept twice.

    Args:
        job: Of which.
        number: Which of the worker's events, counted from 1 in each attempt.
        event: What happened.
        now_ms: The wall clock.
        is_anew: This attempt goes another way than the one that has told of that number.

    Raises:
        CallerError: `invalid_argument` for an event out of turn, or one that is too long.
    """
    if number <= job.own_events and not is_anew:
        return Made(job)
    if number > job.own_events + 1:
        raise invalid_argument("n", f"{job.own_events + 1}, since so many have come", number)
    size = len(encode_value(dict(event)))
    if size > MAX_EVENT_BYTES:
        raise invalid_argument("event", f"at most {MAX_EVENT_BYTES} bytes", f"{size} bytes")
    counted = replace(job, own_events=number, crashes=0, deaths=0)
    return _with_event(counted, event, now_ms)


def happened(job: Job, event: Mapping[str, object], now_ms: int) -> Made:
    """We tell of something."""
    return _with_event(job, event, now_ms)


def best_told(job: Job, score: float, content: bytes) -> Made:
    """A result that may be the best so far."""
    if job.best_score is not None and score <= job.best_score:
        return Made(job)
    body = {"score": score, "content": content}
    return Made(replace(job, best_score=score), (_put(records.BEST, job.job, body, expect=None),))


def pinned(job: Job, what: str, version: int) -> Made:
    """It works on that version from now on, whatever becomes of it."""
    return Made(replace(job, pins={**job.pins, what: version}))


def progressed(job: Job, progress: Mapping[str, object]) -> Made:
    """The latest figures."""
    return Made(replace(job, progress=dict(progress)))


def unheard(job: Job, requests: int) -> Job:
    """Requests to models were made whose answers nobody will hear.

    They count against a budget of requests; what else they cost is not known.
    """
    return replace(job, spent=_added(job.spent, {"lm_calls": requests}))


def worker_died(job: Job, reason: str, now_ms: int, *, by_itself: bool) -> tuple[Made, Fate]:
    """A worker has ended before the job had."""
    counted = replace(job, crashes=job.crashes + by_itself, deaths=job.deaths + 1)
    if counted.crashes >= MAX_CRASHES or counted.deaths >= MAX_DEATHS:
        return _with_event(counted, {"type": "died", "reason": reason}, now_ms), Fate(again_in_s=None)
    again_in_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (counted.deaths - 1))
    event = {"type": "died", "reason": reason, "again_in_s": again_in_s}
    return _with_event(counted, event, now_ms), Fate(again_in_s=again_in_s)


def done(
    job: Job,
    result: bytes,
    replay: Mapping[str, int],
    saved: Mapping[str, object] | None,
    now_ms: int,
) -> Made:
    """It has come to its end."""
    ended = replace(
        job,
        state=State.DONE,
        ended_ms=now_ms,
        replay=dict(replay),
        saved=None if saved is None else dict(saved),
    )
    event = {"type": "done", "replay": dict(replay), "saved": ended.saved}
    made = _ended(ended, event, now_ms)
    # Its answers are of no use any more: what they were for is there.
    unneeded = Drop(journal=records.answers_of(job.job))
    came = _put(records.RESULT, job.job, {"result": result}, expect=None)
    return Made(made.job, (*made.changes, came, unneeded))


def failed(job: Job, failure: DSPexError, now_ms: int) -> Made:
    """It has come to nothing, or to no more than its best so far."""
    ended = replace(job, state=State.FAILED, ended_ms=now_ms, error=encode_failure(failure))
    return _ended(ended, {"type": "failed", "code": failure.code, "message": failure.message}, now_ms)


def cancelled(job: Job, now_ms: int) -> Made:
    """Nobody wants it any more."""
    return _ended(replace(job, state=State.CANCELLED, ended_ms=now_ms), {"type": "cancelled"}, now_ms)


def removed(job: Job, revision: int) -> list[Change]:
    """The changes that forget a job that has ended."""
    changes: list[Change] = [Delete(key=records.key_of(records.JOB, job.job), expect=revision)]
    others = (records.REQUEST, records.BEST, records.RESULT)
    changes += [Delete(key=records.key_of(collection, job.job)) for collection in others]
    if job.key is not None:
        changes.append(Delete(key=records.key_of(records.KEY, job.key)))
    changes += [Drop(journal=journal(job.job)) for journal in (records.events_of, records.answers_of)]
    return changes


def _ended(job: Job, event: Mapping[str, object], now_ms: int) -> Made:
    """What is kept of it only while it is open goes; its answers stay, since it may be resumed."""
    made = _with_event(job, event, now_ms)
    gone = [
        Delete(key=records.key_of(name, job.job)) for name in (records.OPEN, records.CANCEL, records.DEADLINE)
    ]
    return Made(made.job, (*made.changes, *gone))


def _with_event(job: Job, event: Mapping[str, object], now_ms: int) -> Made:
    body = encode_value({"at_ms": now_ms, "attempt": job.attempt, "event": dict(event)})
    append = Append(journal=records.events_of(job.job), body=body, after=job.events)
    return Made(replace(job, events=job.events + 1), (append,))


def _put(collection: str, job: str, body: Mapping[str, object], expect: int | None = 0) -> Put:
    return Put(
        key=records.key_of(collection, job),
        body=records.write_record(collection, job, body),
        expect=expect,
    )


def _usage_of(entry: bytes) -> Mapping[str, object]:
    if not is_map(entry):
        raise invalid_argument("entries", "encoded maps", "something else")
    usage = cut_map(entry).get("usage")
    value = None if usage is None else decode_value(usage)
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _added(spent: Spent, usage: Mapping[str, object]) -> Spent:
    return Spent(
        lm_calls=spent.lm_calls + int(_number(usage, "lm_calls")),
        tokens_in=spent.tokens_in + int(_number(usage, "tokens_in")),
        tokens_out=spent.tokens_out + int(_number(usage, "tokens_out")),
        cost_usd=spent.cost_usd + _number(usage, "cost_usd"),
    )


def _number(usage: Mapping[str, object], name: str) -> float:
    value = usage.get(name, 0)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0
