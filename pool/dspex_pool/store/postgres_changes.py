"""A commit as the function of PostgreSQL takes it: columns, in the order in which it locks. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from .records import Append, Change, Delete, Drop, Fence, Put
from .server_clock import microseconds


def arguments_of(changes: Sequence[Change], fences: Sequence[Fence]) -> tuple[object, ...]:
    """The arguments of `dspex.commit_1` after the first two.

    Places are counted from 1, as PostgreSQL does. A change without a body deletes or drops.
    """
    return (
        [fence.name.encode() for fence in fences],
        [fence.epoch for fence in fences],
        *_records_of(changes),
        *_entries_of(changes),
    )


def _records_of(changes: Sequence[Change]) -> tuple[list[object], ...]:
    rows = [
        (
            place,
            change.key.collection.encode(),
            change.key.id.encode(),
            change.body if isinstance(change, Put) else None,
            change.expect,
            microseconds(change.ttl_s) if isinstance(change, Put) and change.ttl_s is not None else None,
        )
        for place, change in enumerate(changes, 1)
        if isinstance(change, Put | Delete)
    ]
    rows.sort(key=lambda row: row[1:3])
    return _columns(rows, 6)


def _entries_of(changes: Sequence[Change]) -> tuple[list[object], ...]:
    journals = sorted({change.journal.encode() for change in changes if isinstance(change, Append | Drop)})
    numbers = {journal: number for number, journal in enumerate(journals, 1)}
    rows = [
        (
            place,
            numbers[change.journal.encode()],
            change.body if isinstance(change, Append) else None,
            change.after if isinstance(change, Append) else None,
        )
        for place, change in enumerate(changes, 1)
        if isinstance(change, Append | Drop)
    ]
    return list(journals), *_columns(rows, 4)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> tuple[list[object], ...]:
    return (
        tuple(list(column) for column in zip(*rows, strict=True)) if rows else tuple([] for _ in range(width))
    )
