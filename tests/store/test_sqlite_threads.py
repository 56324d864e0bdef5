"""The threads of a SQLite store: group commit, time limits, and callers that leave."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.stores import append, body_of, busy_writer, comes_back, outcome, put, using

from dspex_pool.store import Conflict, Damaged, Full, Lease, StoreError, Unavailable
from dspex_pool.store.sqlite import SqliteStore
from dspex_pool.store.sqlite_grip import PAUSE_S, Grip
from dspex_pool.store.sqlite_lane import MAX_WAITING, Job
from dspex_pool.store.sqlite_servants import Writer
from dspex_pool.store.sqlite_tables import Tables

LIMIT_S = 0.3
LEASE = Lease(name="s", owner="me", epoch=1, ttl_s=1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """One that waits for half a minute."""
    async with using(SqliteStore(path, timeout_s=30.0)) as one:
        yield one


@pytest_asyncio.fixture
async def hasty(path: Path) -> AsyncIterator[SqliteStore]:
    """One that waits for a third of a second."""
    one = SqliteStore(path, timeout_s=LIMIT_S)
    await comes_back(one.open)
    yield one
    await one.close()


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Another connection is writing meanwhile, as another process would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many writes each transaction had."""
    sizes: list[int] = []
    original = Writer._transact

    def counted(self: Writer, connection: sqlite3.Connection, jobs: list[Any]) -> Any:
        sizes.append(len(jobs))
        return original(self, connection, jobs)

    monkeypatch.setattr(Writer, "_transact", counted)
    return sizes


async def test_writes_that_wait_are_one_transaction(store: SqliteStore, transactions: list[int]) -> None:
    """Each is answered for itself."""
    async with busy_writer(store):
        together = [asyncio.create_task(store.commit([append()])) for _ in range(100)]
        await asyncio.sleep(0)
    assert [[number] for number in range(1, 101)] == await asyncio.gather(*together)
    assert 100 in transactions


async def test_refused_writes_do_not_undo_their_neighbours(
    store: SqliteStore, transactions: list[int]
) -> None:
    """They share a transaction, and have written nothing to it."""
    await store.commit([put("taken")])
    async with busy_writer(store):
        wanted = [
            store.commit([put(f"new/{n}"), put("taken", expect=99 * (n % 2) or None)]) for n in range(20)
        ]
        together = [asyncio.create_task(outcome(one)) for one in wanted]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*together)
    assert [True, False] * 10 == [answer is not Conflict for answer in answers]
    assert [b"body", None] * 10 == [await body_of(store, f"new/{n}") for n in range(20)]
    assert 20 in transactions


async def test_a_write_that_cannot_be_takes_no_other_along(
    store: SqliteStore, transactions: list[int]
) -> None:
    """A mistake of ours goes to who made it; the others are made without it."""
    async with busy_writer(store):
        wrong = asyncio.create_task(outcome(store.commit([put("a"), put("b", None)])))  # type: ignore[arg-type]
        right = [asyncio.create_task(store.commit([append()])) for _ in range(5)]
        await asyncio.sleep(0)
    assert [[number] for number in range(1, 6)] == await asyncio.gather(*right)
    assert TypeError is await wrong
    assert None is await body_of(store, "a")


async def test_a_mistake_of_sqlites_kind_takes_no_other_along(
    store: SqliteStore, transactions: list[int]
) -> None:
    """It is found out after something was written: the transaction is undone, and each made alone."""

    def work(tables: Tables) -> None:
        tables.commit([put("undone")], [])
        tables._connection.execute("INSERT INTO entries VALUES (NULL, NULL, NULL)")

    async with busy_writer(store):
        before = asyncio.create_task(store.commit([append()]))
        wrong = asyncio.create_task(outcome(store._do(store._writing, work)))
        after = asyncio.create_task(store.commit([append()]))
        await asyncio.sleep(0)
    assert [[1], [2]] == [await before, await after]
    assert sqlite3.IntegrityError is await wrong
    assert None is await body_of(store, "undone")
    assert [3, 1, 1, 1] == transactions[-4:]


async def test_reads_do_not_wait_for_a_write(store: SqliteStore) -> None:
    """They see what is acknowledged, and nothing of what is not."""
    await store.commit([put(body=b"before")])
    async with busy_writer(store) as task:
        assert b"before" == await body_of(store)
        assert not task.done()


