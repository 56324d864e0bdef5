"""THE DESK: where the supervisor hands calls to the clerk, and gives it what it asks for.

The clerk is started by the first call, and ended when it has had none for a while. When it dies, the
calls that it had are asked of the next one, once each and one after another: so that which kills it is
alone with later calls, and none of those that stood beside it fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dspex_pool import endings
from dspex_pool.experiments.chronicle import Chronicle
from dspex_pool.guest import Guest
from dspex_pool.handling import Handling, Lines
from dspex_pool.library.failures import told
from dspex_pool.ports import Alone, Ports, Promise, Timer
from dspex_pool.program_methods import Encoded
from dspex_pool.reports.delivery import Deliveries
from dspex_pool.reports.operations import METHOD as REPORT
from dspex_protocol import (
    CALL,
    FAIL,
    NIL,
    REPLY,
    DSPexError,
    Envelope,
    Meta,
    decode_failure,
    decode_value,
    encode,
    encode_failure,
    error,
)

from . import questions

if TYPE_CHECKING:
    from dspex_pool.calls import Call
    from dspex_pool.config import Config

MODULE: Final = "dspex_pool.clerk"

NICENESS: Final = 5
"""Predictions come first, but somebody waits for it: a quarter of a processor that others want."""

IDLE_S: Final = 60.0
"""Without a call, after which it ends: it holds some tens of megabytes, and is there again in 0.3 s."""

ALONE: Final = "those that were in a clerk's death"


@dataclass(slots=True)
class _Asked:
    """A call that it has, or is to have.

    Attributes:
        call: It.
        answer: Gets the payload of its REPLY.
        number: The call's id there; 0 as long as it is not sent.
        leaving: Ends the clerk when a call that was given up does not end.
    """

    call: Call
    answer: Promise[bytes]
    number: int = 0
    leaving: Timer | None = None


class ClerkDied(Exception):
    """It ended with the call open.

    Attributes:
        number: Its own, among all workers.
        reason: How it ended.
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
        self.reason = reason


