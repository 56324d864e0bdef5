"""The leases of sessions: taken, renewed and given back, for each session one thing after another.

To the store all that this server does is one owner's. What is on its way back would end again what
is taken meanwhile, and what is renewed meanwhile would not be given back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Final, TypeVar

from .ports import Promise, Stored
from .session_records import lease_of
from .store import Lease, StoreError

T = TypeVar("T")
Place = tuple[Promise[None] | None, Promise[None]]
"""In a line: what to wait for, and what the next one waits for."""

LEASE_S: Final = 15.0
"""After a server's death its sessions go on elsewhere after so long at most."""


class SessionLeases:
    """The leases of one server.

    Args:
        stored: The store, and what waits for it.
    """

    def __init__(self, stored: Stored) -> None:
        self._store = stored.store
        self._tasks = stored.tasks
        self._owner = stored.new_id()
        self._held: dict[str, Lease] = {}
        self._last: dict[str, Promise[None]] = {}

    async def take(self, session: str) -> Lease:
        """Take the lease of a session, or have it for longer. A larger epoch says that it was over.

        Raises:
            Held: when another server has it.
            StoreError: what the store says.
        """
        return await self._in_line(session, self._line_up(session), lambda: self._take(session))

    async def _take(self, session: str) -> Lease:
        lease = await self._store.lease(lease_of(session), self._owner, LEASE_S)
        self._held[session] = lease
        return lease

    def give_back(self, session: str) -> None:
        """Let others have it at once; nobody waits for that but who takes it again."""
        place = self._line_up(session)
        self._tasks.start(self._in_line(session, place, lambda: self._give_back(session)))

    async def _give_back(self, session: str) -> None:
        lease = self._held.pop(session, None)
        if lease is not None:
            await self._release(lease)

    async def _release(self, lease: Lease) -> None:
        with suppress(StoreError):  # it ends by itself
            await self._store.release(lease)

    def release_all(self) -> list[Coroutine[object, object, None]]:
        """The server ends: what gives every lease back."""
        return [self._release(lease) for lease in self._held.values()]

    def _line_up(self, session: str) -> Place:
        before = self._last.get(session)
        mine: Promise[None] = self._tasks.promise()
        self._last[session] = mine
        return before, mine

    async def _in_line(self, session: str, place: Place, work: Callable[[], Awaitable[T]]) -> T:
        before, mine = place
        if before is not None:
            await before
        try:
            return await work()
        finally:
            if self._last[session] is mine:
                del self._last[session]
            mine.set_result(None)
