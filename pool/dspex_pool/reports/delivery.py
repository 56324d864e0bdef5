"""DELIVERY: the pieces of a report to whoever asked for it, as there is credit for them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dspex_pool.handling import Handling
from dspex_pool.ports import Promise, Tasks
from dspex_protocol import ITEM, DSPexError, encode, error

from .text import SendPiece

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from dspex_pool.calls import Call, Caller

MAX_OPEN: Final = 64
"""Reports that are being made. They take no place in a worker, so nothing else would bound them."""


class Delivery:
    """What one call gets.

    Args:
        call: It.
        tasks: Makes what it waits for.
        handling: Goes on with other calls while this one waits for credit.
        flush: Writes what was sent.
    """

    def __init__(self, call: Call, tasks: Tasks, handling: Handling, flush: Callable[[], None]) -> None:
        self._call = call
        self._tasks = tasks
        self._handling = handling
        self._flush = flush
        self._news: Promise[None] | None = None

    async def send(self, payload: bytes) -> None:
        """One piece, as the payload of an ITEM, as soon as its client takes it.

        Raises:
            DSPexError: `cancelled` when the call has ended.
        """
        await self._credit()
        call = self._call
        _caller_of(call).link.send(encode(ITEM, call.id, None, {"seq": call.next_seq}, payload))
        call.next_seq += 1
        call.credit -= 1
        self._flush()

    async def _credit(self) -> None:
        while _caller_of(self._call).is_clogged or self._call.credit <= 0:
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
    def to(self, call: Call) -> Generator[SendPiece]:
        """Deliver a report to a call, as long as the body lasts.

        Raises:
            DSPexError: `overloaded`.
        """
        if len(self._open) >= MAX_OPEN:
            raise error("overloaded", f"{MAX_OPEN} reports are being made already", retry_after_ms=1000)
        self._open[call] = delivery = Delivery(call, self._tasks, self._handling, self._flush)
        try:
            yield delivery.send
        finally:
            del self._open[call]

    async def send(self, call: Call, payload: bytes) -> None:
        """A piece to one of them; as `Delivery.send`."""
        if call not in self._open:
            raise _over()
        await self._open[call].send(payload)

    def wake(self, call: Call) -> None:
        """A call has more credit, or has ended."""
        if call in self._open:
            self._open[call].wake()

    def wake_all(self) -> None:
        """A client that had not read has caught up."""
        for delivery in self._open.values():
            delivery.wake()


def _caller_of(call: Call) -> Caller:
    if call.caller is None:
        raise _over()
    return call.caller


def _over() -> DSPexError:
    return error("cancelled", "the call has ended")
