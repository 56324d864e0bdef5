"""Calls of host functions that are open: what each answers, piece by piece or at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, Final, TypeVar

from dspex_protocol import decode_value

T = TypeVar("T")

WINDOW: Final = 32
"""Items of an answer that may be under way, of 64 KiB at most; half of them are granted at a time."""


class HostCall:
    """A call of a host function that is open, and what the host calls within it.

    Args:
        call_id: Its id on this hop.
        parent_id: The call in which it happens.
        allow: Lets the host send so many more items.

    Attributes:
        id: As given.
        parent_id: As given.
        answer: What it will give.
    """

    __slots__ = ("_allow", "_came", "_context", "_items", "_nested", "answer", "id", "parent_id")

    def __init__(self, call_id: int, parent_id: int, allow: Callable[[int], None]) -> None:
        self.id = call_id
        self.parent_id = parent_id
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._allow = allow
        self._items: deque[bytes] = deque()
        self._came = asyncio.Event()
        self._context = copy_context()
        self._nested: set[asyncio.Task[Any]] = set()
        self.answer.add_done_callback(lambda _: self._came.set())

    @property
    def is_wanted(self) -> bool:
        """Whether the host is still to be told when nobody waits for it any more."""
        return not self.answer.done() or self.answer.cancelled()

    def value_of(self, variable: ContextVar[T], default: T) -> T:
        """What a context variable has where the host was called."""
        return self._context.get(variable, default)

    async def run(self, enter: Callable[[], object], work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run something with the settings that hold where the host was called.

        Args:
            enter: Changes those settings first, for this alone.
            work: What to run.

        Raises:
            asyncio.CancelledError: also when the host's function has ended.
        """
        context = self._context.copy()
        context.run(enter)
        task = asyncio.get_running_loop().create_task(context.run(work), context=context)
        self._nested.add(task)
        try:
            return await task
        finally:
            self._nested.discard(task)

    def give(self, payload: bytes) -> None:
        """A piece of the answer has come; the supervisor sees to it that there was credit for it."""
        self._items.append(payload)
        self._came.set()

    async def items(self) -> AsyncGenerator[object]:
        """The pieces of the answer in order; when they end, `answer` is there.

        Credit is given for what was taken, so a reader that is slow slows the host down.

        Raises:
            DSPexError: `value_…`, for a piece that is no value.
        """
        taken = 0
        while True:
            while self._items:
                payload = self._items.popleft()
                taken += 1
                if taken % (WINDOW // 2) == 0:
                    self._allow(WINDOW // 2)
                yield decode_value(payload)
            if self.answer.done():
                return
            self._came.clear()
            await self._came.wait()

    def end(self) -> None:
        """What the host has called within it ends too."""
        for task in self._nested:
            task.cancel()
