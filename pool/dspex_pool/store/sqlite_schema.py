"""The tables of a SQLite store, and whether a file has them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, cast

from .failures import Refused, Unavailable
from .sqlite_clock import Anchor

SCHEMA: Final = 1
"""The version that is written. A file of a later one is refused and left alone; for that, its
`meta` must have a column `schema` for ever."""

APPLICATION_ID: Final = 0x44535058
"""`DSPX` in the header of the file: other programs' databases are not taken for ours."""

# `body` is the last column: what stands before it is read without the pages that it fills.
# Records and entries are rowid tables, since rows of kilobytes are slow where they are the index.
TABLES: Final = (
    """
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        schema INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        boot_s REAL NOT NULL,
        wall_s REAL NOT NULL,
        store_s REAL NOT NULL
    )
    """,
    """
    CREATE TABLE records (
        collection TEXT NOT NULL,
        id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        over_s REAL,
        body BLOB NOT NULL,
        PRIMARY KEY (collection, id)
    )
    """,
    "CREATE INDEX records_over ON records (over_s) WHERE over_s IS NOT NULL",
    """
    CREATE TABLE entries (
        journal TEXT NOT NULL,
        number INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (journal, number)
    )
    """,
    """
    CREATE TABLE leases (
        name TEXT NOT NULL PRIMARY KEY,
        owner TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        over_s REAL NOT NULL
    ) WITHOUT ROWID
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
)


def is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """As `has_tables`, in a transaction of its own."""
    connection.execute("BEGIN")
    try:
        return has_tables(connection, path)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def has_tables(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has our tables; False for a new one. Changes nothing.

    To be asked in a transaction: another process may be making the file, and half of what was
    read before and half after looks like somebody else's.

    Raises:
        Refused: when it is another program's, or of a later schema.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id == 0 and tables == 0:
        return False
    if application_id != APPLICATION_ID:
        raise Refused(f"{path}: it is another program's database")
    (schema,) = connection.execute("SELECT schema FROM meta").fetchone()
    if schema > SCHEMA:
        raise Refused(f"{path}: it has schema {schema}, and this version of dspex knows {SCHEMA}")
    return True


def make_tables(connection: sqlite3.Connection, anchor: Anchor) -> None:
    """Make them, within a transaction of the caller's."""
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(
        "INSERT INTO meta VALUES (1, ?, 0, ?, ?, ?, ?)",
        (SCHEMA, anchor.boot_id, anchor.boot_s, anchor.wall_s, anchor.store_s),
    )


def read_anchor(connection: sqlite3.Connection) -> Anchor:
    """The anchor of store time.

    Raises:
        Unavailable: when its row is not there.
    """
    row = connection.execute("SELECT boot_id, boot_s, wall_s, store_s FROM meta").fetchone()
    if row is None:
        raise Unavailable("the row of meta is not there")
    boot_id, boot_s, wall_s, store_s = cast("tuple[str, float, float, float]", row)
    return Anchor(boot_id=boot_id, boot_s=boot_s, wall_s=wall_s, store_s=store_s)


def write_anchor(connection: sqlite3.Connection, anchor: Anchor) -> None:
    """Set it anew, within a transaction of the caller's."""
    connection.execute(
        "UPDATE meta SET boot_id = ?, boot_s = ?, wall_s = ?, store_s = ?",
        (anchor.boot_id, anchor.boot_s, anchor.wall_s, anchor.store_s),
    )
