"""Calls of one path, so many at a time, by frames and without futures: the load must not be the brake."""

from __future__ import annotations

import asyncio
from collections import Counter

from dspex_pool.client import Client
from dspex_protocol import (
    CALL,
    CANCEL,
    FAIL,
    ITEM,
    NIL,
    REPLY,
    Envelope,
    Oversized,
    decode_envelope,
    decode_failure,
    encode,
    encode_failure,
    error,
)

from .paths import Path

FIRST_ID = 1 << 32  # apart from the client's own ids


class Load:
    """Runs calls on a greeted client, batch after batch.

    Attributes:
        client: Who makes them.
        codes: How calls have ended.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._link = client.link
        self._next_id = FIRST_ID
        self._left = 0
        self._open: set[int] = set()
        self._refusal = encode_failure(error("function_failed", "it was asked to"))
        self.codes: Counter[str] = Counter()

    async def run(self, path: Path, count: int) -> None:
        """Make so many calls and wait for all outcomes.

        Raises:
            AssertionError: when a call ends as it must not on this path.
        """
        self._path = path
        self._left = count
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        previous, self._link.on_bodies = self._link.on_bodies, self._take
        try:
            for _ in range(min(path.outstanding, count)):
                self._send()
            self._link.flush()
            await self._done
        finally:
            self._link.on_bodies = previous

    def _send(self) -> None:
        call_id = self._next_id
        self._next_id += 1
        self._left -= 1
        self._open.add(call_id)
        self._link.send(self._path.frame(call_id, call_id))
        if self._path.cancelled == "at once":
            self._cancel(call_id)

    def _cancel(self, call_id: int) -> None:
        self._link.send(encode(CANCEL, call_id, None, {}, NIL))

    def _take(self, bodies: list[bytes | Oversized]) -> None:
        for body in bodies:
            assert isinstance(body, bytes)
            envelope = decode_envelope(body)
            if envelope.kind in (REPLY, FAIL):
                self._ended(envelope, body)
            elif envelope.kind == ITEM and self._path.cancelled and envelope.meta.get("seq") == 0:
                self._cancel(envelope.id)
            elif envelope.kind == CALL:
                self._link.send(encode(FAIL, envelope.id, None, {}, self._refusal))
        self._link.flush()
        if not self._open and not self._left and not self._done.done():
            self._done.set_result(None)

    def _ended(self, envelope: Envelope, body: bytes) -> None:
        code = "ok"
        if envelope.kind == FAIL:
            code = decode_failure(body[envelope.payload_at :]).code
        self.codes[code] += 1
        self._open.remove(envelope.id)
        if code not in self._path.codes and not self._done.done():
            self._done.set_exception(
                AssertionError(f"on path {self._path.name}: expected {sorted(self._path.codes)}, got {code}")
            )
        if self._left:
            self._send()
