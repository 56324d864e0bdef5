"""The coroutines of one server, driven by its virtual loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from tests.support.tasks import HandTasks

from .loop import VirtualLoop
from .records import Violation

T = TypeVar("T")


class SimTasks(HandTasks):
    """Runs coroutines, and knows them all."""

    def __init__(self, loop: VirtualLoop, random: Random) -> None:
        super().__init__(loop.call_soon)
        self._loop = loop
        self._random = random
        self._begun: list[Coroutine[Any, Any, None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """See `dspex_pool.ports.Tasks`."""
        self._begun.append(work)
        super().start(work)

    async def apart(self, work: Callable[[], T], /) -> T:
        """See `dspex_pool.ports.Tasks`."""
        await self.sleep(self._random.choice((0.0, 0.001, 0.05)))
        return work()

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        promise = self.promise()
        self._loop.call_later(max(0.0, seconds), promise.set_result, None)
        await promise

    def drop(self) -> None:
        """Nobody wants them any more: else each would end whenever its memory is looked at."""
        for work in self._begun:
            with contextlib.suppress(Exception, Violation):
                work.close()
