"""What a job asks of the host: any client may answer that offers the function. Where none does, it waits.

A client's own call has the client that made it; a job has none, and outlives those that submitted it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from dspex_pool import callbacks, endings
from dspex_pool.calls import Call, Caller
from dspex_pool.worker import Callback, Worker
from dspex_protocol import (
    CALL,
    CANCEL,
    FAIL,
    NIL,
    DSPexError,
    Envelope,
    Meta,
    decode_value,
    encode,
    encode_failure,
    error,
)
from dspex_protocol.frame import HEADER_BYTES
from dspex_protocol.limits import MAX_CREDIT, MAX_DEADLINE_MS
from dspex_protocol.slices import cut_map, is_map

if TYPE_CHECKING:
    from dspex_pool.host import Host

METHOD: Final = "function.call"


class Watcher(Protocol):
    """Who is told when a job waits for the host."""

    def waits_for_host(self, function: str) -> None:
        """No client offers that function."""
        ...

    def host_is_back(self, function: str) -> None:
        """One does again."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call of a job's worker, kept until it is answered: another client may have to."""

    id: int
    function: str
    meta: Meta
    payload: bytes


class HostCalls:
    """Those of one attempt of a job.

    Args:
        worker: Who makes them.
        host: Knows who offers what.
        watcher: Is told when one waits.
        now_s: The time.
    """

    def __init__(self, worker: Worker, host: Host, watcher: Watcher, now_s: Callable[[], float]) -> None:
        self._worker = worker
        self._host = host
        self._watcher = watcher
        self._now_s = now_s
        self._waiting: dict[int, _Asked] = {}
        self._sent: dict[int, _Asked] = {}

    def take(self, envelope: Envelope, payload: bytes) -> None:
        """The worker calls a function of the host."""
        try:
            asked = _Asked(envelope.id, _function_in(payload), envelope.meta, payload)
        except DSPexError as refusal:
            self._refuse(envelope.id, refusal)
            return
        if envelope.id not in self._worker.callbacks and envelope.id not in self._waiting:
            self._send(asked)

    def _send(self, asked: _Asked) -> None:
        caller = self._host.one_with(asked.function)
        if caller is None:
            is_first = all(other.function != asked.function for other in self._waiting.values())
            self._waiting[asked.id] = asked
            if is_first:
                self._watcher.waits_for_host(asked.function)
            return
        host_id = caller.next_callback_id()
        credit = _count(asked.meta.get("credit"))
        meta: Meta = {"deadline_ms": MAX_DEADLINE_MS}
        if credit:
            meta["credit"] = credit
        frame = encode(CALL, host_id, METHOD, meta, asked.payload)
        size = len(frame) - HEADER_BYTES
        if size > caller.max_frame_bytes:
            self._refuse(asked.id, endings.too_large(size, caller.max_frame_bytes))
            return
        # What the client calls in turn is inside of this one, as if the job were a call of its own.
        outer = Call(caller, 0, "job.run", {}, b"", self._now_s())
        outer.deadline_s = inf
        callback = Callback(self._worker, asked.id, outer, host_id, credit)
        caller.callbacks[host_id] = self._worker.callbacks[asked.id] = callback
        self._sent = {key: one for key, one in self._sent.items() if key in self._worker.callbacks}
        self._sent[asked.id] = asked
        caller.link.send(frame)

    def cancel(self, worker_id: int) -> None:
        """The worker no longer wants the answer."""
        if self._waiting.pop(worker_id, None) is None:
            callbacks.cancel(self._worker, worker_id)

    def offers_changed(self) -> None:
        """A client came or went: what waits may be answered now."""
        back = {
            one.function for one in self._waiting.values() if self._host.one_with(one.function) is not None
        }
        for function in sorted(back):
            self._watcher.host_is_back(function)
        for asked in [one for one in self._waiting.values() if one.function in back]:
            del self._waiting[asked.id]
            self._send(asked)

    def client_gone(self, caller: Caller) -> None:
        """What it was asked is asked again of another one, unless it has answered a part of it."""
        for worker_id, callback in list(self._worker.callbacks.items()):
            if callback.call.caller is not caller or worker_id not in self._sent:
                continue
            del self._worker.callbacks[worker_id]
            caller.callbacks.pop(callback.host_id, None)
            if callback.next_seq:
                self._refuse(worker_id, error("connection_lost", "the client that answered has gone"))
            else:
                self._send(self._sent[worker_id])

    def end(self) -> None:
        """The attempt is over: nobody wants answers any more."""
        self._waiting.clear()
        for worker_id, callback in list(self._worker.callbacks.items()):
            caller = callback.call.caller
            if worker_id in self._sent and caller is not None:
                del self._worker.callbacks[worker_id]
                caller.callbacks.pop(callback.host_id, None)
                caller.link.send(encode(CANCEL, callback.host_id, None, {}, NIL))

    def _refuse(self, worker_id: int, failure: DSPexError) -> None:
        self._worker.link.send(encode(FAIL, worker_id, None, {}, encode_failure(failure)))


def _function_in(payload: bytes) -> str:
    name = decode_value(cut_map(payload)["function"]) if is_map(payload) else None
    if not isinstance(name, str):
        raise error("unknown_function", "a call of a function without its name")
    return name


def _count(value: object) -> int:
    return value if type(value) is int and 1 <= value <= MAX_CREDIT else 0
