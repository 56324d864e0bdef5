"""Places where stores live, for the one suite that all of them must pass.

A backend joins with a fixture `new_<name>_place` and its name in `BACKENDS` of
`tests/store/conftest.py`; nothing else in the suite knows which one it runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from dspex_pool.store import Append, Delete, Drop, Key, Put, Record, Store, StoreError
from dspex_pool.store.memory import MemoryStore
from dspex_pool.store.sqlite import SqliteStore
from dspex_pool.store.sqlite_tables import Tables

Answer = TypeVar("Answer")
Opened = TypeVar("Opened", bound=Store)

SHORT_S = 0.05
"""A time to live that a test waits for. Others are a minute: machines stall, and it must not end before."""

LONG_S = 60.0


class Place(Protocol):
    """Where records are kept; empty at first. Nothing of it is seen from another place."""

    def build(self) -> Store:
        """A store of this place, not open; all that are built share what is kept."""
        ...

    async def advance(self, seconds: float) -> None:
        """Let so much time go by, by the store's clock."""
        ...

    async def remove(self) -> None:
        """Leave nothing behind; its stores are closed before."""
        ...


class MemoryPlace:
    """The memory of one store; it is the same object each time, since what it keeps is in it."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._store = MemoryStore(lambda: self._now_s)

    def build(self) -> Store:
        return self._store

    async def advance(self, seconds: float) -> None:
        self._now_s += seconds

    async def remove(self) -> None:
        """The garbage collector does."""


class SqlitePlace:
    """A file in a folder of the test's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.db"

    def build(self) -> Store:
        return SqliteStore(self.path, timeout_s=30.0)  # it bounds what hangs; slowness is no failure here

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def remove(self) -> None:
        """Pytest removes the folder."""


NewPlace = Callable[[], Place]


def key(id_: str = "k", collection: str = "thing") -> Key:
    return Key(collection, id_)


def put(
    id_: str = "k",
    body: bytes = b"body",
    *,
    expect: int | None = None,
    ttl_s: float | None = None,
    collection: str = "thing",
) -> Put:
    return Put(key=Key(collection, id_), body=body, expect=expect, ttl_s=ttl_s)


def delete(id_: str = "k", *, expect: int | None = None) -> Delete:
    return Delete(key=key(id_), expect=expect)


def append(body: bytes = b"entry", *, journal: str = "j", after: int | None = None) -> Append:
    return Append(journal=journal, body=body, after=after)


def drop(journal: str = "j") -> Drop:
    return Drop(journal=journal)


async def body_of(store: Store, id_: str = "k") -> bytes | None:
    """What a record holds; None for what is not there."""
    (record,) = await store.get([key(id_)])
    return None if record is None else record.body


async def revision_of(store: Store, id_: str = "k") -> int:
    """At which revision a record is; 0 for what is not there."""
    (record,) = await store.get([key(id_)])
    return 0 if record is None else record.revision


def ids_of(records: list[Record]) -> list[str]:
    return [record.key.id for record in records]


@contextlib.asynccontextmanager
async def using(store: Opened) -> AsyncGenerator[Opened]:
    """A store, open meanwhile."""
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def comes_back(answer: Callable[[], Awaitable[Answer]], within_s: float = 5.0) -> Answer:
    """Ask until there is an answer.

    Raises:
        StoreError: the last one, when there is none in time.
    """
    end_s = time.monotonic() + within_s
    while True:
        try:
            return await answer()
        except StoreError:
            if time.monotonic() > end_s:
                raise
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def busy_writer(store: SqliteStore) -> AsyncGenerator[asyncio.Task[object]]:
    """The writer's thread is in the middle of something meanwhile."""
    begun, go_on = threading.Event(), threading.Event()

    def work(tables: Tables) -> None:
        begun.set()
        go_on.wait(60.0)

    task = asyncio.create_task(store._do(store._writing, work))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    try:
        yield task
    finally:
        go_on.set()


async def outcome(answer: Awaitable[Answer]) -> Answer | type[Exception]:
    """What came, or the type of the error that did."""
    try:
        return await answer
    except Exception as failure:
        return type(failure)
