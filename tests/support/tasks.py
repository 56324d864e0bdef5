"""Coroutines without an event loop: each runs until it waits, and goes on when that has come.

What the supervisor waits for is a promise, or a store. The store in memory never waits, so a
test that uses it sees a method's whole effect when the call has been made.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class HandPromise(Generic[T]):
    """A value that will be there; `dspex_pool.ports.Promise`."""

    def __init__(self) -> None:
        self._outcome: tuple[T | None, BaseException | None] | None = None
        self.on_done: Callable[[], None] = lambda: None

    def __await__(self) -> Generator[Any, Any, T]:
        while self._outcome is None:
            yield self
        value, fault = self._outcome
        if fault is not None:
            raise fault
        return value  # type: ignore[return-value]

    def done(self) -> bool:
        return self._outcome is not None

    def set_result(self, result: T, /) -> None:
        self._settle((result, None))

    def set_exception(self, exception: BaseException, /) -> None:
        self._settle((None, exception))

    def _settle(self, outcome: tuple[T | None, BaseException | None]) -> None:
        assert self._outcome is None
        self._outcome = outcome
        self.on_done()


class HandTasks:
    """`dspex_pool.ports.Tasks`, driven by whoever keeps the promises.

    Args:
        call_soon: Runs something after what runs now, as an event loop does; None: at once.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.call_soon = call_soon or _at_once
        self.waiting = 0

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self.call_soon(lambda: self._step(work))

    def promise(self) -> HandPromise[Any]:
        return HandPromise()

    async def apart(self, work: Callable[[], T], /) -> T:
        return work()

    def _step(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            awaited = work.send(None)
        except StopIteration:
            return
        assert isinstance(awaited, HandPromise), awaited
        self.waiting += 1
        awaited.on_done = lambda: self._go_on(work)

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        self.waiting -= 1
        self.call_soon(lambda: self._step(work))


def _at_once(run: Callable[[], None]) -> None:
    run()
