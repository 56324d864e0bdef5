"""Items of a stream that wait for the caller; touched on the event loop only."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

_EVENTS: Final = ("tool", "tool_call")

Item: TypeAlias = dict[str, object]
"""What docs/protocol.md section 7.2 calls an item."""

Emit: TypeAlias = Callable[[Item], Awaitable[None]]
"""Sends an item; returns when there was credit for it."""

MAX_WAITING_CHARACTERS: Final = 65_536
"""Text that may wait for a slow caller; beyond it the LM's answer is not read on."""

MAX_WAITING_STATUS: Final = 256
"""Status items that may wait; later ones are dropped, since they only inform."""

MAX_WAITING_EVENTS: Final = 1_024
"""Events of tools that may wait; beyond it the LM's answer is not read on."""


def part_of(completion: int) -> Item:
    """What an item has of one of several completions, counted from 0: nothing for the first."""
    return {"completion": completion} if completion else {}


class HaltedError(BaseException):
    """There is no caller any more.

    Not an `Exception`: some of DSPy's modules take each of those for a failed attempt, and go on.
    """


@dataclass(slots=True)
class _Waiting:
    """An item, and what it takes of the room that there is."""

    item: Item
    characters: int = 0
    key: object = None


class Mailbox:
    """What waits, in order. Tokens of a field join; of a value only the newest waits.

    Args:
        loop: On which all of this is called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[_Waiting] = deque()
        self._open: dict[object, _Waiting] = {}  # of waiting ones, those that more may join
        self._characters = 0
        self._status = 0
        self._events = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._closed = False
        self._abandoned = False

    def put_token(self, item: Item) -> None:
        """Add text; it joins what waits of the same field of the same run."""
        text = str(item["text"])
        waiting = self._slot(item)
        if waiting.item is not item:
            waiting.item["text"] = str(waiting.item["text"]) + text
            waiting.item["last"] = item["last"]
        self._count(waiting, len(text))
        if item["last"]:
            del self._open[waiting.key]

    def put_value(self, item: Item, characters: int) -> None:
        """Add a value; it takes the place of what waits of the same field of the same run."""
        waiting = self._slot(item)
        waiting.item = item
        self._count(waiting, characters)
        if item["last"]:
            del self._open[waiting.key]

    def put_event(self, item: Item, characters: int) -> None:
        """Add an event of a tool."""
        self._events += 1
        waiting = _Waiting(item)
        self._waiting.append(waiting)
        self._count(waiting, characters)

    def put_status(self, item: Item) -> None:
        """Add a status item, if there is room."""
        if self._status < MAX_WAITING_STATUS:
            self._status += 1
            self._waiting.append(_Waiting(item))
            self._filled.set()

    def put_retry(self, item: Item) -> None:
        """Add a status item that says that something sent is void: it is never dropped."""
        self._status += 1
        self._waiting.append(_Waiting(item))
        self._filled.set()

    async def room(self) -> None:
        """Wait until the caller has taken enough.

        Raises:
            HaltedError: when nobody takes anything any more.
        """
        while self._characters > MAX_WAITING_CHARACTERS or self._events > MAX_WAITING_EVENTS:
            self.refuse()
            self._emptied.clear()
            await self._emptied.wait()
        self.refuse()

    def refuse(self) -> None:
        """See that somebody takes items.

        Raises:
            HaltedError: when nobody does any more.
        """
        if self._abandoned:
            raise HaltedError

    def close(self) -> None:
        """No more items come."""
        self._closed = True
        self._filled.set()

    def abandon(self) -> None:
        """Nobody takes items any more: what goes on in a thread ends where it gives the next."""
        self._abandoned = True
        self._emptied.set()

    async def deliver(self, emit: Emit) -> None:
        """Send everything, in order, until the mailbox is closed and empty."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                await emit(self._take())
            if self._closed:
                return

    def _slot(self, item: Item) -> _Waiting:
        key = (item["type"], item["predictor"], item["run"], item["field"], item.get("completion"))
        waiting = self._open.get(key)
        if waiting is None:
            waiting = self._open[key] = _Waiting(item, key=key)
            self._waiting.append(waiting)
        return waiting

    def _count(self, waiting: _Waiting, characters: int) -> None:
        waiting.characters += characters
        self._characters += characters
        self._filled.set()

    def _take(self) -> Item:
        waiting = self._waiting.popleft()
        if self._open.get(waiting.key) is waiting:
            del self._open[waiting.key]
        self._characters -= waiting.characters
        self._status -= waiting.item["type"] == "status"
        self._events -= waiting.item["type"] in _EVENTS
        self._emptied.set()
        return waiting.item
