"""The worker's wire: what must be said first is said first."""

from __future__ import annotations

import asyncio
import socket
import threading

from dspex_bridge.worker.wire import Wire
from dspex_protocol import NOTE, encode, encode_value


async def test_what_is_pushed_has_been_taken_when_push_returns() -> None:
    """Also where the socket is full: calls begin only after the supervisor can know of it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    wire = Wire(ours.fileno(), asyncio.get_running_loop(), lambda bodies: None, lambda: None)
    frame = encode(NOTE, 0, "log.line", {}, encode_value("x" * 1_000_000))
    wire.send(frame)
    assert wire.waiting_bytes > 0
    received = bytearray()

    def take() -> None:
        while len(received) < len(frame):
            received.extend(theirs.recv(65_536))

    reader = threading.Timer(0.05, take)
    reader.start()
    wire.push()
    assert 0 == wire.waiting_bytes
    reader.join()
    assert frame == bytes(received)
    ours.close()
    theirs.close()
