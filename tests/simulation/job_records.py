"""What the checker keeps of each job and of each submission."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dspex_pool.jobs.records import Job

from .toil import Place, Toil

if TYPE_CHECKING:
    from .records import CallRecord


@dataclass(slots=True, eq=False, kw_only=True)
class Submission:
    """A job that a client wants; it may ask for it again and again, and others with it.

    Attributes:
        key: Under which there is one job only, as the store has it; None for none.
        payload: Of `job.submit`.
        write_id: Of its meta, where it has no key.
        calls: Each time that it was asked for.
        jobs: Those that were made of it.
    """

    toil: Toil
    key: str | None
    payload: dict[str, object]
    write_id: str | None = None
    lm_calls: int | None = None
    deadline_s: float | None = None
    calls: list[CallRecord] = field(default_factory=list["CallRecord"])
    jobs: list[str] = field(default_factory=list[str])

    @property
    def is_denied(self) -> bool:
        """Whoever asked for it was told, each time, that it has had no effect."""
        return bool(self.calls) and all(call.is_denied for call in self.calls)


@dataclass(slots=True, eq=False, kw_only=True)
class JobCall:
    """What a call about jobs is about, besides what is known of any call.

    Attributes:
        job: Which; empty for none, or several.
        after: The number of the event after which it is to go on.
        submission: What it submits.
        state: Of which state it lists jobs; None for all.
    """

    job: str = ""
    after: int = 0
    submission: Submission | None = None
    state: str | None = None


class JobState(NamedTuple):
    """What a job was for a while.

    Attributes:
        mark: Which commit made it so.
        job: Its record; None while there is none.
        is_unwanted: Somebody wants it to end.
    """

    mark: int
    job: Job | None
    is_unwanted: bool


@dataclass(slots=True, eq=False, kw_only=True)
class JobPage:
    """What is known of one job.

    Attributes:
        submission: What it was made of.
        since_s: When it was made or resumed, by the store's time.
        states: What it was, the first being that it is not there.
        events: All that there are.
        places: The answers that are kept, in order.
        bests: The best results, one after another.
        result: What it came to, as it is kept.
        steps: How many of the events are its worker's own.
        paid: How often a model was really asked …
        asked: … and anything …
        distinct: … and what.
        begun: How often a worker was given it.
        crashes: Workers that ended by themselves while they ran it …
        blamed: … as far as the supervisor has counted them.
        save: The number of the program that it makes.
        unwanted_since_s: Since when somebody wants it to end, by the store's time.
        ended_s: When it ended, by the store's time.
        limit: How often models may be asked; the highest that it has had.
        cancels, deletes, resumers: Calls that want it to end, to be gone, or to go on.
    """

    submission: Submission
    since_s: float
    states: list[JobState]
    events: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    places: dict[Place, None] = field(default_factory=dict[Place, None])
    bests: list[float] = field(default_factory=list[float])
    result: object = None
    steps: int = 0
    paid: int = 0
    asked: int = 0
    limit: float = 0.0
    distinct: set[Place] = field(default_factory=set[Place])
    begun: int = 0
    crashes: int = 0
    blamed: int = 0
    save: int | None = None
    unwanted_since_s: float | None = None
    ended_s: float | None = None
    cancels: list[CallRecord] = field(default_factory=list["CallRecord"])
    deletes: list[CallRecord] = field(default_factory=list["CallRecord"])
    resumers: list[CallRecord] = field(default_factory=list["CallRecord"])

    @property
    def now(self) -> JobState:
        """What it is."""
        return self.states[-1]

    @property
    def is_open(self) -> bool:
        """Whether it is there and has not ended."""
        return self.now.job is not None and not self.now.job.is_ended