async def test_who_waits_too_long_hears_so(hasty: SqliteStore) -> None:
    """The one that was begun may have happened; the one that only waited has not, and never will."""
    async with busy_writer(hasty) as task:
        with pytest.raises(Unavailable) as waited:
            await hasty.commit([put()])
        with pytest.raises(Unavailable) as worked:
            await task
    assert (False, True) == (waited.value.maybe_applied, worked.value.maybe_applied)
    assert [1] == await comes_back(lambda: hasty.commit([put(expect=0)]))


async def test_another_process_that_writes_for_long(hasty: SqliteStore, path: Path) -> None:
    """Writes fail in time with the reason, reads go on, and afterwards all is well."""
    await hasty.commit([put("before")])
    with locked(path):
        with pytest.raises(Unavailable, match="another process is writing") as caught:
            await hasty.commit([put()])
        assert not caught.value.maybe_applied
        assert b"body" == await body_of(hasty, "before")
    assert [1] == await comes_back(lambda: hasty.commit([put(expect=0)]))


async def test_another_process_that_writes_for_a_while(store: SqliteStore, path: Path) -> None:
    """A write waits for it, and goes through."""
    with locked(path):
        writing = asyncio.create_task(store.commit([put()]))
        await asyncio.sleep(0.1)
        assert not writing.done()
    assert [1] == await writing


async def test_a_write_that_was_cancelled_in_line_is_never_made(store: SqliteStore) -> None:
    """It had not been begun."""
    async with busy_writer(store):
        cancelled = asyncio.create_task(store.commit([put()]))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
    await store.commit([append()])
    assert None is await body_of(store)


async def test_a_write_that_was_cancelled_at_work_is_whole(store: SqliteStore) -> None:
    """Its answer goes to nobody."""
    async with busy_writer(store) as task:
        task.cancel()
        await asyncio.wait([task])
        waiting = asyncio.create_task(store.commit([append(), put()]))
        await asyncio.sleep(0)
    assert [1, 1] == await waiting


async def test_one_that_leaves_does_not_keep_the_others_from_their_answers(store: SqliteStore) -> None:
    """They were at work together, and hear of it in one call."""
    begun, go_on = threading.Event(), threading.Event()

    def work(tables: Tables) -> None:
        begun.set()
        go_on.wait(60.0)

    async with busy_writer(store):
        first = asyncio.create_task(store.commit([append()]))
        slow = asyncio.create_task(store._do(store._writing, work))
        last = asyncio.create_task(store.commit([append()]))
        await asyncio.sleep(0)
    while not begun.is_set():
        await asyncio.sleep(0.001)
    first.cancel()
    await asyncio.wait([first])
    go_on.set()
    assert (None, [2]) == (await slow, await last)


async def test_what_was_given_up_holds_nothing() -> None:
    """It stays in line, perhaps for long, and what it would have written may be large."""
    job = Job(lambda tables: None, asyncio.get_running_loop().create_future())
    work = job.work
    assert (True, False) == (job.give_up(), job.begin())
    assert job.work is not work


