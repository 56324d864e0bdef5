"""What SQLite and the kernel say when something fails, in the words of `failures.py`."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from .failures import Damaged, Full, ReadOnly, Refused, StoreError, Unavailable

PROBE_BYTES: Final = 64 * 1024
"""More than SQLite's smallest steps: it grows its shared memory by 32 KiB."""

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_RIGHT: Final = (errno.EACCES, errno.EPERM)


# What is wrong with one statement or its values says nothing of the file.
_OF_ONE_JOB: Final = (
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_TOOBIG,
)


def is_busy(failure: sqlite3.Error) -> bool:
    """Whether another process had what was wanted; to be tried again."""
    return _code_of(failure) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


def is_of_one_job(failure: sqlite3.Error) -> bool:
    """Whether it is a mistake in what was asked for, and so one of ours."""
    code = _code_of(failure)
    return code is None or code in _OF_ONE_JOB


def of_sqlite(failure: sqlite3.Error, path: Path, *, at_commit: bool = False) -> StoreError:
    """A failure of SQLite.

    Args:
        failure: As it came.
        path: The file; where SQLite does not say why, the file system is asked.
        at_commit: The COMMIT itself failed. It may have happened nevertheless: when the disk
            fails to sync, all of it is in the log already, and is found there after a crash.
    """
    words = f"{path}: {failure}"
    match _code_of(failure):
        case sqlite3.SQLITE_FULL:
            return Full(words)
        case sqlite3.SQLITE_READONLY:
            return ReadOnly(words)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_FORMAT | sqlite3.SQLITE_ERROR:
            return Damaged(words)
        case sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return Refused(words)
        case sqlite3.SQLITE_CANTOPEN:
            return _why_not_open(path, words)
        case sqlite3.SQLITE_IOERR if not _is_of_sync(failure) and not has_room(path.parent):
            return Full(f"{words}; there is no room")
        case _:
            return Unavailable(words, maybe_applied=at_commit and not is_busy(failure))


def of_system(failure: OSError, path: Path) -> StoreError:
    """A failure of the kernel while a file was made or looked for."""
    words = f"{path}: {failure.strerror or failure}"
    if failure.errno in _NO_ROOM:
        return Full(words)
    if failure.errno == errno.EROFS:
        return ReadOnly(words)
    if failure.errno in _NO_RIGHT or failure.errno in {errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}:
        return Refused(words)
    return Unavailable(words)


def has_room(folder: Path) -> bool:
    """Whether something can be written in a folder; True where that cannot be found out.

    SQLite has one word for every failed write but the plainest; that a quota is used up, or that
    its shared memory could not grow, is found by trying.
    """
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as failure:
        return failure.errno not in _NO_ROOM
    return True


def again(failure: StoreError) -> StoreError:
    """The same failure for another caller: a raised one collects tracebacks."""
    return type(failure)(*failure.args)


def _why_not_open(path: Path, words: str) -> StoreError:
    try:
        path.stat()
    except OSError as failure:
        return of_system(failure, path)
    if path.is_dir():
        return Refused(f"{path}: it is a folder")
    if not os.access(path, os.R_OK):
        return Refused(f"{path}: no permission to read it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return ReadOnly(f"{path}: its folder takes no files")
    if not has_room(path.parent):
        return Full(f"{words}; there is no room")
    return Unavailable(words)


def _is_of_sync(failure: sqlite3.Error) -> bool:
    return getattr(failure, "sqlite_errorcode", 0) in {
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
    }


def _code_of(failure: sqlite3.Error) -> int | None:
    """The kind of failure, without SQLite's finer distinctions; None when it is the module's own."""
    code: int | None = getattr(failure, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
