"""The file of a SQLite store: made if it is not there, looked at before it is trusted.

One file has two connections of ours, each in its thread: one writes, one reads. Both are made
here, as often as it takes; what both must agree on is kept here.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote_from_bytes

from .failures import ReadOnly, Refused, Rewound, Unavailable
from .mounts import network_type
from .sqlite_clock import Clocks, StoreClock, go_on, is_of_this_boot
from .sqlite_failures import is_busy, of_system
from .sqlite_schema import has_tables, is_ours, make_tables, read_anchor, write_anchor

Answer = TypeVar("Answer")

BUSY_S: Final = 0.01
"""How long SQLite itself waits for another process. It sleeps longer from try to try and would
miss its turn between busy writers, so we ask again at this pace for as long as somebody waits."""

KEPT_WAL_BYTES: Final = 16 * 1024 * 1024
"""The write-ahead log is cut to this after it has been larger."""

CHECKPOINT_PAGES: Final = 8192
"""When SQLite checkpoints by itself, within a commit. The writer does before, between commits."""

# A file is created, and closed, by one thread of this process at a time, and not while another
# one has it open: closing any descriptor of a file ends all locks that the process has on it.
_CREATING: Final = threading.Lock()


class Identity(NamedTuple):
    """Which file it is, whatever its name."""

    device: int
    inode: int


class SqliteFile:
    """A file and what is known of it. Its methods are for the threads of the two connections.

    Args:
        path: Absolute.
        full: Whether a commit waits until the disk has it (`synchronous=FULL`).
        timeout_s: How long opening may wait for another process.
        mounts: Gives the mounts, as in `/proc/self/mounts`.
        clocks: The machine's clocks.

    Attributes:
        path: As given.
        generation: Grows when the file is to be opened anew, whatever was wrong with it before.
        clock: Store time; there is one as soon as there is a connection.
    """

    def __init__(
        self,
        path: Path,
        *,
        full: bool,
        timeout_s: float,
        mounts: Callable[[], str],
        clocks: Clocks,
    ) -> None:
        self.path = path
        self.generation = 0
        self.clock: StoreClock | None = None
        self._full = full
        self._timeout_s = timeout_s
        self._mounts = mounts
        self._clocks = clocks
        self._lock = threading.Lock()
        self._identity: Identity | None = None

    def look_again(self) -> None:
        """Have both connections made anew, and at once."""
        self.generation += 1

    def forget_identity(self) -> None:
        """Take whichever file is there when it is opened next."""
        self._identity = None

    def check_identity(self) -> None:
        """Whether it is the file that was opened first.

        What was acknowledged is in that one. Another one in its place, or none, would begin
        with something else, so it is not touched before somebody opens the store again.

        Raises:
            Rewound: when it is not.
        """
        expected = self._identity
        if expected is None:
            return
        try:
            there = self.path.stat()
        except FileNotFoundError:
            raise Rewound(f"{self.path}: it was removed while it was in use") from None
        except OSError:
            return  # whoever uses it will hear why
        if Identity(there.st_dev, there.st_ino) != expected:
            raise Rewound(f"{self.path}: it was replaced while it was in use")

    def open_to_write(self) -> sqlite3.Connection:
        """The writer's connection.

        Raises:
            StoreError: when it cannot be.
            sqlite3.Error: as well.
        """
        with self._lock:
            return self._prepare()

    def open_to_read(self) -> sqlite3.Connection:
        """The reader's connection. It goes as well where nothing can be written.

        Raises:
            StoreError: when it cannot be.
            sqlite3.Error: as well.
        """
        with self._lock:
            if self._identity is None:
                with contextlib.suppress(ReadOnly):
                    self._prepare().close()
            self.check_identity()
            connection = self._connect_to_read()
            self._identify()
        return connection

    def move_anchor(self, connection: sqlite3.Connection) -> StoreClock | None:
        """Write a new anchor where it is time, in a transaction of the writer's.

        Returns:
            The clock from it, for when that transaction is done; None when there was nothing to do.
        """
        assert self.clock is not None
        if not self.clock.is_due():
            return None
        anchor = go_on(self.clock.anchor, self._clocks.read())
        write_anchor(connection, anchor)
        return StoreClock(anchor, self._clocks.since_boot_s)

    def _prepare(self) -> sqlite3.Connection:
        """Make sure of folder, file and tables; a connection that may write."""
        self.check_identity()
        folder = self.path.parent
        # Not `resolve`, which fails where links go round.
        over = network_type(os.path.realpath(folder), self._mounts())
        if over is not None:
            raise Refused(f"{self.path}: it is on {over}, and over a network files cannot be shared safely")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(self.path, full=self._full)
        except OSError as failure:
            raise of_system(failure, self.path) from failure
        if self.path.exists() and not os.access(self.path, os.W_OK):
            raise ReadOnly(f"{self.path}: no permission to write it")
        connection = self._connect("mode=rw")
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        self._identify()
        return connection

    def _connect_to_read(self) -> sqlite3.Connection:
        """As the file allows: where its file system is read-only, SQLite cannot make its helpers."""
        connection = self._connect("mode=ro")
        try:
            self._look(connection)
        except sqlite3.Error:
            if not self._is_frozen():
                raise
            connection = self._connect("mode=ro&immutable=1")
            self._look(connection)
        return connection

    def _is_frozen(self) -> bool:
        """Whether nobody can write the file, and all that was written is in it."""
        log = self.path.with_name(f"{self.path.name}-wal")
        is_read_only = bool(os.statvfs(self.path.parent).f_flag & os.ST_RDONLY)
        return is_read_only and not (log.exists() and log.stat().st_size > 0)

    def _look(self, connection: sqlite3.Connection) -> None:
        """Whether what is there is ours, and what time it is there."""
        try:
            if not is_ours(connection, self.path):
                raise Unavailable(f"{self.path}: it has no tables yet")
            if self.clock is None:
                anchor = go_on(read_anchor(connection), self._clocks.read())
                self.clock = StoreClock(anchor, self._clocks.since_boot_s)
        except BaseException:
            connection.close()
            raise

    def _identify(self) -> None:
        there = self.path.stat()
        self._identity = Identity(there.st_dev, there.st_ino)

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"file:{quote_from_bytes(os.fsencode(self.path))}?{mode}"
        return sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        self.patiently(lambda: is_ours(connection, self.path))  # before anything is changed
        (mode,) = self.patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
        if mode != "wal":
            raise Refused(f"{self.path}: its file system has no shared memory, which is needed for WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._full else 'NORMAL'}")
        if self._full:
            connection.execute("PRAGMA fullfsync = ON")  # elsewhere than on macOS it changes nothing
        connection.execute(f"PRAGMA journal_size_limit = {KEPT_WAL_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self.patiently(lambda: self._make_or_go_on(connection))

    def _make_or_go_on(self, connection: sqlite3.Connection) -> None:
        """Tables where there are none, and an anchor of this boot."""
        reading = self._clocks.read()
        connection.execute("BEGIN IMMEDIATE")
        try:
            if has_tables(connection, self.path):
                former = read_anchor(connection)
                anchor = go_on(former, reading)
                if not is_of_this_boot(former, reading):
                    write_anchor(connection, anchor)
            else:
                anchor = go_on(None, reading)
                make_tables(connection, anchor)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.clock = StoreClock(anchor, self._clocks.since_boot_s)

    def patiently(self, step: Callable[[], Answer]) -> Answer:
        """Do something that another process may keep from being done for a while.

        Raises:
            Unavailable: when it takes too long.
            sqlite3.Error: when it fails otherwise.
        """
        end_s = time.monotonic() + self._timeout_s
        while True:
            try:
                return step()
            except sqlite3.Error as failure:
                if not is_busy(failure):
                    raise
                if time.monotonic() > end_s:
                    raise Unavailable(f"{self.path}: another process has it locked") from failure
            time.sleep(BUSY_S)


def _create(path: Path, *, full: bool) -> None:
    """Make the file, for its owner alone, where there is none."""
    with _CREATING:
        if path.exists():
            return
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if full:  # SQLite syncs what is in it; that it is there, and its folder, are lines in folders
        _sync(path.parent)
        _sync(path.parent.parent)


def _sync(folder: Path) -> None:
    """Have the disk know what is in a folder, where that can be asked for."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
