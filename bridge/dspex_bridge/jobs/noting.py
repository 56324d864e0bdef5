"""Having answers kept: what comes while others are on their way goes with the next message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from dspex_protocol.errors import DSPexError, error

MAX_BYTES: Final = 1 << 20
"""Of one message, unless one answer alone is longer: many together cost the store one commit."""


class Noting:
    """The answers on their way to the store. For one event loop.

    Args:
        send: Has entries kept, and returns when they are.
    """

    def __init__(self, send: Callable[[list[bytes]], Awaitable[object]]) -> None:
        self._send = send
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def keep(self, entry: bytes) -> None:
        """Have one kept; returns when it is.

        Raises:
            DSPexError: when it was not.
        """
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, kept))
        if self._task is None:
            self._task = asyncio.create_task(self._send_all())
        await kept

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                taken = self._take()
                await self._send_some(taken)
        finally:
            self._task = None

    def _take(self) -> list[tuple[bytes, asyncio.Future[None]]]:
        size, count = 0, 0
        for entry, _ in self._waiting:
            size += len(entry)
            if count and size > MAX_BYTES:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def _send_some(self, taken: list[tuple[bytes, asyncio.Future[None]]]) -> None:
        failure: DSPexError | None = None
        try:
            await self._send([entry for entry, _ in taken])
        except DSPexError as reason:
            failure = reason
        except asyncio.CancelledError:
            failure = error("cancelled", "the job has ended before the answer was kept")
        for _, kept in taken:
            if kept.done():
                continue  # who waited for it was cancelled
            if failure is None:
                kept.set_result(None)
            else:
                kept.set_exception(failure)
