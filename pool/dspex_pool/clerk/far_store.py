"""The store as the clerk has it: read through the supervisor, and never written."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import NoReturn, Protocol

from dspex_pool.store import Change, Entry, Fence, Key, Lease, Record

from . import questions


class Ask(Protocol):
    """Asks the supervisor; raises what its FAIL says."""

    def __call__(self, question: str, payload: bytes, /) -> Awaitable[bytes]:
        """See there."""
        ...


class FarStore:
    """A `Store` that can be read. What fails there comes as the DSPexError that clients would hear.

    Args:
        ask: Asks the supervisor.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    @property
    def name(self) -> str:
        """The supervisor knows."""
        return "the supervisor's"

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """See `Store`."""
        return questions.read_found(keys, await self._ask(questions.GET, questions.write_keys(keys)))

    async def scan(
        self,
        collection: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Record]:
        """See `Store`."""
        wish = questions.Scan(collection, prefix, after, limit, newest_first)
        return questions.read_scanned(collection, await self._ask(questions.SCAN, questions.write_wish(wish)))

    async def entries(self, journal: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Store`."""
        wish = questions.Entries(journal, after, limit)
        return questions.read_entries(await self._ask(questions.ENTRIES, questions.write_wish(wish)))

    async def open(self) -> None:
        """It is the supervisor's to open."""

    async def close(self) -> None:
        """It is the supervisor's to close."""

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> NoReturn:
        """Nothing is written here."""
        raise PermissionError("the clerk writes nothing")

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        """Nothing is taken here."""
        raise PermissionError("the clerk takes no leases")

    async def release(self, lease: Lease) -> None:
        """Nothing is taken here."""
        raise PermissionError("the clerk has no leases")

    async def expire(self, limit: int = 1000) -> int:
        """Nothing is removed here."""
        raise PermissionError("the clerk removes nothing")