async def test_a_fault_of_ours_does_not_end_the_thread(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits hears of it, and the next one is served."""

    def fail(self: Writer, inbox: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "serve", fail)
        assert ZeroDivisionError is await outcome(store.commit([put()]))
    assert [1] == await store.commit([put(expect=0)])


@pytest.mark.slow
async def test_a_connection_that_is_gone_is_made_anew(store: SqliteStore) -> None:
    """Not even a rollback is to be had of it."""
    with pytest.raises(sqlite3.ProgrammingError):
        await store._do(store._writing, lambda tables: tables._connection.close())
    assert [1] == await comes_back(lambda: store.commit([put(expect=0)]))


async def test_a_flood_is_refused_at_once(store: SqliteStore) -> None:
    """What the disk cannot take does not fill the memory."""
    async with busy_writer(store):
        flood = [asyncio.create_task(outcome(store.release(lease))) for lease in [LEASE] * (MAX_WAITING + 5)]
        await asyncio.sleep(0)
        refused = [one for one in flood if one.done()]
        assert [Unavailable] * 5 == [one.result() for one in refused]
    assert [None] * MAX_WAITING == [one for one in await asyncio.gather(*flood) if one is None]


async def test_a_closed_store_says_so(path: Path) -> None:
    """Closing again is no error, and it may be opened again."""
    store = SqliteStore(path, timeout_s=30.0)
    await store.open()
    await store.commit([put()])
    await store.close()
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        await store.commit([put()])
    assert Unavailable is await outcome(body_of(store))
    await store.open()
    assert b"body" == await body_of(store)
    await store.close()


async def test_writes_before_closing_are_made(path: Path) -> None:
    """They were in line before it."""
    store = SqliteStore(path, timeout_s=30.0)
    await store.open()
    writing = [asyncio.create_task(store.commit([append()])) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert [[number] for number in range(1, 21)] == await asyncio.gather(*writing)


async def test_closing_does_not_wait_for_ever(path: Path) -> None:
    """What the disk keeps is left to it."""
    store = SqliteStore(path, timeout_s=LIMIT_S)
    await comes_back(store.open)
    async with busy_writer(store) as task:
        await store.close()
        assert Unavailable is await outcome(task)


def test_threads_end_with_the_store(path: Path) -> None:
    """And there are none before it is opened."""
    others = set(threading.enumerate())

    def ours() -> list[threading.Thread]:
        return sorted(set(threading.enumerate()) - others, key=lambda thread: thread.name)

    async def open_and_close() -> None:
        store = SqliteStore(path, timeout_s=30.0)
        assert [] == ours()
        async with using(store):
            assert ["store-read", "store-write"] == [thread.name for thread in ours()]

    asyncio.run(open_and_close())
    for thread in ours():
        thread.join(5.0)
    assert [] == ours()


def test_a_loop_that_ends_in_between_harms_nothing(path: Path) -> None:
    """Answers for it go nowhere, and another loop uses the store."""
    store = SqliteStore(path, timeout_s=30.0)

    async def leave() -> None:
        await store.open()
        loop = asyncio.get_running_loop()
        loop.create_task(store.commit([put()]))  # noqa: RUF006 -- nobody keeps it
        await asyncio.sleep(0)

    async def use() -> None:
        assert len(await store.commit([put()])) == 1
        await store.close()

    asyncio.run(leave())
    asyncio.run(use())


async def test_full_and_normal_are_what_they_say(path: Path) -> None:
    """By SQLite's own word."""
    for full, expected in ((False, 1), (True, 2)):
        async with using(SqliteStore(path, full=full, timeout_s=30.0)) as store:
            found = await store._do(
                store._writing, lambda tables: tables._connection.execute("PRAGMA synchronous").fetchone()
            )
            assert (expected,) == found


class Doorkeeper:
    """A file that cannot be opened until it can, and counts who tries."""

    def __init__(self) -> None:
        self.path = Path("/nowhere/state.db")
        self.generation = 0
        self.tries = 0
        self.failure: Exception | None = Damaged("broken")

    def check_identity(self) -> None:
        """It is always the same."""

    def forget_identity(self) -> None:
        """As above."""

    def connect(self) -> sqlite3.Connection:
        self.tries += 1
        if self.failure is not None:
            raise self.failure
        return sqlite3.connect(":memory:")


def test_opening_is_tried_once_a_second() -> None:
    """Everybody else hears at once what was wrong the last time."""
    door, now_s = Doorkeeper(), 100.0
    grip = Grip(door, door.connect, lambda: now_s)  # type: ignore[arg-type]
    for expected in (1, 2, 3):
        for _ in range(50):
            with pytest.raises(Damaged, match="broken"):
                grip.take()
        assert expected == door.tries
        now_s += PAUSE_S
    door.failure = None
    grip.take()
    now_s += PAUSE_S
    assert (grip.take(), 4) == (grip.take(), door.tries)
    grip.drop()


def test_opening_by_hand_is_tried_at_once() -> None:
    """Whoever calls `open` has a reason."""
    door = Doorkeeper()
    grip = Grip(door, door.connect, lambda: 100.0)  # type: ignore[arg-type]
    for expected in (1, 2, 3):
        assert Damaged is _outcome(grip)
        assert expected == door.tries
        door.generation += 1


def test_a_connection_that_failed_is_made_anew() -> None:
    """But for one that is only out of room."""
    door, now_s = Doorkeeper(), 100.0
    door.failure = None
    grip = Grip(door, door.connect, lambda: now_s)  # type: ignore[arg-type]
    first = grip.take()
    assert isinstance(grip.failed(_failure(sqlite3.SQLITE_FULL)), Full)
    assert first is grip.take()
    assert isinstance(grip.failed(_failure(sqlite3.SQLITE_CORRUPT)), Damaged)
    assert Damaged is _outcome(grip)
    now_s += PAUSE_S
    assert (True, 2) == (first is not grip.take(), door.tries)
    grip.drop()


def _outcome(grip: Grip) -> type[StoreError] | None:
    try:
        grip.take()
    except StoreError as failure:
        return type(failure)
    return None


def _failure(code: int) -> sqlite3.Error:
    failure = sqlite3.OperationalError("it failed")
    failure.sqlite_errorcode = code
    return failure
