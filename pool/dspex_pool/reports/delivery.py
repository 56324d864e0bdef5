"""DELIVERY: the text of a report to whoever asked for it: in pieces, as there is credit for, or whole."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dspex_pool import endings
from dspex_pool.handling import Handling
from dspex_pool.ports import Promise, Tasks
from dspex_protocol import ITEM, encode, encode_value, error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from dspex_pool.calls import Call, Caller

PIECE_CHARACTERS: Final = 256 * 1024
"""Of one item, unless its client takes less: far from a frame's limit, and few for a long report."""

BYTES_OF_CHARACTER: Final = 4
"""At most, in UTF-8."""
ENVELOPE_BYTES: Final = 1024
"""What else is in an item's frame, at most."""

MAX_OPEN: Final = 64
"""Reports that are being made. They take no place in a worker, so nothing else would bound them."""


class Delivery:
    """What one call gets.

    Args:
        call: It.
        tasks: Makes what it waits for.
        handling: Goes on with other calls while this one waits for credit.
        flush: Writes what was sent.

    Attributes:
        size_bytes: How long the report is until now, as UTF-8.
    """

    def __init__(self, call: Call, tasks: Tasks, handling: Handling, flush: Callable[[], None]) -> None:
        self._call = call
        self._tasks = tasks
        self._handling = handling
        self._flush = flush
        self._whole: list[str] | None = None if call.meta.get("credit") else []
        self._news: Promise[None] | None = None
        self.size_bytes = 0

    @property
    def text(self) -> str | None:
        """All of it, where it was not sent in pieces."""
        return None if self._whole is None else "".join(self._whole)

    async def send(self, text: str) -> None:
        """Some more of it.

        Raises:
            DSPexError: `cancelled` when the call has ended; `result_too_large` without credit.
        """
        piece = min(PIECE_CHARACTERS, (self.check().max_frame_bytes - ENVELOPE_BYTES) // BYTES_OF_CHARACTER)
        for at in range(0, len(text), piece):
            await self._send(text[at : at + piece])

    async def _send(self, piece: str) -> None:
        self.size_bytes += len(piece.encode())
        caller = self.check()
        if self._whole is not None:
            self._whole.append(piece)
            if self.size_bytes > caller.max_frame_bytes:
                raise endings.too_large(self.size_bytes, caller.max_frame_bytes)
            return
        await self._credit()
        call = self._call
        self.check().link.send(
            encode(ITEM, call.id, None, {"seq": call.next_seq}, encode_value({"text": piece}))
        )
        call.next_seq += 1
        call.credit -= 1
        self._flush()

    def check(self) -> Caller:
        """Whoever waits for it.

        Raises:
            DSPexError: `cancelled` when nobody does any more.
        """
        if self._call.caller is None:
            raise error("cancelled", "the call has ended")
        return self._call.caller

    async def _credit(self) -> None:
        while self.check().is_clogged or self._call.credit <= 0:
            self._news = self._tasks.promise()
            with self._handling.aside():
                await self._news

    def wake(self) -> None:
        """There is credit, the client reads again, or the call has ended."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class Deliveries:
    """All that are under way.

    Args:
        tasks: Makes what they wait for.
        handling: What their calls run in.
        flush: Writes what was sent.
    """

    def __init__(self, tasks: Tasks, handling: Handling, flush: Callable[[], None]) -> None:
        self._tasks = tasks
        self._handling = handling
        self._flush = flush
        self._open: dict[Call, Delivery] = {}

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def to(self, call: Call) -> Generator[Delivery]:
        """Deliver a report to a call, as long as the body lasts.

        Raises:
            DSPexError: `overloaded`.
        """
        if len(self._open) >= MAX_OPEN:
            raise error("overloaded", f"{MAX_OPEN} reports are being made already", retry_after_ms=1000)
        self._open[call] = delivery = Delivery(call, self._tasks, self._handling, self._flush)
        try:
            yield delivery
        finally:
            del self._open[call]

    def wake(self, call: Call) -> None:
        """A call has more credit, or has ended."""
        if call in self._open:
            self._open[call].wake()

    def wake_all(self) -> None:
        """A client that had not read has caught up."""
        for delivery in self._open.values():
            delivery.wake()
