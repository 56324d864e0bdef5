"""The switchboard: every open call, and what each frame, death and moment does to it.

No I/O and no clock of its own: frames go to links that it is given, `clock` tells the
time, `wake_at` asks to be called again. Payloads pass through as bytes.

    Session ──admit──► waiting ──► Worker.calls ──outcome──► Session
                          ▲             │
                          └─ put back ──┴─ worker_lost
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    ITEM,
    NIL,
    REPLY,
    DSPexError,
    Envelope,
    Meta,
    Oversized,
    WireError,
    decode_envelope,
    encode,
    encode_failure,
    error,
)
from dspex_protocol.frame import HEADER_BYTES
from dspex_protocol.states import CALL as CALL_TABLE
from dspex_protocol.states import CallEvent, CallState, move

from . import callbacks, endings
from .admission import Admission
from .calls import AfterDeath, Call, Caller, after_death
from .config import Config
from .deadlines import DeadlineWheel
from .dispatch import least_loaded, retry_after_ms
from .lifecycle import WorkerEvent
from .programs import ProgramTable
from .stats import Counters, Throughput
from .waiting import WaitingCalls
from .worker import Worker

if TYPE_CHECKING:
    from .link import Link
    from .logs import Log

# A cancelled call is answered by then, whether its worker has stopped or not.
CANCEL_ANSWER_S: Final = 0.04
NO_LIMIT: Final = 1 << 30
# A worker may fill this much of an answer's envelope (ours fill about 200 bytes); the rest is
# for what the switchboard puts in.
MAX_WORKER_ENVELOPE_BYTES: Final = 2048
MAX_WORKER_META_ENTRIES: Final = 32


class CancelAnswer:
    """A cancelled call whose worker may yet say that it has stopped."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call


class StuckCheck:
    """A call that was given up; its worker must be rid of it by now."""

    __slots__ = ("worker", "worker_id")

    def __init__(self, worker: Worker, worker_id: int) -> None:
        self.worker = worker
        self.worker_id = worker_id


