"""What clients are told of jobs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

from dspex_pool.library.answers import moment
from dspex_pool.store import Entry
from dspex_protocol import DSPexError, decode_failure, decode_value, error

from . import refusals
from .records import Job, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best result so far.

    Attributes:
        score: More is better.
        content: What it is, encoded.
    """

    score: float
    content: bytes


def describe(
    job: Job, progress: Mapping[str, object] | None = None, *, is_cancelling: bool = False
) -> dict[str, object]:
    """A job.

    Args:
        job: As it is kept.
        progress: Later figures than those that are kept.
        is_cancelling: Somebody wants it to end, and it has not yet.
    """
    return {
        "job": job.job,
        "kind": job.kind,
        "state": str(job.state),
        "key": job.key,
        "note": job.note,
        "tenant": job.tenant,
        "attempt": job.attempt,
        "resumes": job.resumes,
        "budget": job.budget,
        "deadline_s": job.deadline_s,
        "created": moment(job.created_ms),
        "started": _moment(job.started_ms),
        "ended": _moment(job.ended_ms),
        "events": job.events,
        "answers": job.answers,
        "spent": asdict(job.spent),
        "progress": dict(job.progress if progress is None or job.is_ended else progress),
        "best_score": job.best_score,
        "versions": {"begun": job.begun_with or None, "latest": job.versions} if job.versions else None,
        "saved": job.saved,
        "experiment": job.experiment,
        "run": job.run,
        "replay": job.replay,
        "cancelling": is_cancelling and not job.is_ended,
        "error": None if job.error is None else _error_row(decode_failure(job.error)),
    }


def event_row(entry: Entry) -> dict[str, object]:
    """An event: its number, when and in which attempt, what happened, and what there is to say of it."""
    told = cast("dict[str, object]", decode_value(entry.body))
    event = cast("dict[str, object]", told["event"])
    return {**event, "n": entry.number, "at": moment(cast("int", told["at_ms"])), "attempt": told["attempt"]}


def failure_of(job: Job, best: Best | None) -> DSPexError | None:
    """Why a job has no result; None where it has one.

    The error of a spent budget has the best result so far in it.
    """
    if job.state == State.DONE:
        return None
    if job.state == State.CANCELLED:
        return refusals.cancelled(job.job)
    if job.error is None:
        return refusals.not_done(job.job, job.state, "there is no result yet")
    failure = decode_failure(job.error)
    if failure.code != "budget_spent" or best is None:
        return failure
    told = {"score": best.score, "content": decode_value(best.content)}
    return error(failure.code, failure.message, details={**failure.details, "best": told})


def _moment(wall_ms: int | None) -> dt.datetime | None:
    return None if wall_ms is None else moment(wall_ms)


def _error_row(failure: DSPexError) -> dict[str, object]:
    return {"code": failure.code, "message": failure.message, "details": dict(failure.details)}
