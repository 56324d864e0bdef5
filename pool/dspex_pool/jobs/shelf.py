"""THE SHELF: jobs as anybody may see and submit them, whoever runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, cast

from dspex_pool.experiments.job_runs import beginning_of, going_on_of
from dspex_pool.experiments.requests import Told
from dspex_pool.experiments.shelf import Shelf as Experiments
from dspex_pool.library.failures import told
from dspex_pool.library.scanning import Scanned, scan_page
from dspex_pool.store import Change, Conflict, Entry, Put, Record, Store
from dspex_protocol import DSPexError, error

from . import records, refusals, steps
from .answers import Best
from .records import Job, State

TRIES: Final = 20
"""Under one key, and into one experiment: each begins a run of it."""
WISH_TTL_S: Final = 604_800.0
"""A wish for a job that ended in the same moment is of no use to anybody; in a week the store forgets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A job as it was asked for.

    Attributes:
        kind: What is to be done.
        request: What that needs, encoded.
        key: Under which there is one job only; None for none.
        digest: Of all that makes it the same as another one under its key.
        budget, deadline_s, note, tenant, pins, experiment: As in `records.Job`.
        told: What its run says of the request; None where there is to be no run.
    """

    kind: str
    request: bytes
    key: str | None
    digest: bytes
    budget: dict[str, int | float]
    deadline_s: float | None
    note: str | None
    tenant: str
    pins: dict[str, int]
    experiment: str | None = None
    told: Told | None = None


class Found(NamedTuple):
    """A job, the revision of its record, and whether somebody wants it to end."""

    job: Job
    revision: int
    is_cancelling: bool


class Shelf:
    """Every coroutine raises a DSPexError with a `store_…` code when the store fails.

    Args:
        store: Where they are.
        wall_ms: The wall clock in milliseconds, for people, and for the order of ids.
        new_id: Makes an id that nobody else has made.
    """

    def __init__(self, store: Store, *, wall_ms: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._store = store
        self._wall_ms = wall_ms
        self._new_id = new_id
        self._last_ms = 0
        self._experiments = Experiments(store, new_id=new_id, wall_ms=wall_ms)

    async def submit(self, wish: Wish) -> tuple[Job, bool]:
        """Make a job, or find the one of that key.

        Returns:
            It, and whether it was made now.

        Raises:
            DSPexError: `job_key_reused`.
        """
        for _ in range(TRIES):
            known = await self.job_of(wish.key, wish.digest)
            if known is not None:
                return known, False
            job = self._made_of(wish)
            job, run = await self._with_run(job, wish)
            changes = self._changes_for(job, wish) + run
            try:
                with told:
                    await self._store.commit(changes)
            except Conflict:
                continue  # another one was submitted under that key, or has begun a run
            return job, True
        raise error(
            "overloaded", "too many submit jobs under that key, or into that experiment", retry_after_ms=100
        )

    async def _with_run(self, job: Job, wish: Wish) -> tuple[Job, list[Change]]:
        """The job with the run that tells of it, which begins with it or not at all."""
        if wish.experiment is None or wish.told is None:
            return job, []
        begun = await self._experiments.beginning(wish.experiment, None, beginning_of(job, wish.told))
        return replace(job, experiment=wish.experiment, run=begun.run), begun.changes

    async def job_of(self, key: str | None, digest: bytes) -> Job | None:
        """The job that was submitted under a key; None where there is none, or no key.

        Args:
            key: It.
            digest: Of the submission that is to be the same.

        Raises:
            DSPexError: `job_key_reused`.
        """
        if key is None:
            return None
        with told:
            (record,) = await self._store.get([records.key_of(records.KEY, key)])
        if record is None:
            return None
        known = records.open_record(records.KEY, key, record.body)
        job = str(known["job"])
        if known["digest"] != digest:
            raise refusals.key_reused(key, job)
        try:
            return (await self.get(job)).job
        except DSPexError as gone:
            if gone.code != "unknown_job":
                raise
            return None  # it was deleted a moment ago, and its key with it

    def _made_of(self, wish: Wish) -> Job:
        now_ms = self._wall_ms()
        # Jobs begin in the order of their ids: of two within a millisecond the first one does, too.
        self._last_ms = max(now_ms, self._last_ms + 1)
        return Job(
            job=f"job-{self._last_ms:012x}-{self._new_id()[:12]}",
            kind=wish.kind,
            key=wish.key,
            note=wish.note,
            tenant=wish.tenant,
            state=State.QUEUED,
            budget=wish.budget,
            deadline_s=wish.deadline_s,
            pins=wish.pins,
            created_ms=now_ms,
        )

    def _changes_for(self, job: Job, wish: Wish) -> list[Change]:
        made = steps.submitted(job, wish.request)
        changes: list[Change] = [
            Put(key=records.key_of(records.JOB, job.job), body=records.write_job(made.job), expect=0),
            *made.changes,
        ]
        if wish.key is not None:
            body = records.write_record(records.KEY, wish.key, {"job": job.job, "digest": wish.digest})
            changes.append(Put(key=records.key_of(records.KEY, wish.key), body=body, expect=0))
        return changes

    async def get(self, job: str) -> Found:
        """A job as it is now.

        Raises:
            DSPexError: `unknown_job`, `store_damaged`, `record_too_new`.
        """
        with told:
            record, wish = await self._store.get(
                [records.key_of(records.JOB, job), records.key_of(records.CANCEL, job)]
            )
        if record is None:
            raise refusals.unknown_job(job)
        return Found(records.read_job(job, record.body), record.revision, wish is not None)

    async def request(self, job: str) -> bytes:
        """What was asked for, encoded.

        Raises:
            DSPexError: as `get`.
        """
        body = await self._open(records.REQUEST, job)
        if body is None:
            raise refusals.unknown_job(job)
        return cast("bytes", body["request"])

    async def best(self, job: str) -> Best | None:
        """The best result so far; None where there is none yet."""
        body = await self._open(records.BEST, job)
        if body is None:
            return None
        return Best(score=cast("float", body["score"]), content=cast("bytes", body["content"]))

    async def result(self, job: str) -> bytes:
        """What a job that is done came to, encoded.

        Raises:
            DSPexError: `unknown_job` where it was deleted meanwhile.
        """
        body = await self._open(records.RESULT, job)
        if body is None:
            raise refusals.unknown_job(job)
        return cast("bytes", body["result"])

    async def _open(self, collection: str, job: str) -> dict[str, object] | None:
        with told:
            (record,) = await self._store.get([records.key_of(collection, job)])
        return None if record is None else records.open_record(collection, job, record.body)

    async def events(self, job: str, after: int, limit: int) -> list[Entry]:
        """Events in order, those that follow a number; none of a job that is not there."""
        with told:
            return await self._store.entries(records.events_of(job), after=after, limit=limit)

    async def page(self, kind: str | None, state: str | None, after: str, limit: int) -> Scanned[Job]:
        """A page of jobs, the newest first."""

        def read(record: Record) -> Job | None:
            job = records.read_job(record.key.id, record.body)
            return job if _is_wanted(job, kind, state) else None

        return await scan_page(self._store, records.JOB, read, after=after, limit=limit, newest_first=True)

    async def want_end(self, job: str) -> None:
        """Have whoever runs a job end it."""
        key = records.key_of(records.CANCEL, job)
        with told:
            body = records.write_record(records.CANCEL, job, {})
            await self._store.commit([Put(key=key, body=body, ttl_s=WISH_TTL_S)])

    async def resume(
        self, job: str, budget: Mapping[str, int | float] | None, deadline_s: float | None
    ) -> Job:
        """Have one go on that has failed or was cancelled; as it is then. One that is open stays as it is.

        Raises:
            DSPexError: `unknown_job`; `invalid_argument` for one that is done; `job_not_done` for one that
                is open and has another budget or deadline.
        """
        for _ in range(TRIES):
            found = await self.get(job)
            if not found.job.is_ended:
                return _open_already(found.job, budget, deadline_s)
            if found.job.state == State.DONE:
                raise refusals.not_resumable(job, found.job.state)
            made = steps.resumed(found.job, budget, deadline_s, self._wall_ms())
            resumed, run = await self._with_another_run(made.job)
            body = records.write_job(resumed)
            put = Put(key=records.key_of(records.JOB, job), body=body, expect=found.revision)
            try:
                with told:
                    await self._store.commit([put, *made.changes, *run])
            except Conflict:
                continue  # somebody else did so, or has deleted it, or has begun a run
            return resumed
        raise error("overloaded", "too many resume that job", retry_after_ms=100)

    async def _with_another_run(self, job: Job) -> tuple[Job, list[Change]]:
        """The job with a run that goes on where the one before has ended, as that stays as it was."""
        if job.experiment is None or job.run is None:
            return job, []
        try:
            before = (await self._experiments.run(job.experiment, job.run)).run
        except DSPexError as gone:
            if gone.code != "unknown_experiment":
                raise
            return job, []  # who has deleted its run wants none
        begun = await self._experiments.beginning(job.experiment, None, going_on_of(job, before))
        return replace(job, run=begun.run), begun.changes

    async def delete(self, job: str) -> None:
        """Forget a job that has ended.

        Raises:
            DSPexError: `unknown_job`, `job_not_done`.
        """
        for _ in range(TRIES):
            found = await self.get(job)
            if not found.job.is_ended:
                raise refusals.not_done(job, found.job.state, "cancel it before it is deleted")
            try:
                with told:
                    await self._store.commit(steps.removed(found.job, found.revision))
            except Conflict:
                continue  # somebody else has deleted it, or resumed it
            return
        raise error("overloaded", "too many resume that job and end it", retry_after_ms=100)


def _open_already(job: Job, budget: Mapping[str, int | float] | None, deadline_s: float | None) -> Job:
    """Somebody has resumed it, maybe with a call of which nobody heard the answer."""
    if budget not in (None, job.budget) or deadline_s not in (None, job.deadline_s):
        raise refusals.not_done(
            job.job, job.state, "its budget and deadline can be changed when it has ended"
        )
    return job


def _is_wanted(job: Job, kind: str | None, state: str | None) -> bool:
    if kind is not None and job.kind != kind:
        return False
    return state is None or (not job.is_ended if state == "open" else job.state == state)
