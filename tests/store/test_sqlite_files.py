"""The file of a SQLite store: whose it is, what is refused, and what happens when it goes away."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.small_disks import allow_writes, view_of, without_permission
from tests.support.stores import body_of, comes_back, outcome, put, using

from dspex_pool.store import Damaged, ReadOnly, Refused, Rewound, Unavailable
from dspex_pool.store.sqlite import SqliteStore
from dspex_pool.store.sqlite_clock import Clocks, Reading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dspex" / "state.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """An open one."""
    async with using(SqliteStore(path, timeout_s=30.0)) as one:
        yield one


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_nobody_else_may_read_it(path: Path) -> None:
    """Nor its log, nor its folder, whatever the umask allows."""
    mask = os.umask(0)
    try:
        async with using(SqliteStore(path, timeout_s=30.0)) as store:
            await store.commit([put()])
            assert 0o700 == mode_of(path.parent)
            names = ["state.db", "state.db-shm", "state.db-wal"]
            assert names == sorted(one.name for one in path.parent.iterdir())
            assert [0o600] * 3 == [mode_of(path.parent / name) for name in names]
    finally:
        os.umask(mask)


async def test_a_folder_that_is_there_keeps_its_rights(path: Path) -> None:
    """It may be shared on purpose."""
    path.parent.mkdir(mode=0o755)
    async with using(SqliteStore(path, timeout_s=30.0)):
        assert 0o755 == mode_of(path.parent)


async def test_a_closed_store_is_one_file(path: Path) -> None:
    """What was in the log is in it, and it can be copied."""
    async with using(SqliteStore(path, timeout_s=30.0)) as store:
        await store.commit([put()])
    assert ["state.db"] == [one.name for one in path.parent.iterdir()]


def test_its_name_tells_the_file(path: Path) -> None:
    """As one may write it in the settings."""
    assert f"sqlite:{path}" == SqliteStore(path).name


async def test_strange_paths_are_paths(tmp_path: Path) -> None:
    """None of their characters means anything to SQLite."""
    path = tmp_path / "a?mode=memory&x=%41#ü 'q'.db"
    async with using(SqliteStore(path, timeout_s=30.0)) as store:
        await store.commit([put()])
        assert path.exists()


async def test_another_programs_database_is_left_alone(path: Path) -> None:
    """Refused, and not a byte of it is changed."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE records (x)")
    before = path.read_bytes()
    assert Refused is await outcome(SqliteStore(path).open())
    assert before == path.read_bytes()


async def test_a_newer_schema_is_left_alone(path: Path) -> None:
    """Refused with both versions, and not a byte of it is changed."""
    async with using(SqliteStore(path, timeout_s=30.0)):
        pass
    with closing(sqlite3.connect(path)) as later, later:
        later.execute("UPDATE meta SET schema = 7")
    before = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(Refused, match="schema 7, and this version of dspex knows 1"):
        await store.open()
    assert Refused is await outcome(store.get([put().key]))
    await store.close()
    assert before == path.read_bytes()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 8000])
async def test_what_is_no_database_is_damaged(path: Path, content: bytes) -> None:
    """And left alone."""
    path.parent.mkdir()
    path.write_bytes(content)
    store = SqliteStore(path)
    assert Damaged is await outcome(store.open())
    assert Damaged is await outcome(store.commit([put()]))
    await store.close()
    assert content == path.read_bytes()


@pytest.mark.slow
async def test_a_broken_page_is_damage(path: Path) -> None:
    """Of what is on it only: other records are there, and so is the store."""
    async with using(SqliteStore(path, timeout_s=30.0)) as store:
        await store.commit([put("a", b"A" * 4000), put("b", b"B" * 200_000)])
        await store.commit([put("c", b"C" * 4000)])
    content = bytearray(path.read_bytes())
    content[content.index(b"A" * 100) - 200 : content.index(b"A" * 100)] = b"\xff" * 200
    path.write_bytes(content)
    async with using(SqliteStore(path, timeout_s=30.0)) as store:
        assert Damaged is await outcome(body_of(store, "a"))
        assert b"C" * 4000 == await comes_back(lambda: body_of(store, "c"))


async def test_tables_that_are_missing_are_damage(path: Path) -> None:
    """Somebody has been at it."""
    async with using(SqliteStore(path, timeout_s=30.0)):
        pass
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DROP TABLE leases")
    async with using(SqliteStore(path, timeout_s=30.0)) as store:
        assert Damaged is await outcome(store.lease("s", "me", 1.0))


