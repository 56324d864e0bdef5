"""HANDLING: calls that the supervisor answers itself, with the store. A few at a time.

Reading a store and putting an answer together takes moments in which the supervisor sees to nothing
else. So one of these calls begins in each round of the event loop, a few of them wait for the store
at once, and the others wait here; tenants are served in turn. A store that is asked for no more than
it can answer is also not taken for one that is down.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from dspex_protocol import DSPexError

from .library.failures import for_others
from .ports import Promise, Tasks

if TYPE_CHECKING:
    from .calls import Call
    from .tenants import Tenant

AT_ONCE: Final = 16
"""Calls that wait for the store. It is asked with a few connections, or writes what has come in one
transaction; more at once would only make each of them wait longer."""


class Handling:
    """The calls that are being answered, and those that wait for that.

    Args:
        tasks: What they run in.
        handle: Answers one.
        at_once: How many.
    """

    def __init__(
        self, tasks: Tasks, handle: Callable[[Call], Coroutine[Any, Any, None]], at_once: int = AT_ONCE
    ) -> None:
        self._tasks = tasks
        self._handle = handle
        self._at_once = at_once
        self._waiting: OrderedDict[Tenant, dict[Call, None]] = OrderedDict()
        self._waiting_count = 0
        self._at_work = 0
        self._is_beginning = False

    def __len__(self) -> int:
        return self._waiting_count

    def enter(self, call: Call) -> None:
        """Have a call answered."""
        if call.depth:
            # The call around it may be what another one waits for: behind that it waited for itself.
            self._at_work += 1
            self._tasks.start(self._run(call))
            return
        self._waiting.setdefault(call.tenant, {})[call] = None
        self._waiting_count += 1
        self._see_to_waiting()

    def leave(self, call: Call) -> None:
        """A call has ended. Where it still waited it does so no more."""
        theirs = self._waiting.get(call.tenant)
        if theirs is not None and call in theirs:
            self._take(call.tenant, theirs, call)

    def waiting(self) -> list[Call]:
        """The calls that wait."""
        return [call for theirs in self._waiting.values() for call in theirs]

    @contextmanager
    def aside(self) -> Generator[None]:
        """While a call waits for something else than the store, it keeps no other from it."""
        self._at_work -= 1
        self._see_to_waiting()
        try:
            yield
        finally:
            self._at_work += 1

    def _see_to_waiting(self) -> None:
        if self._waiting and not self._is_beginning and self._at_work < self._at_once:
            self._is_beginning = True
            self._tasks.start(self._begin_one())

    async def _begin_one(self) -> None:
        self._is_beginning = False
        if self._waiting:  # else who waited has been told something else
            call = self._next()
            self._at_work += 1
            self._see_to_waiting()
            await self._run(call)

    async def _run(self, call: Call) -> None:
        try:
            await self._handle(call)
        finally:
            self._at_work -= 1
            self._see_to_waiting()

    def _next(self) -> Call:
        tenant, theirs = next(iter(self._waiting.items()))
        call = next(iter(theirs))
        self._waiting.move_to_end(tenant)
        self._take(tenant, theirs, call)
        return call

    def _take(self, tenant: Tenant, theirs: dict[Call, None], call: Call) -> None:
        del theirs[call]
        self._waiting_count -= 1
        if not theirs:
            del self._waiting[tenant]


class Lines:
    """Those who must go one after another, by what for.

    Args:
        tasks: Makes what they wait for.
        handling: Goes on with others meanwhile.
    """

    def __init__(self, tasks: Tasks, handling: Handling) -> None:
        self._tasks = tasks
        self._handling = handling
        self._lines: dict[str, deque[Promise[None]]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncGenerator[None]:
        """Wait until all who came earlier have gone; whoever comes later waits until the body is over.

        Raises:
            DSPexError: `store_unavailable` when somebody earlier has found that out: in a long line
                it would take long for each to find out by itself.
        """
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = deque()
        else:
            before: Promise[None] = self._tasks.promise()
            line.append(before)
            with self._handling.aside():
                await before
        try:
            yield
        except DSPexError as failure:
            while failure.code == "store_unavailable" and (next_one := _next_of(line)) is not None:
                next_one.set_exception(for_others(failure))
            raise
        finally:
            next_one = _next_of(line)
            if next_one is not None:
                next_one.set_result(None)
            else:
                del self._lines[name]


def _next_of(line: deque[Promise[None]]) -> Promise[None] | None:
    """The first who still waits; those who were cancelled, since the server ends, do not."""
    while line:
        first = line.popleft()
        if not first.done():
            return first
    return None
