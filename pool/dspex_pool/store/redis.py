"""A store in Redis. What it keeps where is in `redis_scripts.py`.

Redis runs one script after the other, so a commit is all or nothing for whoever looks, and its
log on disk holds it as one piece. What is left of it when Redis or its machine dies is a matter
of how Redis is set up: docs/store.md says it in plain words. That acknowledged state is missing
after such an event is found out by `redis_history.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final

from .connections import Connections
from .failures import Conflict, Fenced, Held, ReadOnly, Refused, Unavailable
from .limits import LEASE_MEMORY_S, check_commit, check_entries, check_keys, check_lease, check_scan
from .records import Append, Change, Delete, Drop, Entry, Fence, Key, Lease, Put, Record
from .redis_history import Greeting, History
from .redis_scripts import (
    COMMIT,
    ENTRIES,
    EXPIRE,
    GET,
    HELLO,
    LEASE,
    RELEASE,
    SCAN,
    SCHEMA,
    Script,
    ids_key,
    journal_key,
    lease_key,
    record_key,
    records_start,
)
from .redis_wire import Answer, RedisAddress, RedisWire, Word
from .server_clock import MICROSECONDS, microseconds

CONNECTIONS: Final = 4
"""Redis does one thing at a time, so these only hide the way there and back."""


class RedisStore:
    """A store in one Redis, 6.2 or later.

    Args:
        url: `redis://user:password@host:port/database`, `rediss://` or `unix://`.
        timeout_s: How long any method may take.

    Raises:
        ValueError: when the URL is none; the message holds nothing of it.
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        self._address = RedisAddress(url)
        self._timeout_s = timeout_s
        self._history = History(self.name)
        self._connections = Connections(self.name, self._connect, CONNECTIONS, timeout_s)

    def __repr__(self) -> str:
        return f"<RedisStore {self.name}>"

    @property
    def name(self) -> str:
        """`redis:host:port/database`."""
        return str(self._address)

    async def open(self) -> None:
        """See `Store.open`."""
        self._connections.open()
        await self._run(GET)  # connecting does the rest, each time

    async def close(self) -> None:
        """See `Store.close`. What was seen is forgotten: to open it again is to accept a loss."""
        await self._connections.close()
        self._history.forget()

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """See `Store.get`."""
        check_keys(keys)
        if not keys:
            return []
        (found,) = await self._run(GET, *(record_key(*key) for key in keys))
        return [
            None if one is None else Record(key, int(one[0]), one[1])
            for key, one in zip(keys, found, strict=True)
        ]

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
        keys = ids_key(collection), records_start(collection)
        (found,) = await self._run(SCAN, *keys, least, most, limit, int(newest_first))
        rows = zip(found[::3], found[1::3], found[2::3], strict=True)
        return [Record(Key(collection, id_.decode()), int(revision), body) for id_, revision, body in rows]

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """See `Store.commit`."""
        check_commit(changes, fences)
        words = [*_words_of_fences(fences), *(word for change in changes for word in _words(change))]

        async def once(wire: RedisWire) -> Answer:
            answer = await self._question(wire, COMMIT, wire.clock.deadline_us(), *words)
            if answer[0] in {b"done", b"late"}:
                wire.clock.heard(int(answer[1]))
            if answer[0] == b"late":  # perhaps only since Redis's clock was set
                answer = await self._question(wire, COMMIT, wire.clock.deadline_us(), *words)
            return answer

        match await self._ask(once, only_once=True):
            case [b"done", _, numbers]:
                return [int(number) for number in numbers]
            case [b"conflict", position, found]:
                change = changes[int(position) - 1]
                raise Conflict(
                    change.journal if isinstance(change, Append | Drop) else change.key, int(found)
                )
            case [b"fenced", position]:
                raise Fenced(fences[int(position) - 1].name)
            case _:
                raise Unavailable(f"{self.name} got the commit too late, and has not made it")

    async def entries(self, journal: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Store.entries`."""
        check_entries(journal, after, limit)
        (bodies,) = await self._run(ENTRIES, journal_key(journal), after, after + limit - 1)
        return [Entry(number, body) for number, body in enumerate(bodies, after + 1)]

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        """See `Store.lease`."""
        check_lease(name, owner, ttl_s)
        match await self._run(LEASE, name, owner, microseconds(ttl_s)):
            case [b"done", epoch]:
                return Lease(name=name, owner=owner, epoch=int(epoch), ttl_s=ttl_s)
            case [_, other, remaining_us]:
                raise Held(name, other.decode(), int(remaining_us) / MICROSECONDS)
            case answer:
                raise AssertionError(answer)

    async def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        await self._run(RELEASE, lease.name, lease.epoch)

    async def expire(self, limit: int = 1000) -> int:
        """See `Store.expire`."""
        (count,) = await self._run(EXPIRE, limit, microseconds(LEASE_MEMORY_S))
        return int(count)

    async def _run(self, script: Script, *words: Word) -> Answer:
        """The answer of a script that does no harm when it runs twice."""
        return await self._ask(lambda wire: self._question(wire, script, *words))

    async def _ask(
        self, question: Callable[[RedisWire], Awaitable[Answer]], *, only_once: bool = False
    ) -> Answer:
        self._history.check()
        return await self._connections.ask(question, only_once=only_once)

    async def _question(self, wire: RedisWire, script: Script, *words: Word) -> Answer:
        seen = self._history.commits
        store, commits, *answer = await wire.run(script, *words)
        self._history.answer(store, int(commits or 0), seen)
        return answer

    async def _connect(self) -> RedisWire:
        self._history.check()
        wire = RedisWire(self._address, self._timeout_s)
        try:
            await wire.connect()
            await self._greet(wire)
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _greet(self, wire: RedisWire) -> None:
        server = _fields(await wire.ask(b"INFO"))
        _check_server(server, self.name)
        is_replica = server.get("role") == "slave"
        seen = self._history.commits
        store, schema, commits, now_us, era, eras = await wire.run(
            HELLO, "" if is_replica else server["run_id"], secrets.token_hex(8), SCHEMA, self._history.era
        )
        if not store and is_replica:
            if seen:
                raise Unavailable(f"{self.name} is a replica that lags behind")
            raise ReadOnly(f"{self.name} is a replica, and there is no store yet")
        if int(schema) != SCHEMA:
            raise Refused(f"{self.name} is of schema {int(schema)}, and this server knows {SCHEMA}")
        wire.clock.heard(int(now_us))
        self._history.greet(
            Greeting(
                store=store or None,
                commits=int(commits),
                era=int(era),
                eras=tuple(eras),
                is_replica=is_replica,
            ),
            seen,
        )


def _check_server(server: dict[str, str], name: str) -> None:
    """See that Redis will keep what it acknowledges.

    Raises:
        Refused: with the reason.
    """
    policy = server.get("maxmemory_policy", "")
    if policy.startswith("allkeys"):
        raise Refused(
            f"{name} drops any key when its memory is full (maxmemory-policy {policy}): noeviction is needed"
        )
    if server.get("cluster_enabled") == "1":
        raise Refused(f"{name} is a Redis Cluster; one Redis is needed, with replicas or without")
    if "run_id" not in server:
        raise Refused(f"{name} does not say what it is (INFO)")


def _fields(info: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in pairs if colon}


def _range(prefix: bytes, after: bytes, newest_first: bool) -> tuple[bytes, bytes]:
    """The least and the most id of a list, as ZRANGEBYLEX wants them: `(` without, `[` with it."""
    least, most = (b"[" + prefix, b"(" + prefix + b"\xff") if prefix else (b"-", b"+")
    if not after:
        return least, most
    if newest_first:
        return least, b"(" + (min(after, prefix + b"\xff") if prefix else after)
    return (b"(" + after if after >= prefix else least), most


def _words_of_fences(fences: Sequence[Fence]) -> Iterator[Word]:
    yield len(fences)
    for fence in fences:
        yield lease_key(fence.name)
        yield fence.epoch


def _words(change: Change) -> Iterable[Word]:
    """A change as the script reads it."""
    match change:
        case Put(key=key, body=body, expect=expect, ttl_s=ttl_s):
            where = b"P", record_key(*key), ids_key(key.collection), key.id
            return *where, body, _or_empty(expect), "" if ttl_s is None else microseconds(ttl_s)
        case Delete(key=key, expect=expect):
            return b"D", record_key(*key), ids_key(key.collection), key.id, _or_empty(expect)
        case Append(journal=journal, body=body, after=after):
            return b"A", journal_key(journal), body, _or_empty(after)
        case Drop(journal=journal):
            return b"X", journal_key(journal)


def _or_empty(number: int | None) -> Word:
    return "" if number is None else number