async def test_a_file_over_a_network_is_refused(path: Path) -> None:
    """Before anything is made."""
    store = SqliteStore(path, mounts=lambda: f"server:/ {path.parent.parent} nfs4 rw 0 0\n")
    with pytest.raises(Refused, match="nfs4"):
        await store.open()
    await store.close()
    assert not path.parent.exists()


async def test_a_link_into_a_network_is_refused(path: Path, tmp_path: Path) -> None:
    """What counts is where the file is."""
    real = tmp_path / "real"
    real.mkdir()
    path.parent.symlink_to(real)
    store = SqliteStore(path, mounts=lambda: f"me@host: {real} fuse.sshfs rw 0 0\n")
    assert Refused is await outcome(store.open())
    await store.close()


async def test_a_folder_is_no_file(path: Path) -> None:
    """Refused."""
    path.mkdir(parents=True)
    store = SqliteStore(path)
    assert Refused is await outcome(store.open())
    await store.close()


@pytest.mark.slow
async def test_a_folder_that_cannot_be(path: Path) -> None:
    """A file stands in its way; once that is gone all is well, without another `open`."""
    path.parent.write_text("in the way")
    store = SqliteStore(path)
    assert Unavailable is await outcome(store.open())
    assert [Unavailable] * 2 == [await outcome(store.commit([put()])), await outcome(body_of(store))]
    path.parent.unlink()
    assert [1] == await comes_back(lambda: store.commit([put()]))
    assert b"body" == await comes_back(lambda: body_of(store))
    await store.close()


@pytest.mark.slow
async def test_a_folder_without_permission(path: Path) -> None:
    """Refused, until there is permission."""
    path.parent.mkdir()
    store = SqliteStore(path)
    with without_permission(path.parent):
        with pytest.raises(Refused, match="ermission"):
            await store.open()
        assert Refused is await outcome(store.commit([put()]))
    assert [1] == await comes_back(lambda: store.commit([put()]))
    await store.close()


@pytest.mark.slow
async def test_reads_go_on_where_nothing_can_be_written(path: Path, tmp_path: Path) -> None:
    """A closed store on a read-only file system; writes fail until they are possible."""
    async with using(SqliteStore(path, timeout_s=30.0)) as first:
        await first.commit([put()])
    with view_of(path.parent, tmp_path / "view") as view:
        async with using(SqliteStore(view / path.name)) as store:
            assert (b"body", ReadOnly) == (await body_of(store), await outcome(store.commit([put()])))
            assert ReadOnly is await outcome(store.lease("s", "me", 1.0))
            allow_writes(view)
            assert [2] == await comes_back(lambda: store.commit([put()]))


@pytest.mark.parametrize("without", ["nothing", "state.db-shm"])
async def test_a_log_that_cannot_be_taken_in_counts(path: Path, tmp_path: Path, without: str) -> None:
    """A writer was killed, and then the file system became read-only: what it acknowledged is there.

    Where SQLite cannot read the log without its shared memory, nothing is read: it would be old.
    """
    async with using(SqliteStore(path, timeout_s=30.0)) as first:
        await first.commit([put(body=b"in the log")])
        left = tmp_path / "left"
        shutil.copytree(path.parent, left)
    assert (left / "state.db-wal").stat().st_size > 0
    (left / without).unlink(missing_ok=True)
    with view_of(left, tmp_path / "view") as view:
        store = SqliteStore(view / path.name)
        assert await outcome(body_of(store)) in ([b"in the log"] if without == "nothing" else [ReadOnly])
        await store.close()


async def test_a_file_without_the_right_to_write(path: Path) -> None:
    """As above, for one whose owner has made it so; root may write to anything."""
    if os.geteuid() == 0:
        pytest.skip("root may write to anything")
    async with using(SqliteStore(path, timeout_s=30.0)) as first:
        await first.commit([put()])
    path.chmod(0o400)
    async with using(SqliteStore(path, timeout_s=30.0)) as store:
        assert (b"body", ReadOnly) == (await body_of(store), await outcome(store.commit([put()])))


@pytest.mark.slow
async def test_a_file_that_was_removed(store: SqliteStore, path: Path) -> None:
    """What was acknowledged is gone with it, so nothing is written to nowhere; no new one is made."""
    await store.commit([put()])
    path.unlink()
    await comes_to_be(store, Rewound)
    assert not path.exists()
    assert Rewound is await outcome(store.open())  # which alone does not make it good again


@pytest.mark.slow
async def test_a_file_that_was_away(store: SqliteStore, path: Path) -> None:
    """It is the same when it comes back, and so is all that is in it."""
    await store.commit([put()])
    path.rename(path.with_suffix(".away"))
    await comes_to_be(store, Rewound)
    path.with_suffix(".away").rename(path)
    (revision,) = await comes_back(lambda: store.commit([put()]))
    assert revision > 1
    assert b"body" == await comes_back(lambda: body_of(store))


