"""`job.run`, which runs a job to its end, and `job.check`, which refuses one that could not begin."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from dspex_protocol.records import read

from ..rows import Operation, Worker
from ..worker.calls import RunningCall
from .answers import Answers
from .budget import Budget, Cost
from .job import Job
from .kind import Kind, NeededProgram, NeededRows, Outcome, Save
from .kinds import find_kind

SETTLE_S: Final = 30.0
"""For answers that are under way when a job's budget is spent: whoever resumes it has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob:
    """A job, and how far the attempts before have come."""

    job: str
    kind: str
    request: object
    attempt: int
    budget: Budget = field(default_factory=Budget)
    spent: Cost = field(default_factory=Cost)
    forgiven: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckJob:
    """A job to be."""

    kind: str
    request: object


async def run_job(worker: Worker, call: RunningCall, what: RunJob) -> object:
    """Run it, and say what it came to."""
    kind = find_kind(worker.kinds, what.kind)
    job = Job(
        worker.calls,
        call,
        job=what.job,
        kind=what.kind,
        attempt=what.attempt,
        budget=what.budget,
        spent=what.spent,
        forgiven=what.forgiven,
    )
    worker.calls.sole = call  # DSPy starts threads that know of no call
    await job.load_answers()
    outcome = await _run_until_stopped(worker, job, kind, _request(kind, what.request))
    job.tell_progress()
    return {
        "result": outcome.result,
        "save": None if outcome.save is None else _told(outcome.save),
        "replay": _replay(job.answers),
    }


async def _run_until_stopped(worker: Worker, job: Job, kind: Kind, request: Any) -> Outcome:
    """DSPy takes many an exception for a bad score and goes on: a spent budget ends the job from outside."""
    work = asyncio.ensure_future(kind.run(worker, job, request))
    try:
        await asyncio.wait((work, job.stopped), return_when=asyncio.FIRST_COMPLETED)
        if job.stopped.done():
            await job.answers.settle(SETTLE_S)
    finally:
        if not work.done():
            work.cancel()
            # It may have something to stop elsewhere; the supervisor waits a while for that.
            await asyncio.wait((work,))
    if job.stopped.done():
        with suppress(BaseException):
            work.exception() if work.done() else None
        job.stopped.result()
    return work.result()


def check_job(worker: Worker, call: RunningCall, what: CheckJob) -> object:
    """Refuse what could not begin, and say what it needs of what is stored."""
    kind = find_kind(worker.kinds, what.kind)
    request = _request(kind, what.request)
    if kind.check is not None:
        kind.check(worker, request)
    needs = () if kind.needs is None else kind.needs(request)
    return {
        "programs": [asdict(one) for one in needs if isinstance(one, NeededProgram)],
        "datasets": [asdict(one) for one in needs if isinstance(one, NeededRows)],
    }


def _request(kind: Kind, request: object) -> Any:
    return request if kind.request is None else read(kind.request, request, "request")


def _told(save: Save) -> Mapping[str, object]:
    return {
        "record": dict(save.record),
        "program": save.program,
        "base": save.base,
        "tags": list(save.tags),
        "note": save.note,
        "optimizer": save.optimizer,
        "scores": None if save.scores is None else dict(save.scores),
    }


def _replay(answers: Answers) -> dict[str, object]:
    """How the answers came, and how many of those that were kept this attempt had no use for."""
    return {"answered": answers.answered, "live": answers.live, "diverged": answers.unasked}


RUN_JOB: Final = Operation(
    method="job.run", parameters=RunJob, run=run_job, effects=True, doc="Runs a job to its end."
)
CHECK_JOB: Final = Operation(
    method="job.check",
    parameters=CheckJob,
    run=check_job,
    inline=True,
    doc="Refuses a job that cannot begin; which stored things it needs.",
)
