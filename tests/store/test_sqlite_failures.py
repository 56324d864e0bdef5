"""What SQLite and the kernel say, in our words."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from tests.support.small_disks import small_disk, use_up

from dspex_pool.store import Damaged, Full, ReadOnly, Refused, StoreError, Unavailable
from dspex_pool.store.sqlite_failures import again, has_room, is_busy, is_of_one_job, of_sqlite, of_system

NOWHERE = Path("/nowhere/state.db")


def failure_of(code: int) -> sqlite3.Error:
    """As the module raises it."""
    failure = sqlite3.OperationalError("in SQLite's words")
    failure.sqlite_errorcode = code
    return failure


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, Full),
        (sqlite3.SQLITE_READONLY, ReadOnly),
        (sqlite3.SQLITE_READONLY_DBMOVED, ReadOnly),
        (sqlite3.SQLITE_CORRUPT, Damaged),
        (sqlite3.SQLITE_CORRUPT_VTAB, Damaged),
        (sqlite3.SQLITE_NOTADB, Damaged),
        (sqlite3.SQLITE_ERROR, Damaged),
        (sqlite3.SQLITE_PERM, Refused),
        (sqlite3.SQLITE_BUSY, Unavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable),
        (sqlite3.SQLITE_IOERR_READ, Unavailable),
        (sqlite3.SQLITE_NOMEM, Unavailable),
        (sqlite3.SQLITE_CANTOPEN, Unavailable),
        (sqlite3.SQLITE_INTERRUPT, Unavailable),
    ],
)
def test_each_failure_has_its_word(code: int, expected: type[StoreError]) -> None:
    """Finer distinctions of SQLite's change nothing; the file is named."""
    failure = of_sqlite(failure_of(code), NOWHERE)
    assert (expected, True) == (type(failure), str(NOWHERE) in str(failure))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_NOMEM, True),
        (sqlite3.SQLITE_BUSY, False),
    ],
)
def test_a_commit_that_fails_may_have_happened(code: int, expected: bool) -> None:
    """A log that was written and not synced is found after a crash."""
    failure = of_sqlite(failure_of(code), NOWHERE, at_commit=True)
    assert isinstance(failure, Unavailable)
    assert expected == failure.maybe_applied
    before = of_sqlite(failure_of(code), NOWHERE)
    assert isinstance(before, Unavailable)
    assert not before.maybe_applied


def test_a_write_that_fails_for_want_of_room_is_full(tmp_path: Path) -> None:
    """SQLite says `disk I/O error` for some of them; the disk knows better."""
    with small_disk(tmp_path / "disk", 64) as disk:
        failed = failure_of(sqlite3.SQLITE_IOERR_SHMSIZE)
        assert (True, Unavailable) == (has_room(disk / ".."), type(of_sqlite(failed, tmp_path / "x")))
        use_up(disk / "ballast")
        assert (False, Full) == (has_room(disk), type(of_sqlite(failed, disk / "x")))
        unsynced = of_sqlite(failure_of(sqlite3.SQLITE_IOERR_FSYNC), disk / "x", at_commit=True)
        assert isinstance(unsynced, Unavailable)
        assert unsynced.maybe_applied


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, Full),
        (errno.EDQUOT, Full),
        (errno.EROFS, ReadOnly),
        (errno.EACCES, Refused),
        (errno.EPERM, Refused),
        (errno.ENAMETOOLONG, Refused),
        (errno.ENOENT, Unavailable),
        (errno.ENOTDIR, Unavailable),
        (errno.EMFILE, Unavailable),
        (errno.EIO, Unavailable),
    ],
)
def test_the_kernels_words(number: int, expected: type[StoreError]) -> None:
    """By number."""
    assert expected is type(of_system(OSError(number, os.strerror(number)), NOWHERE))


def test_what_is_wrong_with_a_statement_says_nothing_of_the_file() -> None:
    """A mistake of ours is no failure of the store."""
    codes = (sqlite3.SQLITE_CONSTRAINT_NOTNULL, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE)
    assert all(is_of_one_job(failure_of(code)) for code in codes)
    assert is_of_one_job(sqlite3.ProgrammingError("the module's own"))
    assert not is_of_one_job(failure_of(sqlite3.SQLITE_FULL))


def test_busy_is_for_another_try() -> None:
    """And nothing else is."""
    assert is_busy(failure_of(sqlite3.SQLITE_BUSY_RECOVERY))
    assert not is_busy(failure_of(sqlite3.SQLITE_FULL))


def test_a_failure_is_told_again_without_its_history() -> None:
    """Each caller raises its own."""
    first = Unavailable("why")
    second = again(first)
    assert (Unavailable, "why", True) == (type(second), str(second), first is not second)
