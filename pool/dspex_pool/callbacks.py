"""Calls from a worker to its host, on their way there and back.

A callback lives inside a client's call and ends with it at the latest: the worker's id, the
client's id and the call each find it, and whoever ends it first takes it out of all three.
"""

from __future__ import annotations

from dspex_protocol import CALL, CANCEL, FAIL, NIL, DSPexError, Envelope, Meta, encode, encode_failure, error
from dspex_protocol.frame import HEADER_BYTES

from . import endings
from .calls import Call, Caller
from .worker import Callback, Worker


def forward(worker: Worker, envelope: Envelope, payload: bytes, now_s: float) -> None:
    """Pass a worker's CALL on to the client in whose call it happens."""
    parent = envelope.meta.get("parent")
    call = worker.calls.get(parent) if isinstance(parent, int) else None
    if call is None or call.caller is None or envelope.method != "function.call":
        _refuse(worker, envelope.id, error("cancelled", "the call in which this happens has ended"))
        return
    if envelope.id in worker.callbacks:
        return  # it is open: the second is dropped
    caller = call.caller
    host_id = caller.next_callback_id()
    meta: Meta = {"parent": call.id, "deadline_ms": max(1, int((call.deadline_s - now_s) * 1000))}
    frame = encode(CALL, host_id, "function.call", meta, payload)
    size = len(frame) - HEADER_BYTES
    if size > caller.max_frame_bytes:
        _refuse(worker, envelope.id, endings.too_large(size, caller.max_frame_bytes))
        return
    callback = Callback(worker, envelope.id, call, host_id)
    caller.callbacks[host_id] = worker.callbacks[envelope.id] = callback
    call.callbacks.add(host_id)
    call.committed = True
    caller.link.send(frame)


def answer(caller: Caller, envelope: Envelope, payload: bytes) -> None:
    """Pass the client's REPLY or FAIL back to the worker. Unknown ids lost a race."""
    callback = caller.callbacks.pop(envelope.id, None)
    if callback is None:
        return
    callback.call.callbacks.discard(envelope.id)
    callback.worker.callbacks.pop(callback.worker_id, None)
    callback.worker.link.send(encode(envelope.kind, callback.worker_id, None, {}, payload))


def cancel(worker: Worker, worker_id: int) -> None:
    """The worker no longer wants the answer: the client is told."""
    callback = worker.callbacks.pop(worker_id, None)
    if callback is None or callback.call.caller is None:
        return
    caller = callback.call.caller
    callback.call.callbacks.discard(callback.host_id)
    caller.callbacks.pop(callback.host_id, None)
    caller.link.send(encode(CANCEL, callback.host_id, None, {}, NIL))


def end_with(call: Call, caller: Caller) -> None:
    """A call has ended: so have the callbacks in it."""
    for host_id in call.callbacks:
        callback = caller.callbacks.pop(host_id)
        callback.worker.callbacks.pop(callback.worker_id, None)
        caller.link.send(encode(CANCEL, host_id, None, {}, NIL))
    call.callbacks.clear()


def _refuse(worker: Worker, worker_id: int, failure: DSPexError) -> None:
    worker.link.send(encode(FAIL, worker_id, None, {}, encode_failure(failure)))
