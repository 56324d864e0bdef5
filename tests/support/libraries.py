"""Libraries driven by hand: over a store in memory nothing waits, so no event loop is needed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import pytest

from dspex_pool.library import Library
from dspex_pool.library.shelf import Shelf
from dspex_pool.store import Change, Entry, Fence, Key, Lease, Record, Store
from dspex_pool.store.memory import MemoryStore
from dspex_protocol import DSPexError, encode_value

T = TypeVar("T")

WALL_MS = 1_700_000_000_000


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError("it waits for something")


def refusal(work: Coroutine[Any, Any, object]) -> DSPexError:
    """The error that it ends with."""
    with pytest.raises(DSPexError) as caught:
        drive(work)
    return caught.value


def content(text: str = "Answer.", module: str = "Predict") -> bytes:
    """A worker's record."""
    spec = {"module": module, "signature": "question -> answer", "options": {}}
    return encode_value(
        {"spec": spec, "state": {"self": {"instructions": text, "demos": []}}, "dspy": "3.4.1", "schema": 1}
    )


@dataclass
class Shop:
    """A store and a clock, and libraries of as many servers as are wanted."""

    now_s: float = 1000.0
    wall_ms: int = WALL_MS
    store: Store = field(init=False)
    ids: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.now_s)

    def library(self, store: Store | None = None, shelf: Shelf | None = None) -> Library:
        return Library(
            store or self.store,
            clock=lambda: self.now_s,
            wall_ms=lambda: self.wall_ms,
            new_id=lambda: f"{next(self.ids):08x}",
            shelf=shelf,
        )

    def body(self, key: Key) -> bytes:
        """What is stored there."""
        (record,) = drive(self.store.get([key]))
        assert record is not None
        return record.body

    def keys(self, collection: str) -> list[str]:
        """The ids of a collection."""
        return [record.key.id for record in drive(self.store.scan(collection, limit=1000))]


class Relay:
    """A store that does what another one does. Tests change what they want of it.

    Attributes:
        before, after: Called with each commit's changes; what they raise, the commit raises, and
            with `after` it has happened then.
        reads: Called with each read.
        before_scan: Called with each scan, which `scans` counts.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.before: Callable[[Sequence[Change]], None] = _nothing
        self.after: Callable[[Sequence[Change]], None] = _nothing
        self.reads: Callable[[], None] = _nothing_at_all
        self.before_scan: Callable[[], None] = _nothing_at_all
        self.scans = 0
        self.commits: list[list[Change]] = []
        self.read_count = 0

    @property
    def name(self) -> str:
        return self._store.name

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        self.read_count += 1
        self.reads()
        return await self._store.get(keys)

    async def scan(
        self,
        collection: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Record]:
        self.reads()
        self.scans += 1
        self.before_scan()
        return await self._store.scan(
            collection, prefix=prefix, after=after, limit=limit, newest_first=newest_first
        )

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        self.commits.append(list(changes))
        self.before(changes)
        revisions = await self._store.commit(changes, fences)
        self.after(changes)
        return revisions

    async def entries(self, journal: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        return await self._store.entries(journal, after=after, limit=limit)

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        return await self._store.lease(name, owner, ttl_s)

    async def release(self, lease: Lease) -> None:
        await self._store.release(lease)

    async def expire(self, limit: int = 1000) -> int:
        return await self._store.expire(limit)


def _nothing(changes: Sequence[Change]) -> None:
    pass


def _nothing_at_all() -> None:
    pass


def once(failure: Exception) -> Callable[[Sequence[Change]], None]:
    """Raises the first time."""
    left = [failure]

    def fail(changes: Sequence[Change]) -> None:
        if left:
            raise left.pop()

    return fail
