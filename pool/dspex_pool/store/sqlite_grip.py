"""A thread's hold on the file of a SQLite store.

A connection is made when it is needed. Where that fails, everybody hears why at once, and it is
tried again no more than once a second.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from typing import Final

from .failures import Damaged, Full, Rewound, StoreError
from .sqlite_failures import again, is_of_one_job, of_sqlite, of_system
from .sqlite_file import SqliteFile

PAUSE_S: Final = 1.0
"""Between two tries to open the file, and between two looks whether it is still the same."""


class Grip:
    """A thread's connection to the file: made when needed, dropped when it has failed.

    Args:
        file: Which.
        connect: Makes one.
        now_s: A monotonic clock.
    """

    def __init__(
        self,
        file: SqliteFile,
        connect: Callable[[], sqlite3.Connection],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._connect = connect
        self._now_s = now_s
        self._connection: sqlite3.Connection | None = None
        self._generation = -1
        self._looked_s = 0.0
        self._failure: StoreError | None = None

    def take(self) -> sqlite3.Connection:
        """The connection.

        Raises:
            StoreError: when there is none, or the file must not be used as it stands.
        """
        if self._generation != self._file.generation:
            self.drop()
            self._generation = self._file.generation
            self._failure = None
            self._looked_s = -PAUSE_S
        if self._now_s() - self._looked_s >= PAUSE_S:
            self._failure = self._look()
            self._looked_s = self._now_s()
        if self._failure is not None:
            raise again(self._failure)
        assert self._connection is not None
        return self._connection

    def failed(self, failure: sqlite3.Error, *, at_commit: bool = False) -> Exception:
        """What a failure of the connection means; a new one is made, unless this one is still of use."""
        return failure if is_of_one_job(failure) else self.broken(failure, at_commit=at_commit)

    def broken(self, failure: sqlite3.Error, *, at_commit: bool = False) -> StoreError:
        """As `failed`, of what cannot be the fault of a job."""
        meaning = of_sqlite(failure, self._file.path, at_commit=at_commit)
        if isinstance(meaning, Damaged):
            self._file.forget_identity()  # whoever mends it may put another in its place
        if not isinstance(meaning, Full):
            self.drop()
            self._failure = again(meaning)
        return meaning

    def drop(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # nothing more is to be had of it
                connection.close()

    def _leave(self) -> None:
        """Let go of a file that is not at its place any more.

        Its log is found by name, and would be taken for that of whatever is there next: what is
        in it goes into the file that it belongs to, wherever that is now.
        """
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.drop()

    def _look(self) -> StoreError | None:
        """Look at the file, and connect where there is no connection; what is in the way."""
        try:
            self._file.check_identity()
            if self._connection is None:
                self._connection = self._connect()
        except Rewound as failure:
            self._leave()
            return failure
        except StoreError as failure:
            return failure
        except sqlite3.Error as failure:
            return of_sqlite(failure, self._file.path)
        except OSError as failure:
            return of_system(failure, self._file.path)
        return None
