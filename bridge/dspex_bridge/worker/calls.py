"""The calls that run in this worker: their tasks, credit, cancelling, and calls back to the host."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from time import monotonic
from typing import Protocol

from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    ITEM,
    NIL,
    NOTE,
    REPLY,
    DSPexError,
    Meta,
    decode_failure,
    decode_value,
    encode,
    encode_failure,
    encode_value,
    error,
)
from dspex_protocol.frame import HEADER_BYTES
from dspex_protocol.limits import MAX_FRAME_BYTES

from ..failures import redact_failure, to_failure
from ..host_functions import Returned
from ..lms.usage import Usage
from ..programs.programs import StoredProgram
from ..programs.sessions import Session
from . import failpoints
from .host_calls import WINDOW, HostCall

current_call: ContextVar[RunningCall]


class Ending(Protocol):
    """What else there is to an answer: a turn of a session."""

    def note(self) -> bytes:
        """A frame that goes before the REPLY."""
        ...

    def commit(self) -> None:
        """The REPLY goes now. What this raises goes in its place, and the note does not."""
        ...


class Kept(Protocol):
    """What is kept of a call for those who look at it later."""

    def note(self, call_id: int, outcome: str) -> bytes | None:
        """A frame that goes before the outcome, `ok` or the code of an error."""
        ...


class RunningCall:
    """One call from the supervisor while its task runs.

    Attributes:
        id: Its id on this hop.
        meta: As it came.
        usage: What its language models cost so far.
        committed: It has had effects outside: an item was sent, the host was called.
        program: The stored program that its meta named when it came.
        session: The session that its meta named, as it was then.
        ending: What goes with its REPLY, and not with a FAIL.
        kept: What goes with either.
    """

    __slots__ = (
        "_credit",
        "_credit_came",
        "_max_frame_bytes",
        "_send",
        "_seq",
        "committed",
        "ending",
        "id",
        "kept",
        "meta",
        "program",
        "session",
        "started_at",
        "task",
        "usage",
    )

    def __init__(
        self,
        call_id: int,
        meta: Meta,
        send: Callable[[bytes], None],
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self.id = call_id
        self.meta = meta
        self.usage = Usage()
        self.started_at = monotonic()
        self.task: asyncio.Task[object] | None = None
        credit = meta.get("credit", 0)
        self._credit = credit if isinstance(credit, int) else 0
        self._credit_came: asyncio.Event | None = None
        self.committed = False
        self.program: StoredProgram | None = None
        self.session: Session | None = None
        self.ending: Ending | None = None
        self.kept: Kept | None = None
        self._send = send
        self._max_frame_bytes = max_frame_bytes
        self._seq = 0

    @property
    def wants_items(self) -> bool:
        """Whether the caller asked for a stream."""
        return bool(self.meta.get("credit"))

    async def emit(self, item: Mapping[str, object]) -> None:
        """Send one stream element; waits until there is credit for it.

        Raises:
            DSPexError: `result_too_large`, and nothing was sent.
        """
        while self._credit <= 0:
            # One event for all who wait: each of its own, and only the last would be woken.
            if self._credit_came is None or self._credit_came.is_set():
                self._credit_came = asyncio.Event()
            await self._credit_came.wait()
        frame = encode(ITEM, self.id, None, {"seq": self._seq}, encode_value(dict(item)))
        check_size(frame, self._max_frame_bytes)
        self._credit -= 1
        self.committed = True
        self._send(frame)
        self._seq += 1
        failpoints.passed("item.sent")

    def add_credit(self, count: int) -> None:
        """The caller takes that many more items."""
        self._credit += count
        if self._credit_came is not None and self._credit > 0:
            self._credit_came.set()


current_call = ContextVar("current_call")


class CallTable:
    """All open calls of both directions on one wire.

    Attributes:
        max_frame_bytes: What the supervisor takes in one frame, as its hello says.
        sole: The call that all happens in where nothing says in which: a job, in a worker of its own.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self.max_frame_bytes = MAX_FRAME_BYTES
        self.sole: RunningCall | None = None
        self._running: dict[int, RunningCall] = {}
        self._callbacks: dict[int, HostCall] = {}
        self._ids = itertools.count(1)

    def __len__(self) -> int:
        return len(self._running)

    def start(self, call: RunningCall, work: Awaitable[object]) -> None:
        """Run a call's work as a task; its outcome becomes the REPLY or FAIL."""
        self._running[call.id] = call
        call.task = asyncio.ensure_future(work)
        # Not a try around the work: a task that is cancelled before its first step never
        # enters its own code.
        call.task.add_done_callback(lambda task: self._finish(call, task))

    def cancel(self, call_id: int) -> None:
        """Ask a call's task to stop. Unknown ids have ended already."""
        call = self._running.get(call_id)
        if call is not None and call.task is not None:
            call.task.cancel()

    def credit(self, call_id: int, count: int) -> None:
        """Let a stream go on."""
        call = self._running.get(call_id)
        if call is not None:
            call.add_credit(count)

    async def call_host(self, function: str, args: Mapping[str, object]) -> object:
        """Call a function of the host from within a call.

        Raises:
            DSPexError: what the host's FAIL said; `result_too_large` for too large arguments.
            asyncio.CancelledError: when this call is cancelled; the host is told.
        """
        host_call = self._open(function, args)
        try:
            return await host_call.answer
        finally:
            self._close(host_call)

    async def stream_host(self, function: str, args: Mapping[str, object]) -> AsyncGenerator[object]:
        """Call a function of the host that may answer in pieces: those, and then what it returned.

        Closing this tells the host, which then stops.

        Raises:
            DSPexError: as `call_host`, and what is wrong with a piece.
        """
        host_call = self._open(function, args, WINDOW)
        try:
            async with aclosing(host_call.items()) as items:
                async for item in items:
                    yield item
            yield Returned(host_call.answer.result())
        finally:
            self._close(host_call)

    async def ask(self, call: RunningCall, method: str, what: Mapping[str, object]) -> object:
        """Call a method of the supervisor itself from within a call, which is a job.

        Raises:
            DSPexError: what its FAIL said; `result_too_large`; `cancelled` when the call has ended.
        """
        asked = self._open_in(call, method, encode_value(dict(what)))
        try:
            return await asked.answer
        finally:
            self._close(asked)

    def tell(self, call: RunningCall, method: str, what: Mapping[str, object]) -> None:
        """Say something about a call that is open; nobody answers."""
        if call.id in self._running:
            self._send(encode(NOTE, 0, method, {"call": call.id}, encode_value(dict(what))))

    def _open(self, function: str, args: Mapping[str, object], credit: int = 0) -> HostCall:
        payload = encode_value({"function": function, "args": dict(args)})
        parent = current_call.get(self.sole)
        assert parent is not None
        return self._open_in(parent, "function.call", payload, credit)

    def _open_in(self, parent: RunningCall, method: str, payload: bytes, credit: int = 0) -> HostCall:
        if parent.id not in self._running:
            raise _over()
        call_id = next(self._ids)
        meta: Meta = {"parent": parent.id, "credit": credit} if credit else {"parent": parent.id}
        frame = encode(CALL, call_id, method, meta, payload)
        check_size(frame, self.max_frame_bytes)
        parent.committed = True
        host_call = HostCall(call_id, parent.id, lambda count: self._allow(call_id, count))
        self._callbacks[call_id] = host_call
        self._send(frame)
        failpoints.passed("callback.sent")
        return host_call

    def _close(self, host_call: HostCall) -> None:
        if host_call.is_wanted:
            self._send(encode(CANCEL, host_call.id, None, {}, NIL))
        self._callbacks.pop(host_call.id, None)
        host_call.end()

    def _allow(self, call_id: int, count: int) -> None:
        if call_id in self._callbacks:
            self._send(encode(CREDIT, call_id, None, {"n": count}, NIL))

    def host_call(self, call_id: object) -> HostCall:
        """One that is open.

        Raises:
            DSPexError: `cancelled` when it has ended.
        """
        found = self._callbacks.get(call_id) if isinstance(call_id, int) else None
        if found is None:
            raise _over()
        return found

    def host_sent(self, call_id: int, payload: bytes) -> None:
        """A piece of what the host's function answers."""
        host_call = self._callbacks.get(call_id)
        if host_call is not None:
            host_call.give(payload)
            failpoints.passed("callback.item")

    def host_replied(self, call_id: int, payload: bytes) -> None:
        """The host's function returned."""
        self._settle(call_id, payload, decode_value)

    def host_failed(self, call_id: int, payload: bytes) -> None:
        """The host's function raised, was missing, or its call was given up."""

        def fail(data: bytes) -> object:
            raise decode_failure(data)

        self._settle(call_id, payload, fail)

    def _settle(self, call_id: int, payload: bytes, read: Callable[[bytes], object]) -> None:
        host_call = self._callbacks.get(call_id)
        if host_call is None or host_call.answer.done():
            return
        try:
            host_call.answer.set_result(read(payload))
        except DSPexError as failure:
            host_call.answer.set_exception(failure)

    def _finish(self, call: RunningCall, task: asyncio.Task[object]) -> None:
        del self._running[call.id]
        if self._callbacks:
            self._end_callbacks(call.id)
        if task.cancelled():
            self.fail(call, error("cancelled", "the call was cancelled"))
            return
        try:
            reason = task.exception()
            if reason is None:
                self.reply(call, task.result())
            else:
                self.fail(call, to_failure(reason))
        except Exception as fault:  # a fault of ours must not leave the call without an outcome
            self.fail(call, error("internal", f"the outcome could not be told ({type(fault).__name__})"))

    def _end_callbacks(self, parent_id: int) -> None:
        """Wake what still waits for the host in a call that has ended: a thread that went on."""
        for host_call in list(self._callbacks.values()):
            if host_call.parent_id == parent_id and not host_call.answer.done():
                host_call.answer.set_exception(_over())

    def reply(self, call: RunningCall, result: object) -> None:
        """End a call with a result."""
        try:
            frame = encode(REPLY, call.id, None, _outcome_meta(call), encode_value(result))
            check_size(frame, self.max_frame_bytes)
            note = self._end(call)
        except DSPexError as refusal:
            self.fail(call, refusal)
            return
        self._tell_shares(call)
        if note is not None:
            self._send(note)
            failpoints.passed("checkpoint.sent")
        self._tell(call, "ok")
        self._send(frame)
        failpoints.passed("reply.written")

    def _tell(self, call: RunningCall, outcome: str) -> None:
        """Say what is kept of a call, where it was wanted."""
        note = None if call.kept is None else call.kept.note(call.id, outcome)
        if note is not None:
            self._send(note)

    def _end(self, call: RunningCall) -> bytes | None:
        """What goes before the REPLY, once nothing can come between."""
        if call.ending is None:
            return None
        note = call.ending.note()
        check_size(note, self.max_frame_bytes)
        call.ending.commit()
        return note

    def fail(self, call: RunningCall, failure: DSPexError) -> None:
        """End a call with an error."""
        failure.maybe_executed = failure.maybe_executed or call.committed
        redact_failure(failure)
        self._tell_shares(call)
        self._tell(call, failure.code)
        self._send(encode(FAIL, call.id, None, _outcome_meta(call), encode_failure(failure)))

    def _tell_shares(self, call: RunningCall) -> None:
        """How much of what the call spent was which language model's, where the answer cannot say it."""
        shares = call.usage.split()
        if shares is not None:
            frame = encode(NOTE, 0, "lm.spent", {"call": call.id}, encode_value(shares))
            if len(frame) - HEADER_BYTES <= self.max_frame_bytes:
                self._send(frame)


def _over() -> DSPexError:
    return error("cancelled", "the call in which this happens has ended")


def check_size(frame: bytes, limit: int) -> None:
    """Refuse a frame that the supervisor would throw away.

    Raises:
        DSPexError: `result_too_large`.
    """
    size = len(frame) - HEADER_BYTES
    if size > limit:
        raise error(
            "result_too_large",
            f"the result takes {size} bytes; the supervisor accepts {limit}",
            details={"length": size, "limit": limit},
        )


def _outcome_meta(call: RunningCall) -> Meta:
    meta: Meta = {"worker_ms": round((monotonic() - call.started_at) * 1000, 3)}
    meta.update(call.usage.meta())
    return meta
