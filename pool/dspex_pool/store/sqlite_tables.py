"""What a store's operations do to its tables, at one moment of store time.

Each looks before it writes: one that is refused has written nothing, so those that share its
transaction need not be undone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from .failures import Fenced, Held
from .limits import LEASE_MEMORY_S, MAX_ID_BYTES
from .numbering import number_changes
from .records import Append, Change, Delete, Drop, Entry, Fence, Key, Lease, Put, Record

Answer = TypeVar("Answer")

# Comes after every id with a prefix that it is put behind: no character is larger, and no id
# has more of them.
_LAST: Final = "\U0010ffff" * (MAX_ID_BYTES // 4)

# What is over is not there, though its row may be.
_GET: Final = (
    "SELECT revision, body FROM records WHERE collection = ? AND id = ? AND (over_s IS NULL OR over_s > ?)"
)
_REVISION: Final = (
    "SELECT revision FROM records WHERE collection = ? AND id = ? AND (over_s IS NULL OR over_s > ?)"
)
_FORWARDS: Final = (
    "SELECT id, revision, body FROM records WHERE collection = ? AND id BETWEEN ? AND ? AND id <> ?"
    " AND (over_s IS NULL OR over_s > ?) ORDER BY id LIMIT ?"
)
_BACKWARDS: Final = _FORWARDS.replace("ORDER BY id", "ORDER BY id DESC")
_PUT: Final = (
    "INSERT INTO records (collection, id, revision, over_s, body) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (collection, id) DO UPDATE"
    " SET revision = excluded.revision, over_s = excluded.over_s, body = excluded.body"
)
_DELETE: Final = "DELETE FROM records WHERE collection = ? AND id = ?"
_LAST_ENTRY: Final = "SELECT max(number) FROM entries WHERE journal = ?"
_ENTRIES: Final = "SELECT number, body FROM entries WHERE journal = ? AND number > ? ORDER BY number LIMIT ?"
_EXPIRE: Final = "DELETE FROM records WHERE rowid IN (SELECT rowid FROM records WHERE over_s <= ? LIMIT ?)"
_FORGET: Final = "DELETE FROM leases WHERE name IN (SELECT name FROM leases WHERE over_s <= ? LIMIT ?)"


class Tables:
    """The tables behind one connection, now.

    Args:
        connection: In a transaction of its own where something is written.
        now_s: Store time.
    """

    def __init__(self, connection: sqlite3.Connection, now_s: float) -> None:
        self._connection = connection
        self._now_s = now_s

    def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """See `Store.get`."""
        if len(keys) == 1:
            return [self._record(keys[0])]  # one statement is one moment
        return self._at_one_moment(lambda: [self._record(key) for key in keys])

    def scan(
        self, collection: str, *, prefix: str, after: str, limit: int, newest_first: bool
    ) -> list[Record]:
        """See `Store.scan`."""
        first, last = prefix, prefix + _LAST
        if newest_first:
            statement, last = _BACKWARDS, min(last, after or last)
        else:
            statement, first = _FORWARDS, max(first, after)
        rows = self._connection.execute(statement, (collection, first, last, after, self._now_s, limit))
        return [Record(Key(collection, id_), revision, body) for id_, revision, body in rows]

    def entries(self, journal: str, *, after: int, limit: int) -> list[Entry]:
        """See `Store.entries`."""
        return [Entry(*row) for row in self._connection.execute(_ENTRIES, (journal, after, limit))]

    def commit(self, changes: Sequence[Change], fences: Sequence[Fence]) -> list[int]:
        """See `Store.commit`."""
        for fence in fences:
            found = self._one("SELECT epoch FROM leases WHERE name = ?", fence.name)
            if found != (fence.epoch,):
                raise Fenced(fence.name)
        numbers = number_changes(changes, self._revision, self._last)
        for change, number in zip(changes, numbers, strict=True):
            self._apply(change, number)
        return numbers

    def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        """See `Store.lease`."""
        found = self._one("SELECT owner, epoch, over_s FROM leases WHERE name = ?", name)
        if found is not None and self._now_s < found[2]:
            holder, epoch, over_s = found
            if holder != owner:
                raise Held(name, holder, over_s - self._now_s)
        else:
            self._connection.execute("UPDATE meta SET epoch = epoch + 1")
            ((epoch,),) = self._connection.execute("SELECT epoch FROM meta")
        self._connection.execute(
            "INSERT OR REPLACE INTO leases (name, owner, epoch, over_s) VALUES (?, ?, ?, ?)",
            (name, owner, epoch, self._now_s + ttl_s),
        )
        return Lease(name=name, owner=owner, epoch=epoch, ttl_s=ttl_s)

    def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        self._connection.execute(
            "UPDATE leases SET over_s = min(over_s, ?) WHERE name = ? AND epoch = ?",
            (self._now_s, lease.name, lease.epoch),
        )

    def expire(self, limit: int) -> int:
        """See `Store.expire`."""
        count = self._connection.execute(_EXPIRE, (self._now_s, limit)).rowcount
        over_s = self._now_s - LEASE_MEMORY_S
        return count + self._connection.execute(_FORGET, (over_s, limit - count)).rowcount

    def _record(self, key: Key) -> Record | None:
        found = self._one(_GET, *key, self._now_s)
        return None if found is None else Record(key, *found)

    def _revision(self, key: Key) -> int:
        found = self._one(_REVISION, *key, self._now_s)
        return 0 if found is None else int(found[0])

    def _last(self, journal: str) -> int:
        found = self._one(_LAST_ENTRY, journal)
        return (found and found[0]) or 0

    def _apply(self, change: Change, number: int) -> None:
        match change:
            case Put(key=key, body=body, ttl_s=ttl_s):
                over_s = None if ttl_s is None else self._now_s + ttl_s
                self._connection.execute(_PUT, (*key, number, over_s, body))
            case Delete(key=key):
                self._connection.execute(_DELETE, key)
            case Append(journal=journal, body=body):
                self._connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (journal, number, body))
            case Drop(journal=journal):
                self._connection.execute("DELETE FROM entries WHERE journal = ?", (journal,))

    def _one(self, statement: str, *values: object) -> Any:
        """The first row, or None."""
        return self._connection.execute(statement, values).fetchone()

    def _at_one_moment(self, read: Callable[[], Answer]) -> Answer:
        self._connection.execute("BEGIN")
        try:
            return read()
        finally:
            self._connection.execute("COMMIT")
