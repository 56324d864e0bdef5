"""THE CHRONICLE: runs of jobs and evaluations, brought up to what those have come to.

Whoever does the work knows nothing of runs: a job's events, and an evaluation's head, are in the store
anyhow. A run that tells of one is brought up to date when it is looked at, and before what it tells of
is deleted. So no run holds up a job or makes it fail, and none misses anything, whoever dies when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dspex_pool.evaluation.reader import Reader
from dspex_pool.evaluation.records import Head
from dspex_pool.jobs.records import Job
from dspex_pool.jobs.shelf import Shelf as JobShelf
from dspex_pool.ports import Stored
from dspex_pool.store import Append, Entry
from dspex_protocol import DSPexError

from . import evaluation_runs, job_runs, steps
from .records import Run
from .shelf import Shelf

PAGE: Final = 200
"""Events of a job that are told in one commit."""
NOBODY_TO_TELL: Final = frozenset(("unknown_experiment", "store_damaged", "record_too_new"))
"""The run was deleted, or cannot be read: that keeps nobody from deleting a job."""

Telling = Callable[[Run], tuple[Run, list[Append]]]


class Chronicle:
    """Runs as they are now.

    Args:
        stored: The store, new ids and the wall clock.
    """

    def __init__(self, stored: Stored) -> None:
        self._shelf = Shelf(stored.store, new_id=stored.new_id, wall_ms=stored.wall_ms)
        self._jobs = JobShelf(stored.store, wall_ms=stored.wall_ms, new_id=stored.new_id)
        self._evaluations = Reader(stored.store, stored.tasks.apart)
        self._wall_ms = stored.wall_ms

    async def run(self, experiment: str, run: str) -> Run:
        """A run.

        Raises:
            DSPexError: `unknown_experiment`; a `store_…` code.
        """
        return await self._current((await self._shelf.run(experiment, run)).run)

    async def runs(self, experiment: str) -> list[Run]:
        """All runs of an experiment, by id; else as `run`."""
        return [await self._current(run) for run in await self._shelf.runs(experiment)]

    async def close_job(self, job: Job) -> None:
        """See that all of a job is told that is about to be forgotten."""
        await self._close(job.experiment, job.run)

    async def close_evaluation(self, head: Head) -> None:
        """The same of an evaluation, or of one that goes on in another run."""
        await self._close(head.experiment, head.run)

    async def _close(self, experiment: str | None, run: str | None) -> None:
        if experiment is None or run is None:
            return
        try:
            await self._told((await self._shelf.run(experiment, run)).run)
        except DSPexError as gone:
            if gone.code not in NOBODY_TO_TELL:
                raise

    async def _current(self, run: Run) -> Run:
        try:
            return await self._told(run)
        except DSPexError as failure:
            if failure.code == "store_unavailable":
                raise
            # A damaged job, or a store that is full or takes no writes: what is there can be read.
            return run

    async def _told(self, run: Run) -> Run:
        """A run after all that there is to tell."""
        if run.of is None or run.state != "open":
            return run
        kind, _, name = run.of.partition("/")
        return await (self._of_job if kind == "job" else self._of_evaluation)(run, name)

    async def _of_job(self, run: Run, name: str) -> Run:
        while run.state == "open":
            job = await self._job(name)
            if job is None:
                return await self._lost(run, "its job is gone")
            events = await self._jobs.events(name, run.heard, PAGE)
            if not events:
                break
            result = await self._result(name, events)

            def tell(
                found: Run, job: Job = job, events: Sequence[Entry] = events, result: bytes | None = result
            ) -> tuple[Run, list[Append]]:
                return job_runs.follow(found, job, events, result)

            run = await self._changed(run, tell)
        return run

    async def _job(self, name: str) -> Job | None:
        try:
            return (await self._jobs.get(name)).job
        except DSPexError as unknown:
            if unknown.code != "unknown_job":
                raise
            return None

    async def _result(self, name: str, events: Sequence[Entry]) -> bytes | None:
        """What it came to, where one of these events says that there is something."""
        if not any(job_runs.event_of(entry)[0].get("type") == "done" for entry in events):
            return None
        try:
            return await self._jobs.result(name)
        except DSPexError as unknown:
            if unknown.code != "unknown_job":
                raise
            return None

    async def _of_evaluation(self, run: Run, name: str) -> Run:
        known = await self._evaluations.known(name)
        if known is None or (known.head.experiment, known.head.run) != (run.experiment, run.run):
            return await self._lost(run, "its evaluation is gone")
        head = known.head
        if head.ended_ms is None:
            return run
        return await self._changed(run, lambda found: evaluation_runs.follow(found, head))

    async def _lost(self, run: Run, why: str) -> Run:
        def tell(found: Run) -> tuple[Run, list[Append]]:
            if found.state != "open":
                return found, []
            return job_runs.noted(steps.ended(found, "failed", self._wall_ms()), why), []

        return await self._changed(run, tell)

    async def _changed(self, run: Run, tell: Telling) -> Run:
        """One commit; where somebody else was faster, what that has left over."""
        made = run

        def change(found: Run) -> tuple[Run, list[Append]]:
            nonlocal made
            made, entries = tell(found)
            return made, entries

        await self._shelf.change(run.experiment, run.run, change, None, "")
        return made
