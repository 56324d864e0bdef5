"""A store in PostgreSQL. What it keeps where, and how a commit is made, is in `postgres_schema.py`.

What is left when PostgreSQL or its machine dies is a matter of `synchronous_commit` and of its
replicas: docs/store.md says it in plain words. That acknowledged state is missing after such an
event is found out by `postgres_history.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from .connections import Connections
from .failures import Conflict, Fenced, Held, ReadOnly, Refused, Unavailable
from .limits import LEASE_MEMORY_S, check_commit, check_entries, check_keys, check_lease, check_scan
from .postgres_changes import arguments_of
from .postgres_history import History
from .postgres_schema import (
    COMMIT,
    ENTER,
    ENTRIES,
    ESTABLISH,
    EXPIRE,
    FUNCTIONS,
    GET,
    GREET,
    LEASE,
    LOCK,
    MAKE_SCHEMA,
    MEET,
    NOW,
    RELEASE,
    SCAN_BACKWARDS,
    SCAN_FORWARDS,
    SCHEMA,
    TABLES,
)
from .postgres_wire import PostgresAddress, PostgresWire, Row, Vanished, timeout_ms
from .records import Append, Change, Drop, Entry, Fence, Key, Lease, Record
from .server_clock import MICROSECONDS, microseconds

CONNECTIONS: Final = 4
"""Each is a process of the server's; a commit waits for the disk, and others go on meanwhile."""

WRITER_MEMORY_S: Final = 30 * 86_400.0
"""How long the count of a connection is kept: longer than any process stands still and goes on."""

_DONE, _CONFLICT, _FENCED, _LATE = range(4)

Answer = TypeVar("Answer")


