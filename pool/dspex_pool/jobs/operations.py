"""The methods about jobs, with their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from dspex_pool.own_method import PAGE, Limit, Note, OwnMethod
from dspex_protocol.records import Doc, Length, Range

JobId = Annotated[str, Length(1, 128), Doc("id of a job")]
Kind = Annotated[str, Length(1, 64), Doc("what is to be done: optimize, …; system.describe lists them")]

Experiment = Annotated[
    str, Length(1, 128), Doc("id of an experiment, in which there is a run that tells of it")
]

MAX_DEADLINE_S: Final = 31_536_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a job may spend at most, over all of its attempts."""

    lm_calls: Annotated[int, Range(0), Doc("requests to language models")] | None = None
    tokens: Annotated[int, Range(0), Doc("of prompts and answers together")] | None = None
    usd: Annotated[float, Range(0), Doc("of those requests whose price is known")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJob:
    """A job to be done."""

    kind: Kind
    request: Annotated[object, Doc("by kind; system.describe has its fields")]
    key: (
        Annotated[
            str,
            Length(1, 128),
            Doc("there is one job of a key: submitted again it is the same, and not begun anew"),
        ]
        | None
    ) = None
    budget: Annotated[Budget | None, Doc("what it may spend; default: no limits")] = None
    deadline_s: (
        Annotated[float, Range(0.001, MAX_DEADLINE_S), Doc("after so long it fails, by the store's clock")]
        | None
    ) = None
    note: Note | None = None
    experiment: Experiment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the supervisor reads of `SubmitJob` besides the request."""

    kind: Kind
    key: Annotated[str, Length(1, 128)] | None = None
    budget: Budget | None = None
    deadline_s: Annotated[float, Range(0.001, MAX_DEADLINE_S)] | None = None
    note: Note | None = None
    experiment: Experiment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetJob:
    """A job, and how much to tell of it."""

    job: JobId
    request: Annotated[bool, Doc("with what was asked for, which may be long")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedJob:
    """A job."""

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeJob:
    """A job that has failed or was cancelled, and what it may spend from now on."""

    job: JobId
    budget: (
        Annotated[Budget, Doc("limits over all attempts, those before included; default: as they were")]
        | None
    ) = None
    deadline_s: (
        Annotated[
            float, Range(0.001, MAX_DEADLINE_S), Doc("from now; default: as long as it had at its submission")
        ]
        | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJobs:
    """Which jobs; the newest comes first."""

    kind: Kind | None = None
    state: (
        Annotated[
            Literal["open", "queued", "running", "done", "failed", "cancelled"],
            Doc("only those; open: queued and running ones"),
        ]
        | None
    ) = None
    limit: Limit = PAGE
    after: Annotated[str, Length(0, 128), Doc("`next` of the page before")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEvents:
    """Which events of a job, in order."""

    job: JobId
    after: Annotated[int, Range(0), Doc("the number of the last one that is known")] = 0
    limit: Limit = PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowJob:
    """From where to follow a job."""

    job: JobId
    after: Annotated[int, Range(0), Doc("the number of the last event that is known")] = 0


JOB_METHODS: Final = {
    "job.submit": OwnMethod(
        parameters=SubmitJob, doc="Has a job done, now or later, by this server or another one of its store."
    ),
    "job.get": OwnMethod(parameters=GetJob, doc="What is known of a job."),
    "job.list": OwnMethod(parameters=ListJobs, doc="Jobs, the newest first, a page at a time."),
    "job.events": OwnMethod(parameters=ListEvents, doc="Events of a job in order, a page at a time."),
    "job.follow": OwnMethod(
        parameters=FollowJob,
        doc="Ends with the job; with credit an item for each event from any number on, and for progress.",
    ),
    "job.cancel": OwnMethod(parameters=NamedJob, doc="Ends a job, and keeps the best result so far."),
    "job.resume": OwnMethod(
        parameters=ResumeJob,
        doc="Has a job that failed or was cancelled go on from what it has paid for.",
    ),
    "job.best": OwnMethod(parameters=NamedJob, doc="The best result of a job so far."),
    "job.result": OwnMethod(parameters=NamedJob, doc="What a job that is done came to."),
    "job.delete": OwnMethod(parameters=NamedJob, doc="Forgets a job that has ended."),
}
