"""The two who do the jobs of a SQLite store: one writes, one reads.

**Group commit.** All writes that wait are made in one transaction and acknowledged after its
COMMIT. They look before they write, so one that is refused leaves no trace in it. When anything
else goes wrong the transaction is undone and each is made by itself, so that one that does not
fit the disk takes no other with it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Final

from .failures import StoreError, Unavailable
from .sqlite_failures import again, is_busy
from .sqlite_file import SqliteFile
from .sqlite_grip import Grip
from .sqlite_lane import Done, Inbox, Job
from .sqlite_tables import Tables

CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""Written since the last checkpoint. It takes an fsync or two, and those who come meanwhile wait."""

JOB_BYTES: Final = 8 * 1024
"""What a write costs in the log besides its bodies: two pages."""


class Writer:
    """Makes writes, those that wait together in one transaction.

    Args:
        file: Which.
        grip: Its connection.
    """

    def __init__(self, file: SqliteFile, grip: Grip) -> None:
        self._file = file
        self._grip = grip
        self._log_bytes = 0  # since the last checkpoint, about

    def serve(self, inbox: Inbox) -> list[Done]:
        """Do what waits; nothing while another process is writing."""
        try:
            connection = self._begin()
        except StoreError as failure:
            return [(job, again(failure)) for job in inbox.take()]
        if connection is None:
            inbox.obstacle = "another process is writing to it"
            return []
        inbox.obstacle = ""
        return self._transact(connection, inbox.take())

    def rest(self) -> None:
        """Bring the log into the file, once it is worth it."""
        if self._log_bytes < CHECKPOINT_BYTES:
            return
        self._log_bytes = 0
        # If it fails: what is in the log is safe there, and the next one tries again.
        with contextlib.suppress(StoreError, sqlite3.Error):
            self._grip.take().execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close the connection; the last one to the file empties the log."""
        self._grip.drop()

    def _begin(self) -> sqlite3.Connection | None:
        """The connection, in a transaction; None while another process is in one.

        Raises:
            StoreError: when there is no connection.
        """
        connection = self._grip.take()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as failure:
            if is_busy(failure):
                return None
            raise self._grip.broken(failure) from failure
        return connection

    def _transact(self, connection: sqlite3.Connection, jobs: list[Job]) -> list[Done]:
        """Do jobs in the transaction that has begun, and commit it."""
        assert self._file.clock is not None
        tables = Tables(connection, self._file.clock.now_s())
        try:
            done = [(job, _answer(job, tables)) for job in jobs]
            moved = self._file.move_anchor(connection)
        except Exception as failure:  # whatever it was, it is undone, and goes to whom it concerns
            return self._undo(connection, jobs, failure)
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as failure:
            return self._undo(connection, jobs, failure, at_commit=True)
        self._file.clock = moved or self._file.clock
        self._log_bytes += sum(job.cost_bytes + JOB_BYTES for job in jobs)
        return done

    def _undo(
        self, connection: sqlite3.Connection, jobs: list[Job], failure: Exception, *, at_commit: bool = False
    ) -> list[Done]:
        self._roll_back(connection)
        meaning = failure
        if isinstance(failure, sqlite3.Error):
            meaning = self._grip.failed(failure, at_commit=at_commit)
        if len(jobs) == 1 or (isinstance(meaning, Unavailable) and meaning.maybe_applied):
            return [(job, meaning) for job in jobs]
        return [done for job in jobs for done in self._alone(job)]

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Undo the transaction, if SQLite has not done so already."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error as failure:
            self._grip.broken(failure)  # to be without the connection undoes it as well

    def _alone(self, job: Job) -> list[Done]:
        """Do one job that was undone with others."""
        try:
            connection = self._begin()
        except StoreError as failure:
            return [(job, again(failure))]
        if connection is None:
            return [(job, Unavailable(f"{self._file.path}: another process is writing to it"))]
        return self._transact(connection, [job])


class Reader:
    """Reads, beside whatever is being written. What is acknowledged it sees.

    Args:
        file: Which.
        grip: Its connection.
    """

    def __init__(self, file: SqliteFile, grip: Grip) -> None:
        self._file = file
        self._grip = grip

    def serve(self, inbox: Inbox) -> list[Done]:
        """Do what waits, each by itself."""
        return [(job, self._read(job)) for job in inbox.take()]

    def rest(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Close the connection."""
        self._grip.drop()

    def _read(self, job: Job) -> object:
        try:
            connection = self._grip.take()
            assert self._file.clock is not None
            tables = Tables(connection, self._file.clock.now_s())
            return self._file.patiently(lambda: _answer(job, tables))
        except StoreError as failure:
            return failure
        except sqlite3.Error as failure:
            return self._grip.failed(failure)
        except Exception as failure:  # a mistake of ours is its caller's to hear of
            return failure


def _answer(job: Job, tables: Tables) -> object:
    """What a job answers, or why it is refused; whatever else is raised goes on."""
    assert job.work is not None
    try:
        return job.work(tables)
    except StoreError as refusal:
        return refusal