class PostgresStore:
    """A store in one database of a PostgreSQL, 12 or later.

    Args:
        url: `postgresql://user:password@host:port/database`.
        timeout_s: How long any method may take.

    Raises:
        ValueError: when the URL is none; the message holds nothing of it.
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        self._address = PostgresAddress(url)
        self._timeout_s = timeout_s
        self._history = History(self.name)
        self._connections = Connections(self.name, self._connect, CONNECTIONS, timeout_s)

    def __repr__(self) -> str:
        return f"<PostgresStore {self.name}>"

    @property
    def name(self) -> str:
        """`postgresql:host:port/database`."""
        return str(self._address)

    async def open(self) -> None:
        """See `Store.open`."""
        self._connections.open()
        await self._rows(NOW)  # connecting does the rest, each time

    async def close(self) -> None:
        """See `Store.close`. What was seen is forgotten: to open it again is to accept a loss."""
        await self._connections.close()
        self._history.forget()

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """See `Store.get`."""
        check_keys(keys)
        collections = [key.collection.encode() for key in keys]
        found: list[Record | None] = [None] * len(keys)
        for position, revision, body in await self._rows(GET, collections, [key.id.encode() for key in keys]):
            found[position] = Record(keys[position], revision, body)
        return found

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
        least, most = _range(prefix.encode(), after.encode(), newest_first)
        statement = SCAN_BACKWARDS if newest_first else SCAN_FORWARDS
        rows = await self._rows(statement, collection.encode(), least, most, limit)
        return [Record(Key(collection, id_.decode()), revision, body) for id_, revision, body in rows]

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """See `Store.commit`."""
        check_commit(changes, fences)
        arguments = arguments_of(changes, fences)

        async def once(wire: PostgresWire) -> Sequence[int]:
            wire.require_writer()
            answer = await self._commit(wire, arguments)
            if answer[0] == _LATE:  # or the server's clock was set, and we know better now
                answer = await self._commit(wire, arguments)
            return answer

        match await self._ask(once, only_once=True):
            case [kind, _, _, *numbers] if kind == _DONE:
                return numbers
            case [kind, _, _, position, found] if kind == _CONFLICT:
                change = changes[position - 1]
                raise Conflict(change.journal if isinstance(change, Append | Drop) else change.key, found)
            case [kind, _, _, position] if kind == _FENCED:
                raise Fenced(fences[position - 1].name)
            case _:
                raise Unavailable(f"{self.name} got the commit too late, and has not made it")

    async def entries(self, journal: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Store.entries`."""
        check_entries(journal, after, limit)
        return [Entry(*row) for row in await self._rows(ENTRIES, journal.encode(), after, limit)]

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        """See `Store.lease`."""
        check_lease(name, owner, ttl_s)

        async def once(wire: PostgresWire) -> Row:
            wire.require_writer()
            (row,) = await wire.rows(LEASE, wire.writer, name.encode(), owner.encode(), microseconds(ttl_s))
            if row[0]:
                self._history.acknowledged(wire.writer, row[1])
            return row

        epoch, _, holder, remaining_us = await self._ask(once)
        if not epoch:
            raise Held(name, holder.decode(), remaining_us / MICROSECONDS)
        return Lease(name=name, owner=owner, epoch=epoch, ttl_s=ttl_s)

    async def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        await self._changed(RELEASE, lease.name.encode(), lease.epoch)

    async def expire(self, limit: int = 1000) -> int:
        """See `Store.expire`."""
        memories = microseconds(LEASE_MEMORY_S), microseconds(WRITER_MEMORY_S)
        ((count,),) = await self._changed(EXPIRE, limit, *memories, list(self._history.known()))
        return int(count)

    async def _rows(self, statement: str, *arguments: object) -> list[Row]:
        """What a statement gives that does no harm when it runs twice."""
        return await self._ask(lambda wire: wire.rows(statement, *arguments))

    async def _changed(self, statement: str, *arguments: object) -> list[Row]:
        """As `_rows`, for a statement that changes something."""

        async def change(wire: PostgresWire) -> list[Row]:
            wire.require_writer()
            return await wire.rows(statement, *arguments)

        return await self._ask(change)

    async def _ask(
        self, question: Callable[[PostgresWire], Awaitable[Answer]], *, only_once: bool = False
    ) -> Answer:
        self._history.check()
        try:
            return await self._connections.ask(question, only_once=only_once)
        except Vanished as vanished:
            self._history.find(str(vanished))
            raise

    async def _commit(self, wire: PostgresWire, arguments: Sequence[object]) -> Sequence[int]:
        answer: Sequence[int]
        ((answer,),) = await wire.rows(COMMIT, wire.clock.deadline_us(), wire.writer, *arguments)
        wire.clock.heard(answer[1])
        if answer[0] == _DONE:
            self._history.acknowledged(wire.writer, answer[2])
        return answer

    async def _connect(self) -> PostgresWire:
        self._history.check()
        wire = await PostgresWire.connect(self._address, self._timeout_s)
        try:
            await self._greet(wire)
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _greet(self, wire: PostgresWire) -> None:
        ((*_, has_schema, has_store, is_read_only),) = await wire.rows(GREET, timeout_ms(self._timeout_s))
        if not has_store:
            if self._history.has_seen:
                self._history.find("its tables are gone")
            if is_read_only:
                raise ReadOnly(f"{self.name} is read-only, and there is no store yet")
            await self._make_tables(wire, has_schema=has_schema)
        known = self._history.known()
        try:
            if is_read_only:
                rows = await wire.rows(MEET, list(known))
            else:
                wire.writer = secrets.token_hex(8)
                rows = await wire.rows(ENTER, list(known), wire.writer)
        except Vanished:
            raise Refused(f"{self.name} has a schema dspex that is not ours, or only part of it") from None
        store, schema, now_us, *_ = rows[0]
        if schema != SCHEMA:
            raise Refused(f"{self.name} is of schema {schema}, and this server knows {SCHEMA}")
        self._history.greet(store, {writer: commits for *_, writer, commits in rows}, known)
        wire.clock.heard(now_us)
        wire.is_new = True

    async def _make_tables(self, wire: PostgresWire, *, has_schema: bool) -> None:
        """Make what is not there. Who comes second at the same time waits, and finds it all made."""
        establish = ESTABLISH.format(id=secrets.token_hex(8), schema=SCHEMA)
        make_schema = "" if has_schema else MAKE_SCHEMA
        await wire.execute(
            f"SELECT pg_advisory_xact_lock({LOCK});{make_schema}{TABLES}{FUNCTIONS}{establish}"
        )


def _range(prefix: bytes, after: bytes, newest_first: bool) -> tuple[bytes, bytes | None]:
    """The ids of a list: from the first of these on, to before the second. No id has 0xFF, nor a NUL."""
    end = prefix + b"\xff" if prefix else None
    if not after:
        return prefix, end
    if newest_first:
        return prefix, after if end is None else min(after, end)
    return max(prefix, after + b"\0"), end
