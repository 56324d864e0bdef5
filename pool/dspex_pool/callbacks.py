"""Calls from a worker to its host, on their way there and back.

A callback lives inside a client's call and ends with it at the latest: the worker's id, the
client's id and the call each find it, and whoever ends it first takes it out of all three.
"""

from __future__ import annotations

from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    ITEM,
    NIL,
    NOTE,
    DSPexError,
    Envelope,
    Meta,
    encode,
    encode_failure,
    encode_value,
    error,
)
from dspex_protocol.frame import HEADER_BYTES
from dspex_protocol.limits import MAX_CALLBACK_ITEM_BYTES, MAX_CREDIT

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
    credit = _count(envelope.meta.get("credit"))
    meta: Meta = {"parent": call.id, "deadline_ms": max(1, int((call.deadline_s - now_s) * 1000))}
    if credit:
        meta["credit"] = credit
    frame = encode(CALL, host_id, "function.call", meta, payload)
    size = len(frame) - HEADER_BYTES
    if size > caller.max_frame_bytes:
        _refuse(worker, envelope.id, endings.too_large(size, caller.max_frame_bytes))
        return
    callback = Callback(worker, envelope.id, call, host_id, credit)
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


def item(caller: Caller, envelope: Envelope, payload: bytes) -> None:
    """Pass a piece of the client's answer on. Unknown ids lost a race."""
    callback = caller.callbacks.get(envelope.id)
    if callback is None:
        return
    refusal = _refusal(callback, envelope, payload)
    if refusal is not None:
        break_off(caller, envelope.id, refusal)
        return
    frame = encode(ITEM, callback.worker_id, None, {"seq": callback.next_seq}, payload)
    callback.next_seq += 1
    callback.credit -= 1
    callback.worker.link.send(frame)


def _refusal(callback: Callback, envelope: Envelope, payload: bytes) -> DSPexError | None:
    """Why an item cannot be passed on."""
    seq = envelope.meta.get("seq")
    if callback.credit <= 0 or seq != callback.next_seq:
        return endings.function_out_of_turn(seq, callback)
    if len(payload) > MAX_CALLBACK_ITEM_BYTES:
        return too_large_item(len(payload))
    return None


def too_large_item(size: int) -> DSPexError:
    """An item of a host function is longer than one may be."""
    limit = MAX_CALLBACK_ITEM_BYTES
    return error(
        "function_failed",
        f"the host function sent an item of {size} bytes, and {limit} are accepted",
        details={"bytes": size, "limit": limit},
    )


def break_off(caller: Caller, host_id: int, failure: DSPexError) -> None:
    """End a callback whose client has broken a rule: the worker, and the client, are told."""
    callback = caller.callbacks.pop(host_id, None)
    if callback is None:
        return
    callback.call.callbacks.discard(host_id)
    callback.worker.callbacks.pop(callback.worker_id, None)
    _refuse(callback.worker, callback.worker_id, failure)
    caller.link.send(encode(CANCEL, host_id, None, {}, NIL))
    fault = {"code": failure.code, "message": failure.message, "details": {"id": host_id}}
    caller.link.send(encode(NOTE, 0, "system.fault", {}, encode_value(fault)))


def add_credit(worker: Worker, envelope: Envelope) -> None:
    """The worker takes more items: the client is told."""
    callback = worker.callbacks.get(envelope.id)
    count = _count(envelope.meta.get("n"))
    if callback is None or callback.call.caller is None or not count:
        return
    callback.credit += count
    callback.call.caller.link.send(encode(CREDIT, callback.host_id, None, {"n": count}, NIL))


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


def _count(value: object) -> int:
    """So many items; a malformed credit is no credit."""
    return value if type(value) is int and 1 <= value <= MAX_CREDIT else 0


def _refuse(worker: Worker, worker_id: int, failure: DSPexError) -> None:
    worker.link.send(encode(FAIL, worker_id, None, {}, encode_failure(failure)))
