"""RUNNING: one job in the hands of this server, from its first attempt here to its end.

taken up ──► attempt ──► its worker replies, fails, or dies ──► done, failed, or again
                └──── cancelled, its time over, another's, or the server ends
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

from dspex_pool import callbacks
from dspex_pool.guest import Guest
from dspex_pool.ports import Ports, Promise
from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    NOTE,
    REPLY,
    DSPexError,
    Envelope,
    decode_failure,
    decode_value,
    encode,
    encode_failure,
    encode_value,
    error,
)
from dspex_protocol.slices import cut_map, is_map, join_map

from . import refusals, steps
from .asking import Asking
from .heartbeat import Heartbeat
from .host_calls import METHOD as HOST_METHOD
from .host_calls import HostCalls
from .keeping import Keeper, Lost
from .news import News
from .process import alone_for
from .records import Job
from .saving import Saving
from .tally import Tally

if TYPE_CHECKING:
    from dspex_pool.calls import Caller
    from dspex_pool.config import Config
    from dspex_pool.host import Host
    from dspex_pool.switchboard import Switchboard
    from dspex_pool.worker import Worker


class Stop(Enum):
    """Why an attempt is ended from outside."""

    CANCELLED = "cancelled"
    LATE = "late"
    LOST = "lost"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Replied:
    """The worker has come to the job's end."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Died:
    """The worker has ended before that."""

    reason: str
    by_itself: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What all jobs of a server share.

    Attributes:
        config, ports, switchboard, host, news: Of the server.
        saving: Stores the programs that jobs make.
        tally: Counts what comes of jobs here.
        next_number: A number for a worker.
        orphans: Has what dead workers left behind swept.
    """

    config: Config
    ports: Ports
    switchboard: Switchboard
    host: Host
    news: News
    saving: Saving
    tally: Tally
    next_number: Callable[[], int]
    orphans: Callable[[], None]


_DONE: Final = "its job has ended"
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
        self._outcome: Promise[Replied | DSPexError | Died | Stop] = stored.tasks.promise()
        self._process: Guest | None = None
        self._host_calls: HostCalls | None = None
        self._call_id = 0
        self._answering = 0  # calls of the worker
        self._heard_out: Promise[None] = stored.tasks.promise()

    @property
    def job(self) -> str:
        """Its id."""
        return self._keeper.job.job

    @property
    def process(self) -> Guest | None:
        """The worker of this attempt."""
        return self._process

    def begin(self) -> None:
        """Run it."""
        self._heartbeat.start()
        self._tasks.start(self._live())

    def stop(self, why: Stop) -> None:
        """End it here, for this reason or the one that came before.

        A job that somebody gives up is asked first: its worker may have something to stop elsewhere, such
        as a provider's job that would be paid for.
        """
        self._stopped = self._stopped or why
        if why in _ASKED_FOR and self._process is not None and self._process.cancel(self._call_id):
            self._timers.call_later(self._house.config.grace_s, self._end_now)
        else:
            self._end_now()

    def _end_now(self) -> None:
        assert self._stopped is not None
        self._settle(self._stopped)
        if self._process is not None:
            self._process.kill()

    def release(self) -> Coroutine[Any, Any, None]:
        """What lets another server have it at once."""
        return self._keeper.release()

    def snapshot(self) -> dict[str, object]:
        """What runs here, as plain values."""
        job = self._keeper.job
        worker = None if self._process is None else self._process.worker
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
        if self._host_calls is None:  # it has not answered hello
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
            again_in_s = await self._follow(self._stopped or await self._attempt())

    async def _pause(self, for_s: float) -> None:
        """Until another attempt; a stop comes at once."""
        self._outcome = self._tasks.promise()
        timer = self._timers.call_later(for_s, self._settle, Died("", by_itself=False))
        await self._outcome
        timer.cancel()

    async def _attempt(self) -> Replied | DSPexError | Died | Stop:
        house = self._house
        self._outcome = self._tasks.promise()
        self._process = Guest(house.config, house.ports, house.host.offer, house.next_number(), self)
        self._process.start(alone_for(self.job))
        try:
            outcome = await self._outcome
        finally:
            self._end_attempt()
        await self._hear_out()
        return outcome

    async def _hear_out(self) -> None:
        """Have what the worker has said before its end be in the store before that, too.

        An answer that was paid for would else be asked for again.
        """
        while self._answering:
            self._heard_out = self._tasks.promise()
            await self._heard_out

    def _end_attempt(self) -> None:
        process, self._process = self._process, None
        if self._host_calls is not None:
            self._host_calls.end()
            self._host_calls = None
        if process is None:
            return
        process.kill()
        if process.worker is not None:
            process.worker.let_go = True
            self._house.switchboard.worker_lost(process.worker, process.worker.cause or _DONE)
        self._house.orphans()
        self._house.switchboard.flush()

    async def _follow(self, outcome: Replied | DSPexError | Died | Stop) -> float | None:
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

    async def _commit(self, step: Callable[[Job], steps.Made]) -> None:
        await self._keeper.commit(step)
        self._house.news.changed(self.job)

    async def _end(self, step: Callable[[Job], steps.Made]) -> None:
        """The last commit, with the latest figures."""
        progress = self._house.news.progress.get(self.job)
        if progress is None:
            await self._commit(lambda job: step(self._with_unheard(job)))
        else:
            await self._commit(lambda job: step(steps.progressed(self._with_unheard(job), progress).job))
        self._house.tally.ended(self._keeper.job.state)

    def _with_unheard(self, job: Job) -> Job:
        return steps.unheard(job, self._asking.under_way)

    def _settle(self, outcome: Replied | DSPexError | Died | Stop) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    # What its process says

    def ready(self, guest: Guest) -> None:
        """It has answered hello: it is given the job."""
        assert guest.worker is not None
        self._host_calls = HostCalls(guest.worker, self._house.host, self, self._timers.time)
        if guest.versions in ({}, self._keeper.job.versions):
            self._give(guest)
        else:
            self._tasks.start(self._note_and_give(guest))

    async def _note_and_give(self, guest: Guest) -> None:
        """It is of other versions than the attempt before, which is told before anything comes of it."""
        before = self._keeper.job
        try:
            await self._commit(lambda job: steps.begun_under(job, guest.versions, self._wall_ms()))
        except Lost:
            return
        if self._keeper.job.begun_with != guest.versions:
            self._log.warning(
                "job_versions_changed", job=self.job, before=before.versions, now=dict(guest.versions)
            )
        if self._process is guest:  # else it has died meanwhile
            self._give(guest)

    def _give(self, guest: Guest) -> None:
        job = self._keeper.job
        said = {
            "job": job.job,
            "kind": job.kind,
            "attempt": job.attempt,
            "budget": job.budget,
            "forgiven": job.forgiven,
            "spent": {
                "lm_calls": job.spent.lm_calls,
                "tokens_in": job.spent.tokens_in,
                "tokens_out": job.spent.tokens_out,
                "cost_usd": job.spent.cost_usd,
            },
        }
        encoded = {name: encode_value(value) for name, value in said.items()}
        self._call_id = guest.call("job.run", join_map({**encoded, "request": self._request}))
        self._house.switchboard.flush()

    def heard(self, envelope: Envelope, body: bytes) -> None:
        """It has said something: to us, or to the host, or about a call that the host made there."""
        worker = None if self._process is None else self._process.worker
        if worker is None or self._host_calls is None:
            return
        payload = body[envelope.payload_at :]
        match envelope.kind:
            case kind if kind in (REPLY, FAIL) and envelope.id == self._call_id:
                self._count(envelope)
                failure = None if kind == REPLY else self._stopped or decode_failure(payload)
                self._settle(failure or Replied(payload))
            case kind if kind == CALL and envelope.meta.get("parent") == self._call_id:
                self._asked(worker, self._host_calls, envelope, payload)
            case kind if kind == CANCEL:
                self._host_calls.cancel(envelope.id)
            case kind if kind == CREDIT:
                callbacks.add_credit(worker, envelope)
            case kind if kind == NOTE and envelope.method == "job.asked":
                self._asking.under_way += 1
            case kind if kind == NOTE and envelope.method == "job.progress":
                self._progressed(decode_value(payload))
            case _:
                self._house.switchboard.take_from_worker(worker, [body])
        self._house.switchboard.flush()

    def _count(self, envelope: Envelope) -> None:
        if "lm_calls" in envelope.meta:
            self._house.switchboard.spending.add(envelope.meta, self._keeper.job.tenant, None)

    def _asked(self, worker: Worker, host_calls: HostCalls, envelope: Envelope, payload: bytes) -> None:
        if envelope.method == HOST_METHOD:
            host_calls.take(envelope, payload)
        else:
            self._answering += 1
            self._tasks.start(self._answer(worker, envelope.id, str(envelope.method), payload))

    async def _answer(self, worker: Worker, call_id: int, method: str, payload: bytes) -> None:
        try:
            kind, said = await self._answer_to(method, payload)
        except Lost:
            return  # it is on its way out
        finally:
            self._answering -= 1
            if not self._answering and not self._heard_out.done():
                self._heard_out.set_result(None)
        worker.link.send(encode(kind, call_id, None, {}, said))
        self._house.news.changed(self.job)
        self._house.switchboard.flush()

    async def _answer_to(self, method: str, payload: bytes) -> tuple[int, bytes]:
        """A REPLY or a FAIL, and its payload.

        Raises:
            Lost: as `Asking.answer`.
        """
        try:
            return REPLY, await self._asking.answer(method, payload)
        except Lost:
            raise
        except DSPexError as failure:
            return FAIL, encode_failure(failure)
        except Exception as fault:
            # Here a task ends: without a word of it the worker would wait for ever.
            self._log.error("job_call_failed", method=method, reason=type(fault).__name__)
            return FAIL, encode_failure(error("internal", f"{method} failed: {type(fault).__name__}"))

    def _progressed(self, figures: object) -> None:
        if isinstance(figures, dict):
            known = self._house.news.progress.get(self.job, {})
            self._house.news.progress[self.job] = {**known, **cast("Mapping[str, object]", figures)}
            self._house.news.changed(self.job)

    def ended(self, reason: str, *, by_itself: bool) -> None:
        """It has ended before the job has."""
        words = self._last_words()
        if words:
            self._log.error("job_worker_words", job=self.job, words=words[-500:])
        self._settle(Died(reason, by_itself))

    def _last_words(self) -> str:
        worker = None if self._process is None else self._process.worker
        return "" if worker is None else worker.process.last_words()

    # The host

    def waits_for_host(self, function: str) -> None:
        """Nobody offers a function that it needs."""
        self._progressed({"waiting_for": function})
        self._tell({"type": "waiting_for_host", "function": function})

    def host_is_back(self, function: str) -> None:
        """Somebody does again."""
        self._progressed({"waiting_for": None})
        self._tell({"type": "host_is_back", "function": function})

    def _tell(self, event: Mapping[str, object]) -> None:
        self._tasks.start(self._keep_event(event))

    async def _keep_event(self, event: Mapping[str, object]) -> None:
        try:
            await self._commit(lambda job: steps.happened(job, event, self._wall_ms()))
        except Lost:
            return

    def reconfigure(self) -> None:
        """The host offers something else now."""
        if self._process is not None:
            self._process.configure()
        if self._host_calls is not None:
            self._host_calls.offers_changed()

    def client_gone(self, caller: Caller) -> None:
        """A client has gone, and with it its answers."""
        if self._host_calls is not None:
            self._host_calls.client_gone(caller)
