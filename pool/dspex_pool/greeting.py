"""The first words between supervisor and worker: `system.hello` there, a welcome back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from dspex_protocol import (
    CALL,
    FAIL,
    REPLY,
    Oversized,
    decode_envelope,
    decode_failure,
    decode_value,
    encode,
    encode_value,
    error,
)
from dspex_protocol.limits import PROTOCOL, VERSION
from dspex_protocol.records import read

HELLO_ID: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerWelcome:
    """A worker's answer to hello; docs/protocol.md section 9.

    Attributes:
        methods: What it can do.
        effects: Those of them that must not be repeated.
        versions: What it is of: `dspex`, `dspy`.
    """

    protocol: Literal["dspex"]
    version: int
    pid: int
    methods: list[str]
    effects: list[str]
    versions: dict[str, str] = field(default_factory=dict[str, str])


def hello_frame(worker: int, max_frame_bytes: int, offer: dict[str, object]) -> bytes:
    """The first frame to a worker.

    Args:
        worker: Its number.
        max_frame_bytes: The largest frame that it may send.
        offer: Models, secrets and functions, as `Host.offer` tells them.
    """
    hello = {
        "protocol": PROTOCOL,
        "versions": [VERSION],
        "worker": worker,
        "max_frame_bytes": max_frame_bytes,
        **offer,
    }
    return encode(CALL, HELLO_ID, "system.hello", {}, encode_value(hello))


def read_welcome(body: bytes | Oversized) -> WorkerWelcome:
    """A worker's first frame.

    Raises:
        DSPexError: when it is no welcome; the worker's own error when it refused.
    """
    if isinstance(body, Oversized):
        raise error("handshake_failed", "the worker's first frame is too large")
    envelope = decode_envelope(body)
    payload = body[envelope.payload_at :]
    if envelope.kind == FAIL:
        raise decode_failure(payload)
    if envelope.kind != REPLY:
        raise error("handshake_failed", "the worker's first frame is no answer to hello")
    return read(WorkerWelcome, decode_value(payload))
