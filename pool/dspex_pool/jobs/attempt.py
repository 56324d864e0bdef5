"""AN ATTEMPT at a job: one worker's go at it, from its start to its end, whoever ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from dspex_pool import callbacks
from dspex_pool.guest import Guest
from dspex_pool.ports import Promise
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
from dspex_protocol.slices import join_map

from . import steps
from .asking import Asking
from .host_calls import METHOD as HOST_METHOD
from .host_calls import HostCalls
from .house import House
from .keeping import Keeper, Lost, Step
from .process import alone_for

if TYPE_CHECKING:
    from dspex_pool.calls import Caller
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


Outcome: TypeAlias = Replied | DSPexError | Died | Stop

_DONE: Final = "its job has ended"


class Attempt:
    """One of them. Building it starts nothing.

    Args:
        house: The server.
        keeper: The job.
        request: What was asked for, encoded.
        asking: Answers what the worker asks of the supervisor.
    """

    def __init__(self, house: House, keeper: Keeper, request: bytes, asking: Asking) -> None:
        self._house = house
        self._log = house.ports.log
        self._keeper = keeper
        self._request = request
        self._asking = asking
        stored = house.ports.stored
        self._tasks, self._wall_ms = stored.tasks, stored.wall_ms
        self._outcome: Promise[Outcome] = stored.tasks.promise()
        self._process: Guest | None = None
        self._host_calls: HostCalls | None = None
        self._call_id = 0
        self._cancelled: Stop | None = None
        self._answering = 0  # calls of the worker
        self._heard_out: Promise[None] = stored.tasks.promise()

    @property
    def job(self) -> str:
        """Its id."""
        return self._keeper.job.job

    @property
    def process(self) -> Guest | None:
        """Its worker."""
        return self._process

    @property
    def is_ready(self) -> bool:
        """Whether its worker has answered hello."""
        return self._host_calls is not None

    async def outcome(self) -> Outcome:
        """Begin it, and wait for its end.

        Raises:
            Lost: nothing of the job is ours to write any more.
        """
        house = self._house
        self._process = Guest(house.config, house.ports, house.host.offer, house.next_number(), self)
        self._process.start(alone_for(self.job))
        try:
            outcome = await self._outcome
        finally:
            self._end()
        await self._hear_out()
        return outcome

    def cancel(self, why: Stop) -> bool:
        """Ask the worker to end; False where there is none that could.

        It may have something to stop elsewhere, such as a provider's job that would be paid for.
        """
        self._cancelled = why
        return self._process is not None and self._process.cancel(self._call_id)

    def stop(self, why: Stop) -> None:
        """End it now."""
        self._settle(why)
        if self._process is not None:
            self._process.kill()

    async def _hear_out(self) -> None:
        """Have what the worker has said before its end be in the store before that, too.

        An answer that was paid for would else be asked for again.
        """
        while self._answering:
            self._heard_out = self._tasks.promise()
            await self._heard_out

    def _end(self) -> None:
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

    def _settle(self, outcome: Outcome) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    async def _commit(self, step: Step) -> None:
        await self._keeper.commit(step)
        self._house.news.changed(self.job)

    # What its process says

    def ready(self, guest: Guest) -> None:
        """It has answered hello: it is given the job."""
        assert guest.worker is not None
        self._host_calls = HostCalls(guest.worker, self._house.host, self, self._house.ports.timers.time)
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
                failure = None if kind == REPLY else self._cancelled or decode_failure(payload)
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
