"""RUNNING: one job in the hands of this server, from its first attempt here to its end.

taken up ──► attempt ──► its worker replies, fails, or dies ──► done, failed, or again
                └──── cancelled, its time over, another's, or the server ends
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, cast

from dspex_pool.ports import Promise
from dspex_protocol import decode_value
from dspex_protocol.slices import cut_map, is_map

from . import refusals, steps
from .asking import Asking
from .attempt import Attempt, Died, Outcome, Replied, Stop
from .heartbeat import Heartbeat
from .house import House
from .keeping import Keeper, Lost, Step
from .records import Job

if TYPE_CHECKING:
    from dspex_pool.calls import Caller
    from dspex_pool.guest import Guest

_ASKED_FOR: Final = frozenset((Stop.CANCELLED, Stop.LATE))
"""Stops after which its worker may still say and write things."""


class Run:
    """One job that runs here.

    Args:
        house: The server.
        keeper: The job.
        request: What was asked for, encoded.
        ended: Is called when it runs here no more.
    """

    def __init__(self, house: House, keeper: Keeper, request: bytes, ended: Callable[[Run], None]) -> None:
        self._house = house
        self._log = house.ports.log
        self._keeper = keeper
        self._request = request
        self._ended = ended
        stored, timers = house.ports.stored, house.ports.timers
        self._tasks, self._timers, self._wall_ms = stored.tasks, timers, stored.wall_ms
        self._asking = Asking(
            keeper,
            stored,
            timers,
            house.switchboard.library,
            house.switchboard.stored.dataset_rows,
            house.tally,
        )
        self._heartbeat = Heartbeat(
            keeper,
            stored,
            timers,
            house.news,
            on_cancel=lambda: self.stop(Stop.CANCELLED),
            on_late=lambda: self.stop(Stop.LATE),
        )
        keeper.on_lost = lambda: self.stop(Stop.LOST)
        self._stopped: Stop | None = None
        self._attempt: Attempt | None = None
        self._pausing: Promise[None] | None = None

    @property
    def job(self) -> str:
        """Its id."""
        return self._keeper.job.job

    @property
    def process(self) -> Guest | None:
        """The worker of this attempt."""
        return None if self._attempt is None else self._attempt.process

    def begin(self) -> None:
        """Run it."""
        self._heartbeat.start()
        self._tasks.start(self._live())

    def stop(self, why: Stop) -> None:
        """End it here, for this reason or the one that came before.

        The worker of a job that somebody gives up is asked first.
        """
        self._stopped = self._stopped or why
        if why in _ASKED_FOR and self._attempt is not None and self._attempt.cancel(self._stopped):
            self._timers.call_later(self._house.config.grace_s, self._end_now)
        else:
            self._end_now()

    def _end_now(self) -> None:
        assert self._stopped is not None
        if self._attempt is not None:
            self._attempt.stop(self._stopped)
        self._wake()

    def release(self) -> Coroutine[Any, Any, None]:
        """What lets another server have it at once."""
        return self._keeper.release()

    def snapshot(self) -> dict[str, object]:
        """What runs here, as plain values."""
        job = self._keeper.job
        worker = None if self.process is None else self.process.worker
        return {
            "job": job.job,
            "kind": job.kind,
            "state": self._state(),
            "attempt": job.attempt,
            "worker": None if worker is None else worker.number,
            "pid": None if worker is None else worker.process.pid,
            "memory_bytes": 0 if worker is None else worker.memory_bytes,
            "elapsed_s": max(0, self._wall_ms() - (job.started_ms or job.created_ms)) / 1000,
            "progress": dict(self._progress),
            "best_score": job.best_score,
            "spent": asdict(job.spent),
        }

    def _state(self) -> str:
        if self._attempt is None or not self._attempt.is_ready:
            return "starting"
        return "waiting" if self._progress.get("waiting_for") else "running"

    @property
    def _progress(self) -> Mapping[str, object]:
        return self._house.news.progress.get(self.job, self._keeper.job.progress)

    async def _live(self) -> None:
        try:
            await self._attempt_until_ended()
            if self._stopped is Stop.LOST:
                raise Lost
            await self._keeper.release()
        except Lost:
            self._log.warning("job_lost", job=self.job)
        finally:
            self._heartbeat.stop()
            self._house.news.progress.pop(self.job, None)
            self._ended(self)
            self._house.news.changed(self.job)
            self._house.switchboard.flush()

    async def _attempt_until_ended(self) -> None:
        again_in_s: float | None = 0.0
        while again_in_s is not None:
            if again_in_s:
                await self._pause(again_in_s)
            if self._stopped is None:
                await self._commit(lambda job: steps.taken_up(job, self._wall_ms()))
                self._house.tally.attempts += 1
            again_in_s = await self._follow(self._stopped or await self._try())

    async def _pause(self, for_s: float) -> None:
        """Until another attempt; a stop comes at once."""
        self._pausing = self._tasks.promise()
        timer = self._timers.call_later(for_s, self._wake)
        await self._pausing
        timer.cancel()

    def _wake(self) -> None:
        if self._pausing is not None and not self._pausing.done():
            self._pausing.set_result(None)

    async def _try(self) -> Outcome:
        self._attempt = Attempt(self._house, self._keeper, self._request, self._asking)
        try:
            return await self._attempt.outcome()
        finally:
            self._attempt = None

    async def _follow(self, outcome: Outcome) -> float | None:
        """What an attempt came to; after how long there is another one, or None."""
        match outcome:
            case Replied():
                await self._done(outcome.payload)
            case Died():
                return await self._died(outcome)
            case Stop.CANCELLED:
                await self._end(lambda job: steps.cancelled(job, self._wall_ms()))
            case Stop.LATE:
                late = refusals.late(self.job, self._keeper.job.deadline_s)
                await self._end(lambda job: steps.failed(job, late, self._wall_ms()))
            case Stop():
                pass  # it goes on elsewhere, or later
            case failure:
                await self._end(lambda job: steps.failed(job, failure, self._wall_ms()))
        return None

    async def _done(self, payload: bytes) -> None:
        parts = cut_map(payload) if is_map(payload) else {}
        saved, not_saved = await self._house.saving.save(self._keeper.job, parts.get("save"))
        replay = cast("dict[str, int]", decode_value(parts.get("replay", b"\x80")))
        if not_saved is not None:
            told = {"type": "not_saved", "code": not_saved.code, "message": not_saved.message}
            await self._commit(lambda job: steps.happened(job, told, self._wall_ms()))
        result = parts.get("result", b"\xc0")
        await self._end(lambda job: steps.done(job, result, replay, saved, self._wall_ms()))

    async def _died(self, death: Died) -> float | None:
        self._log.warning("job_worker_died", job=self.job, reason=death.reason)
        fates: list[steps.Fate] = []

        def died(job: Job) -> steps.Made:
            # As it is then: what the worker has said last may go with the same commit.
            made, fate = steps.worker_died(
                self._with_unheard(job), death.reason, self._wall_ms(), by_itself=death.by_itself
            )
            fates.append(fate)
            return made

        await self._commit(died)
        self._house.tally.died += 1
        self._asking.under_way = 0
        fate = fates[-1]
        if fate.again_in_s is None:
            failure = refusals.died(self.job, death.reason, self._keeper.job.deaths)
            await self._end(lambda job: steps.failed(job, failure, self._wall_ms()))
        return fate.again_in_s

    async def _commit(self, step: Step) -> None:
        await self._keeper.commit(step)
        self._house.news.changed(self.job)

    async def _end(self, step: Step) -> None:
        """The last commit, with the latest figures."""
        progress = self._house.news.progress.get(self.job)
        if progress is None:
            await self._commit(lambda job: step(self._with_unheard(job)))
        else:
            await self._commit(lambda job: step(steps.progressed(self._with_unheard(job), progress).job))
        self._house.tally.ended(self._keeper.job.state)

    def _with_unheard(self, job: Job) -> Job:
        return steps.unheard(job, self._asking.under_way)

    def reconfigure(self) -> None:
        """The host offers something else now."""
        if self._attempt is not None:
            self._attempt.reconfigure()

    def client_gone(self, caller: Caller) -> None:
        """A client has gone, and with it its answers."""
        if self._attempt is not None:
            self._attempt.client_gone(caller)
