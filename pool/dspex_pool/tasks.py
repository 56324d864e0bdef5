"""Coroutines on a real event loop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

SWITCH_S: Final = 0.0005
"""How long that thread keeps the interpreter when the event loop wants it. The loop gives it up at each
read and write, so with Python's 5 ms a call that comes while something heavy is done waits for several
times that: a ping's median was 5 ms while reports were made there, and was 1 ms with this."""


class LoopTasks:
    """Starts tasks and keeps hold of them: the loop itself only does so weakly."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[asyncio.Task[None]] = set()
        self._heavy: SimpleQueue[Callable[[], None]] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end."""
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def promise(self) -> asyncio.Future[Any]:
        """A future of the loop."""
        return self._loop.create_future()

    def apart(self, work: Callable[[], T], /) -> asyncio.Future[T]:
        """Do something in a thread, one thing after another."""
        done: asyncio.Future[T] = self._loop.create_future()

        def do() -> None:
            try:
                result = work()
            except BaseException as reason:  # it is raised where it is awaited
                self._tell(done, done.set_exception, reason)
            else:
                self._tell(done, done.set_result, result)

        if self._heavy is None:
            self._heavy = SimpleQueue()
            sys.setswitchinterval(SWITCH_S)
            # Not an executor's: the end of the process would wait for it.
            threading.Thread(target=_do_all, args=(self._heavy,), name="heavy", daemon=True).start()
        self._heavy.put(do)
        return done

    def _tell(self, done: asyncio.Future[Any], settle: Callable[[Any], None], value: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(_settle, done, settle, value)

    async def end(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _do_all(heavy: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        heavy.get()()


def _settle(done: asyncio.Future[Any], settle: Callable[[Any], None], value: object) -> None:
    if not done.done():  # else who waited was cancelled
        settle(value)
