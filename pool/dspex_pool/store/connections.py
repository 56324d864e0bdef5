"""A few connections to a server, made one at a time and thrown away at the first doubt.

A connection serves one question at a time, and goes on only when its answer has come in full.
After a time limit, a cancelled task or an error of the network it is closed at once, whatever
was on its way: so no answer can ever reach somebody else's question.

Where the server is gone, all who wait share one attempt to connect. Attempts are spaced out, by
half a second at most; whoever asks meanwhile waits for the next one, so a call that begins when
the server is back finds it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import copy
from typing import Final, Generic, Protocol, TypeVar

from .failures import StoreError, Unavailable

LEAST_PAUSE_S: Final = 0.02
MOST_PAUSE_S: Final = 0.5
"""Between attempts to connect: doubled from the least after each failure, up to the most."""

MOST_CONNECTING_S: Final = 1.0
"""Of one attempt: with the pause after it, less than the two seconds in which a store is found again."""

MOST_TRIES: Final = 3
"""Of a question that was not sent, since its connection turned out to be closed."""


class Lost(Exception):
    """A connection broke. The message says how, without what was said on it."""


class Connection(Protocol):
    """A connection to a server.

    Attributes:
        is_waiting: A question was sent, or may have been, and its answer has not come.
    """

    is_waiting: bool

    def is_usable(self) -> bool:
        """Whether nothing has happened to it while nobody used it."""
        ...

    def abort(self) -> None:
        """Close it now, without a word and without waiting."""
        ...

    async def close(self) -> None:
        """Take leave of the server."""
        ...


C = TypeVar("C", bound=Connection)
Answer = TypeVar("Answer")


class Connections(Generic[C]):
    """The connections of one store.

    Args:
        name: The store's, for messages.
        connect: Makes one that is ready for questions; raises a StoreError or `Lost`.
        limit: How many there are at most.
        timeout_s: How long a question may take, waiting for a connection included.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[C]], limit: int, timeout_s: float) -> None:
        self._name = name
        self._connect = connect
        self._limit = limit
        self._timeout_s = timeout_s
        self._idle: list[C] = []  # the one that was used last comes first
        self._borrowed: dict[C, int] = {}  # with the generation that it is of
        self._waiting: deque[asyncio.Future[C]] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._failures = 0  # attempts in a row
        self._next_attempt_s = 0.0  # by the loop's clock
        self._generation = 0
        self._is_open = False

    def open(self) -> None:
        """Let questions be asked; connections are made when somebody asks."""
        self._is_open = True

    async def close(self) -> None:
        """Close all connections; who waits for one, or for an answer, hears Unavailable."""
        self._is_open = False
        self._failures, self._next_attempt_s = 0, 0.0
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        self._fail(list(self._waiting), Unavailable(f"{self._name} was closed"))
        for connection in list(self._borrowed):
            connection.abort()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(self._leave(connection) for connection in idle))

    async def ask(self, question: Callable[[C], Awaitable[Answer]], *, only_once: bool = False) -> Answer:
        """Ask one question.

        Args:
            question: Is given a connection that nobody else uses meanwhile.
            only_once: It must not be sent again where its answer is lost. Others are, once: an
                idle connection may have broken without a sign.

        Raises:
            Unavailable: when the answer does not come in time, or the server cannot be reached.
        """
        connection: C | None = None
        tries, losses = 0, 0
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    tries += 1
                    try:
                        async with self._borrow() as connection:
                            return await question(connection)
                    except Lost as loss:
                        sent = connection is not None and connection.is_waiting
                        losses += sent
                        if tries == MOST_TRIES or losses > (not only_once):
                            maybe_applied = only_once and sent
                            raise Unavailable(f"{self._name}: {loss}", maybe_applied=maybe_applied) from None
        except TimeoutError:
            sent = connection is not None and connection.is_waiting
            if sent:  # else there were only too many before it
                self._distrust()
            raise Unavailable(
                f"{self._name} gave no answer within {self._timeout_s:g} s", maybe_applied=only_once and sent
            ) from None

    @asynccontextmanager
    async def _borrow(self) -> AsyncGenerator[C]:
        connection = await self._take()
        try:
            yield connection
        except StoreError:
            # An answer like any other, unless it is about the way to it.
            self._drop(connection) if connection.is_waiting else self._give_back(connection)
            raise
        except BaseException as failure:
            self._drop(connection)
            if isinstance(failure, Lost):
                self._distrust()
            raise
        self._give_back(connection)

    async def _take(self) -> C:
        if not self._is_open:
            raise Unavailable(f"{self._name} is not open")
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                self._borrowed[connection] = self._generation
                return connection
            connection.abort()
        turn: asyncio.Future[C] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._see_to_connecting()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(turn.result())  # it came in the same moment
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def _give_back(self, connection: C) -> None:
        generation = self._borrowed.pop(connection, -1)
        if generation != self._generation or not self._is_open or not connection.is_usable():
            connection.abort()
            self._see_to_connecting()
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._borrowed[connection] = generation
                turn.set_result(connection)
                return
        self._idle.append(connection)

    def _drop(self, connection: C) -> None:
        self._borrowed.pop(connection, None)
        connection.abort()
        self._see_to_connecting()

    def _distrust(self) -> None:
        """What befell one connection may have befallen all: use none of them for another question."""
        self._generation += 1
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    def _see_to_connecting(self) -> None:
        if self._is_open and self._connecting is None and self._is_one_wanted():
            self._connecting = asyncio.create_task(self._connect_while_wanted())
            self._connecting.add_done_callback(self._end_connecting)

    def _is_one_wanted(self) -> bool:
        return bool(self._waiting) and len(self._borrowed) + len(self._idle) < self._limit

    def _end_connecting(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.result()  # a mistake of ours must be heard
            self._see_to_connecting()

    async def _connect_while_wanted(self) -> None:
        loop = asyncio.get_running_loop()
        while self._is_one_wanted():
            await asyncio.sleep(max(0.0, self._next_attempt_s - loop.time()))
            # Who comes during an attempt may hear more of the next one.
            waiting, generation = list(self._waiting), self._generation
            try:
                async with asyncio.timeout(min(self._timeout_s, MOST_CONNECTING_S)):
                    connection = await self._connect()
            except Exception as failure:  # whatever is there may answer anything; those who wait hear of it
                self._failures += 1
                pause_s = min(MOST_PAUSE_S, LEAST_PAUSE_S * 2 ** min(self._failures, 10))
                self._next_attempt_s = loop.time() + pause_s * random.uniform(0.5, 1.0)
                # A server that takes no more connections still answers those that it has; and one
                # that was too slow may be quicker next time, for who has the time.
                if not self._borrowed and not isinstance(failure, TimeoutError):
                    self._fail(waiting, self._as_failure(failure))
            else:
                self._failures = 0
                self._borrowed[connection] = generation
                self._give_back(connection)

    def _as_failure(self, failure: Exception) -> StoreError:
        match failure:
            case StoreError():
                return failure
            case Lost():
                return Unavailable(f"{self._name}: {failure}")
            case _:  # its text may quote the address
                return Unavailable(f"{self._name} cannot be connected to ({type(failure).__name__})")

    def _fail(self, waiting: list[asyncio.Future[C]], failure: StoreError) -> None:
        for turn in waiting:
            if not turn.done():
                turn.set_exception(copy(failure))  # each raises one of its own

    async def _leave(self, connection: C) -> None:
        try:
            async with asyncio.timeout(min(self._timeout_s, MOST_CONNECTING_S)):
                await connection.close()
        except (Lost, TimeoutError):
            pass
        finally:
            connection.abort()
