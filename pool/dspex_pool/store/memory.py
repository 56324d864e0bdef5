"""A store in this process's memory: for tests, simulations, and servers that need keep nothing.

No method waits for anything, so each is over before anybody else runs; a simulation may drive
them without an event loop.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice

from .failures import Fenced, Held
from .limits import LEASE_MEMORY_S, check_commit, check_entries, check_keys, check_lease, check_scan
from .numbering import number_changes
from .records import Append, Change, Delete, Drop, Entry, Fence, Key, Lease, Put, Record

FOREVER = float("inf")


@dataclass(slots=True)
class _Row:
    record: Record
    over_s: float


@dataclass(slots=True)
class _Term:
    owner: str
    epoch: int
    over_s: float


class MemoryStore:
    """A store that ends with its process.

    Args:
        clock: Seconds that only grow, from whatever start.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: dict[Key, _Row] = {}
        self._ids: defaultdict[str, list[str]] = defaultdict(list)  # by collection, in order
        self._journals: dict[str, list[bytes]] = {}
        self._terms: dict[str, _Term] = {}
        self._epoch = 0
        self._endings: list[tuple[float, Key]] = []  # a heap; some are no more true

    @property
    def name(self) -> str:
        """The backend; it is nowhere."""
        return "memory"

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do; everything stays until nobody has this object any more."""

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """See `Store.get`."""
        check_keys(keys)
        now_s = self._clock()
        rows = [self._row(key, now_s) for key in keys]
        return [None if row is None else row.record for row in rows]

    async def scan(
        self,
        collection: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Record]:
        """See `Store.scan`."""
        check_scan(collection, prefix, after, limit)
        ids, now_s = self._ids.get(collection, []), self._clock()
        walk = _backwards(ids, prefix, after) if newest_first else _forwards(ids, prefix, after)
        rows = (self._row(Key(collection, id_), now_s) for id_ in walk)
        return list(islice((row.record for row in rows if row is not None), limit))

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """See `Store.commit`."""
        check_commit(changes, fences)
        now_s = self._clock()
        for fence in fences:
            term = self._terms.get(fence.name)
            if term is None or term.epoch != fence.epoch:
                raise Fenced(fence.name)
        numbers = number_changes(changes, lambda key: self._revision(key, now_s), self._last)
        for change, number in zip(changes, numbers, strict=True):
            self._apply(change, number, now_s)
        return numbers

    async def entries(self, journal: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Store.entries`."""
        check_entries(journal, after, limit)
        bodies = self._journals.get(journal, [])[after : after + limit]
        return [Entry(number, body) for number, body in enumerate(bodies, after + 1)]

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        """See `Store.lease`."""
        check_lease(name, owner, ttl_s)
        now_s, term = self._clock(), self._terms.get(name)
        if term is not None and now_s < term.over_s:
            if term.owner != owner:
                raise Held(name, term.owner, term.over_s - now_s)
            term.over_s = now_s + ttl_s
        else:
            self._epoch += 1
            term = self._terms[name] = _Term(owner, self._epoch, now_s + ttl_s)
        return Lease(name=name, owner=owner, epoch=term.epoch, ttl_s=ttl_s)

    async def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        term = self._terms.get(lease.name)
        if term is not None and term.epoch == lease.epoch:
            term.over_s = min(term.over_s, self._clock())

    async def expire(self, limit: int = 1000) -> int:
        """See `Store.expire`."""
        now_s, count = self._clock(), 0
        while count < limit and self._endings and self._endings[0][0] <= now_s:
            over_s, key = heappop(self._endings)
            row = self._rows.get(key)
            if row is not None and row.over_s == over_s:
                self._remove(key)
                count += 1
        forgotten = [name for name, term in self._terms.items() if term.over_s + LEASE_MEMORY_S <= now_s]
        for name in forgotten[: limit - count]:
            del self._terms[name]
            count += 1
        return count

    def _row(self, key: Key, now_s: float) -> _Row | None:
        row = self._rows.get(key)
        return None if row is None or row.over_s <= now_s else row

    def _revision(self, key: Key, now_s: float) -> int:
        row = self._row(key, now_s)
        return 0 if row is None else row.record.revision

    def _last(self, journal: str) -> int:
        return len(self._journals.get(journal, ()))

    def _apply(self, change: Change, number: int, now_s: float) -> None:
        match change:
            case Put(key=key, body=body, ttl_s=ttl_s):
                over_s = FOREVER if ttl_s is None else now_s + ttl_s
                if key not in self._rows:
                    insort(self._ids[key.collection], key.id)
                self._rows[key] = _Row(Record(key, number, body), over_s)
                if ttl_s is not None:
                    heappush(self._endings, (over_s, key))
            case Delete(key=key):
                self._remove(key)
            case Append(journal=journal, body=body):
                self._journals.setdefault(journal, []).append(body)
            case Drop(journal=journal):
                self._journals.pop(journal, None)

    def _remove(self, key: Key) -> None:
        if self._rows.pop(key, None) is not None:
            ids = self._ids[key.collection]
            del ids[bisect_left(ids, key.id)]
            if not ids:
                del self._ids[key.collection]


def _forwards(ids: list[str], prefix: str, after: str) -> Iterator[str]:
    """Ids with a prefix that come after one, in order. Text of Python sorts as its UTF-8 does."""
    start = max(bisect_left(ids, prefix), bisect_right(ids, after))
    for position in range(start, len(ids)):
        if not ids[position].startswith(prefix):
            return
        yield ids[position]


def _backwards(ids: list[str], prefix: str, after: str) -> Iterator[str]:
    """Ids with a prefix that come before one, the last first; "" is after all of them."""
    start = bisect_left(ids, after) if after else len(ids)
    first = bisect_left(ids, prefix)
    end = bisect_left(ids, True, lo=first, key=lambda id_: not id_.startswith(prefix))
    for position in range(min(start, end) - 1, first - 1, -1):
        yield ids[position]