@pytest.mark.slow
async def test_a_file_that_was_replaced(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """By a backup, say: it is not touched until the store is closed and opened.

    What was in the log of the former one goes into that, and not into the new one.
    """
    backup = tmp_path / "backup.db"
    async with using(SqliteStore(backup, timeout_s=30.0)) as other:
        await other.commit([put(body=b"old")])
    await store.commit([put(body=b"new")])
    before = backup.read_bytes()
    path.rename(tmp_path / "former.db")
    backup.replace(path)
    await comes_to_be(store, Rewound)
    assert before == path.read_bytes()
    await store.close()
    await store.open()
    assert b"old" == await body_of(store)
    async with using(SqliteStore(tmp_path / "former.db", timeout_s=30.0)) as former:
        assert b"body" == await body_of(former)


async def comes_to_be(store: SqliteStore, error: type[Exception]) -> None:
    """Both reads and writes fail so, within the time in which it is noticed."""

    async def noticed() -> None:
        seen = [await outcome(store.commit([put()])), await outcome(body_of(store))]
        if [error] * 2 != seen:
            raise Unavailable(f"not yet: {seen}")

    await comes_back(noticed)


class Elsewhere(Clocks):
    """Clocks that a test sets."""

    def __init__(self, boot_id: str, boot_s: float, wall_s: float) -> None:
        self.now = Reading(boot_id=boot_id, boot_s=boot_s, wall_s=wall_s)

    def since_boot_s(self) -> float:
        return self.now.boot_s

    def read(self) -> Reading:
        return self.now


async def test_times_go_on_across_boots(path: Path) -> None:
    """A record for an hour is there half an hour later, and not after another, whatever happened."""
    clocks = Elsewhere("one", 5000.0, 1e9)
    async with using(SqliteStore(path, timeout_s=30.0, clocks=clocks)) as store:
        await store.commit([put(ttl_s=3600.0)])
        clocks.now = replace(clocks.now, wall_s=5e9)  # somebody sets the clock
        assert b"body" == await body_of(store)
    later = Elsewhere("two", 3.0, 1e9 + 1800.0)
    async with using(SqliteStore(path, timeout_s=30.0, clocks=later)) as store:
        assert b"body" == await body_of(store)
        later.now = replace(later.now, boot_s=1803.0)
        assert None is await body_of(store)


async def test_processes_of_a_boot_have_one_time(path: Path) -> None:
    """The first one says what it is; the wall clock may be set before the second one comes."""
    async with using(SqliteStore(path, timeout_s=30.0, clocks=Elsewhere("one", 0.0, 1e9))):
        pass
    first = SqliteStore(path, timeout_s=30.0, clocks=Elsewhere("two", 5.0, 1e9))
    second = SqliteStore(path, timeout_s=30.0, clocks=Elsewhere("two", 5.0, 2e9))
    async with using(first), using(second):
        assert first._file.clock is not None
        assert second._file.clock is not None
        assert first._file.clock.now_s() == second._file.clock.now_s()


async def test_the_anchor_moves_with_writes(path: Path) -> None:
    """So a boot with a wall clock that was set back costs a minute at most."""
    clocks = Elsewhere("one", 0.0, 1e9)
    async with using(SqliteStore(path, timeout_s=30.0, clocks=clocks)) as store:
        clocks.now = replace(clocks.now, boot_s=1e6)
        await store.commit([put(ttl_s=3600.0)])
    wrong = Elsewhere("two", 0.0, 0.0)
    async with using(SqliteStore(path, timeout_s=30.0, clocks=wrong)) as store:
        assert b"body" == await body_of(store)
        wrong.now = replace(wrong.now, boot_s=3600.0)
        assert None is await body_of(store)


async def test_readers_of_a_read_only_store_have_its_time(path: Path, tmp_path: Path) -> None:
    """They work it out from the anchor that they find."""
    clocks = Elsewhere("one", 10.0, 1e9)
    async with using(SqliteStore(path, timeout_s=30.0, clocks=clocks)) as first:
        await first.commit([put("short", ttl_s=60.0), put("long", ttl_s=3600.0)])
    later = Elsewhere("two", 3.0, 1e9 + 600.0)
    with view_of(path.parent, tmp_path / "view") as view:
        async with using(SqliteStore(view / path.name, clocks=later)) as store:
            assert (None, b"body") == (await body_of(store, "short"), await body_of(store, "long"))
