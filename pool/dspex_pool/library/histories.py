"""The versions of a program, the newest first, a page at a time and without their contents."""

from __future__ import annotations

from typing import Final, NamedTuple

from dspex_pool.store import Record, Store
from dspex_protocol import invalid_argument

from .failures import told
from .pages import MAX_PAGE
from .reader import BATCH
from .records import VERSION, Head, Lineage, read_version, split_version_id, version_key, versions_prefix
from .sealing import Broken, TooNew

MAX_NUMBER: Final = 10**10 - 1
"""A version's number has ten digits in the store."""


class Row(NamedTuple):
    """A version in a list.

    Attributes:
        version: Its number.
        lineage, created_ms, checksum, dspy, schema: See `records.Version`; None for one that
            cannot be read.
        problem: Why it cannot be read; None for one that can.
    """

    version: int
    lineage: Lineage | None = None
    created_ms: int | None = None
    checksum: str | None = None
    dspy: str | None = None
    schema: int | None = None
    problem: str | None = None


class History(NamedTuple):
    """A page of versions.

    Attributes:
        head: The program's, from just before.
        rows: The newest first.
        next: What `before` is to be for the next page; None after the last one.
    """

    head: Head
    rows: list[Row]
    next: int | None


async def history_of(store: Store, head: Head, limit: int, before: int | None) -> History:
    """A page of versions.

    Args:
        store: Where they are.
        head: Of their program.
        limit: At most so many, 1 to 1,000.
        before: Only versions before this one; None for all.

    Raises:
        DSPexError: `invalid_argument`, or a `store_…` code.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise invalid_argument("limit", f"an integer from 1 to {MAX_PAGE}", limit)
    if before is not None and before < 1:
        raise invalid_argument("before", "an integer from 1", before)
    rows: list[Row] = []
    above = min(head.last + 1, MAX_NUMBER if before is None else before)
    while len(rows) <= limit:
        with told:
            records = await store.scan(
                VERSION,
                prefix=versions_prefix(head.program),
                after=version_key(head.program, above).id,
                limit=BATCH,
                newest_first=True,
            )
        found = [row for record in records if (row := _row_of(record)) and row.version >= head.first]
        rows += found
        if len(found) < BATCH:
            break
        above = found[-1].version
    page = rows[:limit]
    return History(head, page, page[-1].version if len(rows) > limit else None)


def _row_of(record: Record) -> Row | None:
    named = split_version_id(record.key.id)
    if named is None:
        return None
    try:
        found = read_version(*named, record.body)
    except Broken as why:
        return Row(named[1], problem=f"damaged: {why}")
    except TooNew as newer:
        return Row(named[1], problem=f"written by a newer DSPex ({newer})")
    return Row(
        version=found.version,
        lineage=found.lineage,
        created_ms=found.created_ms,
        checksum=found.checksum,
        dspy=found.dspy,
        schema=found.schema,
    )