class Desk:
    """The clerk of one server.

    Args:
        config: How long a boot may take, and how much memory it may take.
        ports: The world.
        deliveries: Bring pieces of reports to clients.
        handling: What its calls run in.
        next_number: A number for a worker.
    """

    def __init__(
        self,
        config: Config,
        ports: Ports,
        deliveries: Deliveries,
        handling: Handling,
        *,
        next_number: Callable[[], int],
    ) -> None:
        self._config = config
        self._ports = ports
        self._log = ports.log
        self._deliveries = deliveries
        self._next_number = next_number
        self._store = ports.stored.store
        self._tasks = ports.stored.tasks
        self._chronicle = Chronicle(ports.stored)
        self._suspects = Lines(self._tasks, handling)
        self._guest: Guest | None = None
        self._number = 0
        self._is_ready = False
        self._asked: list[_Asked] = []
        self._idle: Timer | None = None
        self._is_closed = False
        self._answers: Mapping[str, Callable[[bytes], Awaitable[bytes]]] = {
            questions.GET: self._get,
            questions.SCAN: self._scan,
            questions.ENTRIES: self._entries,
            questions.RUNS: self._catch_up,
        }

    @property
    def pids(self) -> set[int]:
        """Its process, while there is one."""
        worker = None if self._guest is None else self._guest.worker
        return set() if worker is None else {worker.process.pid}

    def snapshot(self) -> dict[str, object] | None:
        """It, as plain values; None while there is none."""
        worker = None if self._guest is None else self._guest.worker
        if worker is None:
            return None
        return {"pid": worker.process.pid, "calls": len(self._asked), "memory_bytes": worker.memory_bytes}

    async def answer(self, call: Call) -> Encoded:
        """The result of a call.

        Raises:
            DSPexError: its FAIL; `worker_died` when the clerk died of it twice, or after a piece was sent;
                `overloaded`, `cancelled`.
        """
        if call.method != REPORT:
            return await self._answer(call)
        with self._deliveries.to(call):
            return await self._answer(call)

    async def _answer(self, call: Call) -> Encoded:
        try:
            return Encoded(await self._ask(call))
        except ClerkDied as death:
            if call.next_seq:
                raise endings.clerk_died(call, death.number, death.reason) from death
        async with self._suspects.turn(ALONE):
            try:
                return Encoded(await self._ask(call))
            except ClerkDied as death:
                raise endings.clerk_died(call, death.number, death.reason) from death

    async def _ask(self, call: Call) -> bytes:
        if call.caller is None or self._is_closed:
            raise error("cancelled", "the call has ended")
        asked = _Asked(call, self._tasks.promise())
        self._asked.append(asked)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._guest is None:
            self._start()
        elif self._is_ready:
            self._send(asked)
        return await asked.answer

    def leave(self, call: Call) -> None:
        """A call has ended: the clerk need not go on with it."""
        for asked in [asked for asked in self._asked if asked.call is call and asked.leaving is None]:
            if self._guest is not None and self._guest.cancel(asked.number):
                asked.leaving = self._ports.timers.call_later(self._config.grace_s, self._stuck)
            else:
                self._asked.remove(asked)
            _settle(asked, error("cancelled", "the call has ended"))

    def weigh(self, readings: dict[int, int]) -> None:
        """Take readings of memory, by workers' numbers."""
        if self._guest is not None and self._number in readings:
            self._guest.weigh(readings[self._number])

    def close(self) -> None:
        """End it; whoever waits for it waits no longer."""
        self._is_closed = True
        if self._guest is not None:
            self._guest.kill()
        self._gone("the server ends")

    # The process

    def _start(self) -> None:
        self._number = self._next_number()
        self._guest = Guest(self._config, self._ports, _nothing_to_offer, self._number, self)
        self._guest.start(Alone(environment={}, niceness=NICENESS, module=MODULE))

    def _send(self, asked: _Asked) -> None:
        guest, caller = self._guest, asked.call.caller
        assert guest is not None
        assert guest.worker is not None
        assert caller is not None
        limit = min(caller.max_frame_bytes, self._config.max_frame_bytes)
        meta: Meta = {"max_frame_bytes": limit, "credit": asked.call.meta.get("credit") or 0}
        asked.number = guest.call(asked.call.method, asked.call.payload, meta)
        guest.worker.link.flush()

    def _stuck(self) -> None:
        if self._guest is not None:
            self._guest.kill("a call that was given up did not end")

    def _look_idle(self) -> None:
        if not self._asked and self._guest is not None and self._idle is None:
            self._idle = self._ports.timers.call_later(IDLE_S, self._let_go)

    def _let_go(self) -> None:
        self._idle = None
        if self._guest is not None:
            self._guest.kill()
            self._guest = None
            self._is_ready = False

    def ready(self, guest: Guest) -> None:
        """It has answered hello."""
        self._is_ready = True
        for asked in self._asked:
            self._send(asked)
        self._look_idle()

    def ended(self, reason: str, *, by_itself: bool) -> None:
        """It has ended, or there will be none."""
        self._log.warning("clerk_died", worker=self._number, reason=reason, calls=len(self._asked))
        self._gone(reason)

    def _gone(self, reason: str) -> None:
        self._guest = None
        self._is_ready = False
        asked, self._asked = self._asked, []
        for one in asked:
            if one.leaving is not None:
                one.leaving.cancel()
            _settle(one, ClerkDied(self._number, reason))

    # What it says

    def heard(self, envelope: Envelope, body: bytes) -> None:
        """It answers a call, or asks for something."""
        payload = body[envelope.payload_at :]
        if envelope.kind == CALL:
            assert self._guest is not None
            self._tasks.start(self._give(self._guest, envelope, payload))
        elif envelope.kind in (REPLY, FAIL):
            for asked in [asked for asked in self._asked if asked.number == envelope.id]:
                self._asked.remove(asked)
                if asked.leaving is not None:
                    asked.leaving.cancel()
                _settle(asked, decode_failure(payload) if envelope.kind == FAIL else payload)
            self._look_idle()

    async def _give(self, guest: Guest, envelope: Envelope, payload: bytes) -> None:
        assert guest.worker is not None
        try:
            answer = await self._answer_of(envelope)(payload)
            frame = encode(REPLY, envelope.id, None, {}, answer)
        except DSPexError as failure:
            frame = encode(FAIL, envelope.id, None, {}, encode_failure(failure))
        except Exception as fault:
            # Here a task ends: without a word of it the clerk, and a client, would wait for ever.
            self._log.error("clerk_call_failed", method=str(envelope.method), reason=type(fault).__name__)
            unforeseen = error("internal", f"{envelope.method} failed: {type(fault).__name__}")
            frame = encode(FAIL, envelope.id, None, {}, encode_failure(unforeseen))
        guest.worker.link.send(frame)
        guest.worker.link.flush()

    def _answer_of(self, envelope: Envelope) -> Callable[[bytes], Awaitable[bytes]]:
        if envelope.method == questions.PIECE:
            return partial(self._piece, envelope.meta.get("call"))
        return self._answers[str(envelope.method)]

    async def _get(self, payload: bytes) -> bytes:
        with told:
            return questions.write_found(await self._store.get(questions.read_keys(payload)))

    async def _scan(self, payload: bytes) -> bytes:
        collection, *rest = questions.read_scan(payload)
        names: dict[str, Any] = dict(zip(questions.Scan._fields[1:], rest, strict=True))
        with told:
            return questions.write_scanned(await self._store.scan(collection, **names))

    async def _entries(self, payload: bytes) -> bytes:
        wish = questions.read_wanted_entries(payload)
        with told:
            entries = await self._store.entries(wish.journal, after=wish.after, limit=wish.limit)
        return questions.write_entries(entries)

    async def _catch_up(self, payload: bytes) -> bytes:
        """The one thing that is written for a report: what jobs and evaluations have come to meanwhile."""
        await self._chronicle.runs(str(decode_value(payload)))
        return NIL

    async def _piece(self, number: object, payload: bytes) -> bytes:
        call = next((asked.call for asked in self._asked if asked.number == number), None)
        if call is None:
            raise error("cancelled", "the call has ended")
        await self._deliveries.send(call, payload)
        return NIL


def _nothing_to_offer() -> dict[str, object]:
    return {}


def _settle(asked: _Asked, outcome: bytes | Exception) -> None:
    if asked.answer.done():
        return
    if isinstance(outcome, bytes):
        asked.answer.set_result(outcome)
    else:
        asked.answer.set_exception(outcome)
