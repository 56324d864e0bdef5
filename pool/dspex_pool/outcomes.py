"""Outcomes: the one answer that each call has, and what is counted of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dspex_protocol import (
    FAIL,
    REPLY,
    DSPexError,
    Envelope,
    Meta,
    decode_failure,
    encode,
    encode_failure,
    encode_value,
)
from dspex_protocol.frame import HEADER_BYTES
from dspex_protocol.states import CallState

from . import callbacks, endings
from .calls import Call
from .latencies import Latencies
from .stats import Counters, Throughput

if TYPE_CHECKING:
    from .deadlines import DeadlineWheel

MAX_READ_FAILURE_BYTES: Final = 65_536
"""A worker's FAIL is read for its code, but not at any price."""


class Outcomes:
    """Ends calls.

    Args:
        clock: The time, in seconds.
        wheel: Where calls wait for their deadline.

    Attributes:
        counters: What has happened so far.
        codes: Errors so far, by code.
        open_bytes: Payloads of all open calls.
        throughput: Calls that end per second.
        latencies: How long calls took, by `all` and by `queue`.
        on_closed: Is told of each call that needs no outcome any more.
    """

    def __init__(self, clock: Callable[[], float], wheel: DeadlineWheel[object]) -> None:
        self._clock = clock
        self._wheel = wheel
        self.counters = Counters()
        self.codes: Counter[str] = Counter()
        self.open_bytes = 0
        self.throughput = Throughput()
        self.latencies = {"all": Latencies(), "queue": Latencies()}
        self.on_closed: Callable[[Call], None] = lambda call: None

    def open(self, call: Call) -> None:
        """A call has been admitted."""
        assert call.caller is not None
        call.caller.calls[call.id] = call
        self.open_bytes += len(call.payload)
        call.tenant.open_bytes += len(call.payload)
        self._wheel.add(call, call.deadline_s)

    def relay(self, call: Call, envelope: Envelope, payload: bytes) -> None:
        """A worker's REPLY or FAIL is the outcome."""
        self.throughput.count += 1
        if envelope.kind == FAIL:
            if call.state is CallState.CANCELLING:
                self.fail(call, endings.cancelled(call, "asked"), envelope.meta)
                return
            self._count_code(_code_of(payload))
            self._answer(call, FAIL, envelope.meta, payload)
            return
        if call.conclude is not None:
            try:
                payload = call.conclude(envelope.meta, payload)
            except DSPexError as refusal:
                self.fail(call, refusal)
                return
        self._answer(call, REPLY, envelope.meta, payload)

    def reply(self, call: Call, value: object) -> None:
        """A result of ours is the outcome."""
        self.reply_encoded(call, encode_value(value))

    def reply_encoded(self, call: Call, payload: bytes, meta: Meta | None = None) -> None:
        """The same, of a result that is encoded already."""
        self._answer(call, REPLY, meta or {}, payload)

    def fail(self, call: Call, failure: DSPexError, meta: Meta | None = None) -> None:
        """An error of ours is the outcome."""
        self._count_code(failure.code)
        self._answer(call, FAIL, meta or {}, encode_failure(failure))

    def refuse(self, failure: DSPexError) -> None:
        """A call was never admitted: count why."""
        self.counters.failed += 1
        self._count_code(failure.code)

    def _count_code(self, code: str) -> None:
        self.codes[code] += 1

    def _answer(self, call: Call, kind: int, meta: Meta, payload: bytes) -> None:
        caller = call.caller
        assert caller is not None
        self._complete(call, meta)
        frame = encode(kind, call.id, None, meta, payload)
        if len(frame) - HEADER_BYTES > caller.max_frame_bytes:
            kind = FAIL
            failure = endings.too_large(
                len(frame) - HEADER_BYTES, caller.max_frame_bytes, maybe_executed=call.committed
            )
            self._count_code(failure.code)
            frame = encode(FAIL, call.id, None, {}, encode_failure(failure))
        if not call.is_errand:
            self._count(call, kind)
        caller.link.send(frame)
        self.close(call)

    def _complete(self, call: Call, meta: Meta) -> None:
        """Put in what only the supervisor knows of a call's way."""
        if call.worker is not None:
            meta["worker"] = call.worker.number
            meta["queue_ms"] = round((call.sent_s - call.received_s) * 1000, 3)
        meta["attempt"] = max(1, call.attempt)
        if call.record is not None:
            meta["program"], meta["version"] = call.record[0], call.record[1]
        if call.turn is not None:
            meta["session"] = call.turn.session.id
            if call.turn.is_stored:
                meta["turn"] = call.turn.number

    def _count(self, call: Call, kind: int) -> None:
        now_s = self._clock()
        self.latencies["all"].add(now_s, (now_s - call.received_s) * 1000)
        if call.worker is not None:
            self.latencies["queue"].add(now_s, (call.sent_s - call.received_s) * 1000)
        if kind == REPLY:
            self.counters.replied += 1
        else:
            self.counters.failed += 1

    def close(self, call: Call) -> None:
        """Forget a call that has had its outcome, or needs none. Its worker may still be at it."""
        caller = call.caller
        assert caller is not None
        call.state = CallState.ENDED
        call.caller = None
        del caller.calls[call.id]
        self.open_bytes -= len(call.payload)
        call.tenant.open_bytes -= len(call.payload)
        self._wheel.remove(call)
        callbacks.end_with(call, caller)
        self.on_closed(call)
        caller.call_ended()


def _code_of(payload: bytes) -> str:
    if len(payload) > MAX_READ_FAILURE_BYTES:
        return "internal"
    try:
        return decode_failure(payload).code
    except DSPexError:
        return "internal"  # as the client will take it
