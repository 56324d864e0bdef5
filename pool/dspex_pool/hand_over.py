"""Handing over: a successor gets ready for what its predecessor does before it gets its first call.

The first program that a new worker builds takes it 6 ms, each other less than 2, and its first
prediction 4 ms, later ones 0.6: the rest is pages that it shares with the zygote and now
copies. Calls that came meanwhile would wait behind it; so it builds the programs in use and
makes a few predictions for nobody, and whoever has the slot serves on in that time.
"""

from __future__ import annotations

from typing import Final

from dspex_protocol import CALL, FAIL, NIL, REPLY, Meta, Oversized, WireError, decode_envelope, encode

from .holdings import Holdings
from .worker import Worker

MAX_PROGRAMS: Final = 16
"""Those used last: some 30 ms for the successor. What is used more rarely can wait for its call."""


def prepare(worker: Worker, predecessor: Holdings) -> set[int]:
    """Send a new worker the programs that its predecessor used last, to be built, and warm it up.

    Args:
        worker: It has been given nothing yet; its holdings know them from now on.
        predecessor: What the worker that serves holds.

    Returns:
        Ids of what it will answer when it has done all that.
    """
    awaited = {_tell(worker, "worker.warm_up", {}, NIL)}
    for (program, version), record in predecessor.newest(MAX_PROGRAMS):
        provision = worker.holdings.take((program, version), record, ())
        for old_program, old_version in provision.forget:
            _tell(worker, "program.forget", {"program": old_program, "version": old_version}, NIL)
        meta: Meta = {"program": program, "version": version, "build": True}
        awaited.add(_tell(worker, "program.load", meta, record))
    return awaited


def _tell(worker: Worker, method: str, meta: Meta, payload: bytes) -> int:
    worker.last_id += 1
    worker.link.send(encode(CALL, worker.last_id, method, meta, payload))
    return worker.last_id


def answered(body: bytes | Oversized) -> int | None:
    """The id that a frame answers, if it answers one.

    A FAIL is an answer too: the call that needs a program which cannot be built will be told.

    Raises:
        WireError: when it is no frame that a worker without calls may send.
    """
    if isinstance(body, Oversized):
        raise WireError("handshake_failed", "a frame that is too large, from a worker that has no calls")
    envelope = decode_envelope(body)
    return envelope.id if envelope.kind in (REPLY, FAIL) else None