class Switchboard:
    """All calls of all clients.

    Attributes:
        programs: Stored programs.
        counters: What has happened so far.
    """

    def __init__(
        self,
        config: Config,
        clock: Callable[[], float],
        wake_at: Callable[[float], None],
        dirty: list[Link],
        log: Log,
    ) -> None:
        self._config = config
        self._clock = clock
        self._wake_at = wake_at
        self._dirty = dirty
        self._log = log
        self._workers: list[Worker] = []
        self._waiting = WaitingCalls()
        self._wheel: DeadlineWheel[Call | CancelAnswer | StuckCheck] = DeadlineWheel()
        self._open_bytes = 0
        self._broken: DSPexError | None = None
        self._throughput = Throughput()
        self.programs = ProgramTable()
        self._admission = Admission(self.programs, config.default_deadline_ms)
        self.counters = Counters()

    # From clients

    def admit(self, session: Caller, envelope: Envelope, payload: bytes) -> None:
        """Take a call that a worker is to run.

        Raises:
            DSPexError: when it cannot be taken; nothing has changed then.
        """
        call = self._admission.read(session, envelope, payload, self._clock())
        if not call.depth:
            self._check_room(payload)
        session.calls[call.id] = call
        self._open_bytes += len(payload)
        self._wheel.add(call, call.deadline_s)
        if call.depth:
            self._start_nested(call)
        elif session.is_clogged:
            self._waiting.hold(call)
        elif self._waiting.startable or not self._start(call):
            self._waiting.add(call)

    def _check_room(self, payload: bytes) -> None:
        if self._broken is not None and not self._workers:
            # Raised again and again, it would collect the stack of each time.
            raise self._broken.with_traceback(None)
        full = len(self._waiting) >= self._config.max_queue and not self._has_room()
        if full or self._open_bytes + len(payload) > self._config.max_open_bytes:
            self.counters.overloaded += 1
            after_ms = retry_after_ms(len(self._waiting), self._throughput.per_s(self._clock()))
            what = f"{len(self._waiting)} calls wait" if full else f"open calls hold {self._open_bytes} bytes"
            raise error("overloaded", f"the server is full: {what}", retry_after_ms=after_ms)

    def _has_room(self) -> bool:
        return least_loaded(self._workers, self._config.calls_per_worker) is not None

    def cancel(self, session: Caller, call_id: int) -> None:
        """The client gives a call up."""
        call = session.calls.get(call_id)
        if call is None or call.state is not CallState.OPEN:
            return
        call.state = move(CALL_TABLE, call.state, CallEvent.CANCEL)
        if self._waiting.remove(call):
            self._fail(call, endings.cancelled(call, "queued"))
            return
        assert call.worker is not None
        call.worker.link.send(encode(CANCEL, call.worker_id, None, {}, NIL))
        self._wheel.add(CancelAnswer(call), self._clock() + CANCEL_ANSWER_S)

    def add_credit(self, session: Caller, call_id: int, meta: Meta) -> None:
        """The client takes more items. A malformed credit is no credit."""
        call = session.calls.get(call_id)
        count = meta.get("n")
        if call is None or type(count) is not int or not 1 <= count <= 1_000_000:
            return
        call.credit += count
        if call.worker is not None:
            call.worker.link.send(encode(CREDIT, call.worker_id, None, {"n": count}, NIL))

    def client_gone(self, session: Caller) -> None:
        """Give up all that this client had asked for."""
        for call in list(session.calls.values()):
            self._abandon(call)
            self._close(call)

    # To workers

    def _start(self, call: Call, limit: int | None = None) -> bool:
        worker = least_loaded(self._workers, limit or self._config.calls_per_worker)
        if worker is None:
            return False
        self._send(call, worker)
        return True

    def _start_nested(self, call: Call) -> None:
        # Its parent occupies a place already: behind a limit or a queue it could wait for
        # itself. So it gets a place beyond the limit.
        if not self._start(call, NO_LIMIT):
            self._waiting.put_back(call)

    def _send(self, call: Call, worker: Worker) -> None:
        call.sent_s = self._clock()
        call.attempt += 1
        if call.record is not None:
            self._provide(worker, call.record)
        worker_id = worker.take(call)
        meta = call.meta
        if "deadline_ms" in meta:
            meta = meta | {"deadline_ms": max(1, int((call.deadline_s - call.sent_s) * 1000))}
        if call.credit and meta.get("credit") and meta["credit"] != call.credit:  # more came while it waited
            meta = meta | {"credit": call.credit}
        worker.link.send(encode(CALL, worker_id, call.worker_method, meta, call.payload))

    def _provide(self, worker: Worker, record: tuple[str, int, bytes]) -> None:
        """Send a stored program ahead of the first call that needs it."""
        program, version, content = record
        # By identity: an id that was deleted may come to mean another, from version 1 again.
        if worker.programs.get((program, version)) is not content:
            worker.programs[program, version] = content
            worker.last_id += 1
            meta: Meta = {"program": program, "version": version}
            worker.link.send(encode(CALL, worker.last_id, "program.load", meta, content))

    def forget_program(self, program: str) -> None:
        """A program was deleted: keep its records no longer."""
        for worker in self._workers:
            worker.programs = {
                known: record for known, record in worker.programs.items() if known[0] != program
            }

    def pump(self) -> None:
        """Start what waits, as far as there is room."""
        while (call := self._waiting.first()) is not None:
            session = call.session
            assert session is not None
            if session.is_clogged and not call.depth:
                self._waiting.remove(call)
                self._waiting.hold(call)
                continue
            worker = least_loaded(self._workers, NO_LIMIT if call.depth else self._config.calls_per_worker)
            if worker is None:
                break
            self._waiting.remove(call)
            self._send(call, worker)

    def client_reads_again(self, session: Caller) -> None:
        """A client that had not read has caught up."""
        self._waiting.resume(session)
        self.pump()
        self.flush()

    # From workers

    def worker_ready(self, worker: Worker) -> None:
        """A worker has answered hello."""
        self._broken = None
        self._admission.methods = worker.methods
        self._workers.append(worker)
        self.pump()
        self.flush()

    def no_workers(self, reason: DSPexError) -> None:
        """Workers do not start: tell all who wait."""
        self._broken = reason
        if not self._workers:
            for call in self._waiting.drain():
                self._fail(call, reason)
        self.flush()

    def take_from_worker(self, worker: Worker, bodies: list[bytes | Oversized]) -> None:
        """Handle the frames of one read."""
        for body in bodies:
            if isinstance(body, Oversized):
                self._oversized(worker, body)
                continue
            try:
                envelope = decode_envelope(body)
            except WireError as fault:
                self._distrust(worker, fault.message)
                break
            if (
                envelope.payload_at > MAX_WORKER_ENVELOPE_BYTES
                or len(envelope.meta) > MAX_WORKER_META_ENTRIES
            ):
                self._distrust(worker, "an envelope without room for the supervisor's entries")
                break
            kind = envelope.kind
            if kind in (REPLY, FAIL):
                self._ended(worker, envelope, body)
            elif kind == ITEM:
                self._item(worker, envelope, body)
            else:
                self._other(worker, envelope, body)
        self.pump()
        self.flush()

    def _other(self, worker: Worker, envelope: Envelope, body: bytes) -> None:
        if envelope.kind == CALL:
            callbacks.forward(worker, envelope, body[envelope.payload_at :], self._clock())
        elif envelope.kind == CANCEL:
            callbacks.cancel(worker, envelope.id)
        elif envelope.method == "call.started":
            up_to = envelope.meta.get("up_to")
            if isinstance(up_to, int):
                worker.started_up_to = max(worker.started_up_to, up_to)

    def _oversized(self, worker: Worker, frame: Oversized) -> None:
        """A frame that is longer than any client accepts ends what it is about."""
        try:
            envelope = decode_envelope(frame.head)
        except WireError as fault:
            self._distrust(worker, fault.message)
            return
        failure = endings.too_large(frame.length, self._config.max_frame_bytes)
        if envelope.kind == CALL:
            worker.link.send(encode(FAIL, envelope.id, None, {}, encode_failure(failure)))
            return
        call = worker.calls.get(envelope.id)
        if envelope.kind in (REPLY, FAIL):
            worker.release(envelope.id)
            if call is not None and call.session is not None:
                self._fail(call, failure)
        elif envelope.kind == ITEM and call is not None and call.session is not None:
            self._give_up(call, failure)

    def _distrust(self, worker: Worker, reason: str) -> None:
        self._log.error("worker_broke_protocol", worker=worker.number, reason=reason)
        worker.process.kill()

    def _ended(self, worker: Worker, envelope: Envelope, body: bytes) -> None:
        call = worker.release(envelope.id)
        if call is None or call.session is None:
            return  # the answer to a program.load, or to a call that was given up
        self._throughput.count += 1
        payload = body[envelope.payload_at :]
        if envelope.kind == FAIL:
            if call.state is CallState.CANCELLING:
                self._fail(call, endings.cancelled(call, "asked"), envelope.meta)
            else:
                self._answer(call, FAIL, envelope.meta, payload)
            return
        if call.conclude is not None:
            try:
                payload = call.conclude(envelope.meta, payload)
            except DSPexError as refusal:
                self._fail(call, refusal)
                return
        self._answer(call, REPLY, envelope.meta, payload)

    def _answer(self, call: Call, kind: int, meta: Meta, payload: bytes) -> None:
        """Send the one outcome of a call."""
        session = call.session
        assert session is not None
        if call.worker is not None:
            meta["worker"] = call.worker.number
            meta["queue_ms"] = round((call.sent_s - call.received_s) * 1000, 3)
        meta["attempt"] = max(1, call.attempt)
        if call.record is not None:
            meta["program"], meta["version"] = call.record[0], call.record[1]
        frame = encode(kind, call.id, None, meta, payload)
        if len(frame) - HEADER_BYTES > session.max_frame_bytes:
            kind = FAIL
            failure = endings.too_large(len(frame) - HEADER_BYTES, session.max_frame_bytes)
            frame = encode(FAIL, call.id, None, {}, encode_failure(failure))
        if kind == REPLY:
            self.counters.replied += 1
        else:
            self.counters.failed += 1
        session.link.send(frame)
        self._close(call)

    def _fail(self, call: Call, failure: DSPexError, meta: Meta | None = None) -> None:
        self._answer(call, FAIL, meta or {}, encode_failure(failure))

    def _close(self, call: Call) -> None:
        """Forget a call that has had its outcome. Its worker may still be at it."""
        session = call.session
        assert session is not None
        call.state = CallState.ENDED
        call.session = None
        del session.calls[call.id]
        self._open_bytes -= len(call.payload)
        self._wheel.remove(call)
        callbacks.end_with(call, session)
        session.call_ended()

    def _item(self, worker: Worker, envelope: Envelope, body: bytes) -> None:
        call = worker.calls.get(envelope.id)
        if call is None or call.session is None:
            return
        if envelope.meta.get("seq") != call.next_seq or call.credit <= 0:
            self._give_up(call, endings.out_of_turn(worker))
            return
        frame = encode(ITEM, call.id, None, envelope.meta, body[envelope.payload_at :])
        limit = call.session.max_frame_bytes
        if len(frame) - HEADER_BYTES > limit:
            self._give_up(call, endings.too_large(len(frame) - HEADER_BYTES, limit))
            return
        call.next_seq += 1
        call.credit -= 1
        call.committed = True
        call.session.link.send(frame)

    # Deaths

    def worker_lost(self, worker: Worker, reason: str) -> None:
        """A worker has died: each of its calls is sent again, repeated, or failed."""
        if worker in self._workers:
            self._workers.remove(worker)
        self.counters.worker_deaths += 1
        for worker_id, call in worker.calls.items():
            if call.worker is worker:
                self._bereave(call, worker_id, worker, reason)
        worker.calls.clear()
        self.pump()
        self.flush()

    def _bereave(self, call: Call, worker_id: int, worker: Worker, reason: str) -> None:
        started = worker_id <= worker.started_up_to
        fate = after_death(call, started=started, has_effects=call.worker_method in worker.effects)
        if fate is AfterDeath.DROP:
            return
        if call.state is CallState.CANCELLING:
            self._fail(call, endings.cancelled(call, "asked"))
            return
        call.deaths += started
        match fate:
            case AfterDeath.FAIL:
                self._fail(call, endings.died_under(call, worker.number, reason))
            case AfterDeath.POISONED:
                self._fail(call, endings.poisoned(call, reason))
            case _:
                self.counters.repeated += 1
                call.worker = None
                self._waiting.put_back(call)

    # Time

    def tick(self) -> None:
        """Do what is due."""
        now_s = self._clock()
        for thing in self._wheel.due(now_s):
            match thing:
                case Call() if thing.session is not None:  # else what was due with it ended it
                    self._deadline_passed(thing)
                case CancelAnswer(call=call) if call.state is CallState.CANCELLING:
                    self._give_up(call, endings.cancelled(call, "left"))
                case StuckCheck(worker=worker, worker_id=worker_id) if worker_id in worker.calls:
                    self.counters.stuck += 1
                    self._log.warning("worker_stuck", worker=worker.number, after_s=self._config.grace_s)
                    worker.move(WorkerEvent.DRAIN)  # it may take a moment to die
                    worker.process.kill()
                case _:
                    pass
        self.pump()
        self.flush()

    def _deadline_passed(self, call: Call) -> None:
        self.counters.deadlines += 1
        self._give_up(call, endings.late(call))

    def _give_up(self, call: Call, failure: DSPexError) -> None:
        """Answer now; whoever is at work on it is stopped."""
        self._abandon(call)
        self._fail(call, failure)

    def _abandon(self, call: Call) -> None:
        """Have its worker stop, or be stopped."""
        if self._waiting.remove(call) or call.worker is None:
            return
        call.worker.link.send(encode(CANCEL, call.worker_id, None, {}, NIL))
        check = StuckCheck(call.worker, call.worker_id)
        self._wheel.add(check, self._clock() + self._config.grace_s)

    def flush(self) -> None:
        """Write what all of this has sent, and see to the next wake-up."""
        dirty = self._dirty
        while dirty:
            dirty.pop().flush()
        next_s = self._wheel.next_s()
        if next_s is not None:
            self._wake_at(next_s)

    def snapshot(self) -> dict[str, object]:
        """Queue and counters, as plain values."""
        return {
            "waiting": len(self._waiting),
            "open_bytes": self._open_bytes,
            "ready_workers": len(self._workers),
            **self.counters.snapshot(),
        }
