"""SCANNING: a page of a collection; records that cannot be read are told, and keep no others away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from dspex_pool.store import Record, Store
from dspex_protocol import DSPexError

from .failures import told

T = TypeVar("T")

SCANNED: Final = 500
"""Records that are read at a time."""


class Scanned(NamedTuple, Generic[T]):
    """What a page has.

    Attributes:
        found: At most as many as were wanted.
        next: The id after which the next page begins; None where there is none.
        unreadable: Ids that were come across and cannot be read.
    """

    found: list[T]
    next: str | None
    unreadable: list[str]


async def scan_page(
    store: Store,
    collection: str,
    read: Callable[[Record], T | None],
    *,
    after: str,
    limit: int,
    prefix: str = "",
    newest_first: bool = False,
) -> Scanned[T]:
    """A page of a collection.

    Args:
        store: Where it is.
        collection: Which.
        read: What a record says; None leaves it out. What it raises makes the record unreadable.
        after: The id after which the page begins; "" for the first one.
        limit: At most so many.
        prefix: Only ids that begin so.
        newest_first: The last id first.

    Raises:
        DSPexError: with a `store_…` code when the store fails.
    """
    found: list[tuple[str, T]] = []
    unreadable: list[str] = []
    while len(found) <= limit:
        with told:
            batch = await store.scan(
                collection, prefix=prefix, after=after, limit=SCANNED, newest_first=newest_first
            )
        for record in batch:
            try:
                one = read(record)
            except DSPexError:  # the others are to be seen all the same
                unreadable.append(record.key.id)
            else:
                found += [] if one is None else [(record.key.id, one)]
        if len(batch) < SCANNED:
            break
        after = batch[-1].key.id
    shown = found[:limit]
    return Scanned([one for _, one in shown], shown[-1][0] if len(found) > limit else None, unreadable)
