"""A SQLite store without room: writes say so, reads go on, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.small_disks import small_disk, use_up
from tests.support.stores import append, body_of, busy_writer, comes_back, delete, ids_of, outcome, put, using

from dspex_pool.store import Full
from dspex_pool.store.sqlite import SqliteStore
from dspex_pool.store.sqlite_tables import Tables

PAGE_BYTES = 4096


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with using(SqliteStore(tmp_path / "state.db", timeout_s=30.0)) as one:
        yield one


async def limit_pages(store: SqliteStore, pages: int) -> None:
    """Let the file have so many more pages, as on a disk that is nearly full."""

    def work(tables: Tables) -> None:
        (now,) = tables._connection.execute("PRAGMA page_count").fetchone()
        tables._connection.execute(f"PRAGMA max_page_count = {now + pages}")

    await store._do(store._writing, work)


async def fill(store: SqliteStore, body: bytes, name: str = "filler") -> list[str]:
    """Write until there is no room, sixteen at once; the ids of those that were acknowledged."""
    acknowledged: list[str] = []

    async def write(task: int) -> None:
        number = 0
        while True:
            id_ = f"{name}/{task}/{number}"
            try:
                await store.commit([put(id_, body), append(body, journal=id_)])
            except Full:
                return
            acknowledged.append(id_)
            number += 1

    await asyncio.gather(*(write(task) for task in range(16)))
    return sorted(acknowledged)


async def kept(store: SqliteStore, body: bytes) -> list[str]:
    """The ids of what is there, page by page; each is whole, and has its journal."""
    ids: list[str] = []
    while page := await store.scan("thing", after=ids[-1] if ids else "", limit=500):
        assert {body} == {record.body for record in page}
        ids += ids_of(page)
    for id_ in ids:
        assert [body] == [entry.body for entry in await store.entries(id_)]
    return ids


def check(path: Path) -> None:
    """SQLite itself finds no fault."""
    with closing(sqlite3.connect(path)) as connection:
        assert [("ok",)] == connection.execute("PRAGMA quick_check").fetchall()


async def test_what_does_not_fit_is_refused(store: SqliteStore) -> None:
    """What is there stays and can be read; less still fits; deleting makes room."""
    await store.commit([put("before", b"x" * 40_000)])
    await limit_pages(store, 5)
    assert Full is await outcome(store.commit([put("large", b"x" * 10 * PAGE_BYTES)]))
    assert (b"x" * 40_000, None) == (await body_of(store, "before"), await body_of(store, "large"))
    assert [1] == await store.commit([put("small")])
    await store.commit([delete("before")])
    assert [1] == await store.commit([put("large", b"x" * 8 * PAGE_BYTES)])


async def test_one_that_does_not_fit_takes_no_other_along(store: SqliteStore) -> None:
    """Those that were in its transaction are made without it."""
    await limit_pages(store, 5)
    async with busy_writer(store):
        before = asyncio.create_task(store.commit([append()]))
        large = asyncio.create_task(outcome(store.commit([put("large", b"x" * 10 * PAGE_BYTES)])))
        after = asyncio.create_task(store.commit([append()]))
        await asyncio.sleep(0)
    assert ([1], Full, [2]) == (await before, await large, await after)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("body_bytes", [10, 3000, 50_000])
async def test_a_disk_that_fills_up(tmp_path: Path, full: bool, body_bytes: int) -> None:
    """All that was acknowledged is there, and nothing else; with room again it goes on."""
    body = b"x" * body_bytes
    with small_disk(tmp_path / "disk", 2048) as disk:
        path = disk / "state.db"
        ballast = disk / "ballast"
        async with using(SqliteStore(path, full=full, timeout_s=30.0)) as store:
            ballast.write_bytes(bytes(512 * 1024))
            acknowledged = await fill(store, body)
            assert acknowledged
            assert acknowledged == await kept(store, body)
            ballast.unlink()
            more = await comes_back(lambda: fill(store, body, "more"))
            assert more
            assert sorted(acknowledged + more) == await kept(store, body)
        check(path)
        async with using(SqliteStore(path, full=full, timeout_s=30.0)) as again:
            assert sorted(acknowledged + more) == await kept(again, body)


@pytest.mark.slow
async def test_a_store_that_is_opened_without_room(tmp_path: Path) -> None:
    """It says so, and is there as soon as there is some, without another `open`."""
    with small_disk(tmp_path / "disk", 512) as disk:
        async with using(SqliteStore(disk / "state.db", timeout_s=30.0)) as first:
            await first.commit([put()])
        ballast = disk / "ballast"
        use_up(ballast)
        store = SqliteStore(disk / "state.db", timeout_s=30.0)
        assert Full is await outcome(store.open())
        assert Full is await outcome(store.commit([put()]))
        ballast.unlink()
        assert [2] == await comes_back(lambda: store.commit([put()]))
        assert b"body" == await comes_back(lambda: body_of(store))
        await store.close()


@pytest.mark.slow
async def test_a_new_store_without_room(tmp_path: Path) -> None:
    """As above, and no half of a file is taken for one."""
    with small_disk(tmp_path / "disk", 512) as disk:
        ballast = disk / "ballast"
        use_up(ballast)
        store = SqliteStore(disk / "state.db", timeout_s=30.0)
        assert Full is await outcome(store.open())
        ballast.unlink()
        assert [1] == await comes_back(lambda: store.commit([put()]))
        await store.close()
