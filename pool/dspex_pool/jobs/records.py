"""What the store keeps of a job. Pure.

    collection     id              what
    job            <job>           JOB: how far it is
    job-request    <job>           what was asked for
    job-best       <job>           the best result so far
    job-result     <job>           what came of it
    job-open       <job>           that it has not ended, and whether it has a deadline
    job-key        <key>           which job was submitted under that key, and for what request
    job-cancel     <job>           somebody wants it to end; its owner sees to that
    job-deadline   <job>           is gone when its time is over, by the store's clock
    journal        job-events/<job>, job-answers/<job>
    lease          job/<job>       who runs it

Ids begin with the time of the submission, so that jobs are read in that order. While a job runs only
the owner of its lease writes its record, and each commit is fenced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

from dspex_pool.library.records import SEPARATOR, open_body
from dspex_pool.library.sealing import Broken, TooNew, seal
from dspex_pool.library.upgrades import Step
from dspex_pool.store import Key
from dspex_protocol import DSPexError, encode_value
from dspex_protocol.records import read

from .refusals import damaged, too_new

JOB: Final = "job"
REQUEST: Final = "job-request"
BEST: Final = "job-best"
RESULT: Final = "job-result"
OPEN: Final = "job-open"
KEY: Final = "job-key"
CANCEL: Final = "job-cancel"
DEADLINE: Final = "job-deadline"

SCHEMA: Final = 1
"""Of all of them; a newer one is refused and left alone."""
STEPS: Final[Mapping[int, Step]] = {}
"""To it from those before; see `library.upgrades`."""


class State(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED: Final = frozenset((State.DONE, State.FAILED, State.CANCELLED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What requests of a job have cost, as far as their answers are kept."""

    lm_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job.

    Attributes:
        job: Its id.
        kind: What is to be done, in a word.
        key: Under which it was submitted; None for none.
        note: Why, in the words of whoever asked for it.
        tenant: On whose behalf.
        state: A `State`.
        budget: Limits by name: lm_calls, tokens, usd.
        deadline_s: After its submission; None for none.
        attempt: How often a worker has begun it.
        events: The number of its last event.
        own_events: How many of those are the worker's own.
        answers: How many are kept.
        spent: What they cost.
        crashes: Workers that ended by themselves since there was last something new.
        deaths: Workers that ended in any way since then.
        resumes: How often it was taken up again after it had failed or was cancelled.
        forgiven: So many of the first answers were there at the last of those: what failed among them is
            asked for again.
        begun_with: The versions (dspex, dspy) of the worker that began it; none before that.
        versions: Those of its last attempt's worker.
        best_score: Of the best result so far; None for none.
        pins: Which version of a program or dataset it works on, where it named none, or a tag.
        progress: The latest figures, as they were when they were last written.
        saved: The program that it has made, and its version.
        experiment, run: Where a run tells of it; None for nowhere.
        replay: How the answers of the last attempt came: answered, live, diverged.
        error: Why it failed, encoded.
        created_ms, started_ms, ended_ms: Wall clock, for people.
    """

    job: str
    kind: str
    key: str | None
    note: str | None
    tenant: str
    state: str
    budget: dict[str, int | float]
    deadline_s: float | None
    attempt: int = 0
    events: int = 0
    own_events: int = 0
    answers: int = 0
    spent: Spent = field(default_factory=Spent)
    crashes: int = 0
    deaths: int = 0
    resumes: int = 0
    forgiven: int = 0
    begun_with: dict[str, str] = field(default_factory=dict[str, str])
    versions: dict[str, str] = field(default_factory=dict[str, str])
    best_score: float | None = None
    pins: dict[str, int] = field(default_factory=dict[str, int])
    progress: dict[str, object] = field(default_factory=dict[str, object])
    saved: dict[str, object] | None = None
    experiment: str | None = None
    run: str | None = None
    replay: dict[str, int] | None = None
    error: bytes | None = None
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ENDED


def key_of(collection: str, job: str) -> Key:
    """Where one of a job's records is."""
    return Key(collection, job)


def pin_of(program: str, tag: str | None = None) -> str:
    """Under which name `Job.pins` has the version of a program; no name of one has a separator."""
    return f"program/{program}" if tag is None else f"program/{program}{SEPARATOR}{tag}"


def events_of(job: str) -> str:
    """The journal of its events."""
    return f"job-events/{job}"


def answers_of(job: str) -> str:
    """The journal of its answers."""
    return f"job-answers/{job}"


def lease_of(job: str) -> str:
    """The name of its lease."""
    return f"job/{job}"


def write_job(job: Job) -> bytes:
    """A job as the store keeps it."""
    body = {name: value for name, value in asdict(job).items() if name != "job"}
    return seal(key_of(JOB, job.job), SCHEMA, encode_value(body))


def read_job(job: str, record: bytes) -> Job:
    """A job as it was kept.

    Raises:
        DSPexError: `store_damaged`, `record_too_new`.
    """
    body = open_record(JOB, job, record)
    try:
        return read(Job, {**body, "job": job})
    except DSPexError as why:
        raise damaged(job, why.message) from why


def write_record(collection: str, job: str, body: Mapping[str, object]) -> bytes:
    """Another record of a job, or the one of a key, as the store keeps it."""
    return seal(key_of(collection, job), SCHEMA, encode_value(dict(body)))


def open_record(collection: str, job: str, record: bytes) -> dict[str, object]:
    """Another record as it was kept; else as `read_job`."""
    try:
        return dict(open_body(key_of(collection, job), record, SCHEMA, STEPS))
    except TooNew as newer:
        raise too_new(job, newer.schema, SCHEMA) from newer
    except Broken as why:
        raise damaged(job, str(why)) from why
