"""A store that is away for a while, and whose answers get lost."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, cast

from dspex_pool.store import Change, Entry, Fence, Key, Lease, Record, Store, Unavailable


class WaveringStore:
    """A store in front of another one.

    Attributes:
        is_away: It gives no answer.
        loses: Part of the answers to commits that get lost, after or before it was made.
        commits: How many were asked for.
    """

    def __init__(self, store: Store, seed: int = 1) -> None:
        self._store = store
        self._random = Random(seed)
        self.is_away = False
        self.loses = 0.0
        self.commits = 0

    @property
    def name(self) -> str:
        return self._store.name

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    def _look(self) -> None:
        if self.is_away:
            raise Unavailable("it is away")

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        self._look()
        return await self._store.get(keys)

    async def scan(self, collection: str, **how: Any) -> list[Record]:
        self._look()
        return await self._store.scan(collection, **how)

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        self.commits += 1
        self._look()
        if self._random.random() < self.loses / 2:
            raise Unavailable("its answer was lost", maybe_applied=True)
        made = await self._store.commit(changes, fences)
        if self._random.random() < self.loses / 2:
            raise Unavailable("its answer was lost", maybe_applied=True)
        return made

    async def entries(self, journal: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        self._look()
        return await self._store.entries(journal, after=after, limit=limit)

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        self._look()
        return await self._store.lease(name, owner, ttl_s)

    async def release(self, lease: Lease) -> None:
        self._look()
        await self._store.release(lease)

    async def expire(self, limit: int = 1000) -> int:
        self._look()
        return await self._store.expire(limit)


def wavering(store: Store, seed: int = 1) -> tuple[WaveringStore, Store]:
    """One of them, and the same as what it stands for."""
    made = WaveringStore(store, seed)
    return made, cast("Store", made)
