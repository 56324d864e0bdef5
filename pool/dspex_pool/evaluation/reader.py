"""Reading evaluations: heads, requests, facts and rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from dspex_pool.library.failures import told
from dspex_pool.library.heavy import Apart
from dspex_pool.library.scanning import Scanned, scan_page
from dspex_pool.store import Entry, Record, Store

from . import records
from .records import Fact, Head, Request
from .refusals import damaged, unknown_evaluation

MAX_ANSWER_BYTES: Final = 8 << 20
"""Of rows in one answer, but for a single row that is longer: those that are left come with the next."""

ENTRIES: Final = 200
"""Entries of facts that are read at a time: of some kilobytes each."""

ROW_ENTRIES: Final = 8
"""Entries of rows that are read at a time: of a megabyte each, at most, but for a single long row."""


class Known(NamedTuple):
    """A head, and the revision of its record."""

    head: Head
    revision: int


class Found(NamedTuple):
    """A fact, and where the row is that it is about.

    Attributes:
        fact: It.
        entry: The number of the entry.
        place: Which row of that entry.
    """

    fact: Fact
    entry: int
    place: int


class Reader:
    """Reads. Every coroutine raises a DSPexError with a `store_…` code when the store fails.

    Args:
        store: Where they are.
        apart: Where what takes long is worked out.
    """

    def __init__(self, store: Store, apart: Apart) -> None:
        self._store = store
        self._apart = apart

    async def known(self, evaluation: str) -> Known | None:
        """A head as it is now; None where there is none."""
        with told:
            (record,) = await self._store.get([records.head_key(evaluation)])
        return None if record is None else Known(records.read_head(evaluation, record.body), record.revision)

    async def head(self, evaluation: str) -> Head:
        """A head as it is now.

        Raises:
            DSPexError: `unknown_evaluation`, `store_damaged`, `record_too_new`.
        """
        known = await self.known(evaluation)
        if known is None:
            raise unknown_evaluation(evaluation)
        return known.head

    async def whole(self, evaluation: str) -> tuple[Head, Request]:
        """A head with its request; else as `head`."""
        keys = [records.head_key(evaluation), records.request_key(evaluation)]
        with told:
            head, request = await self._store.get(keys)
        if head is None:
            raise unknown_evaluation(evaluation)
        if request is None:
            raise damaged(evaluation, "its request is gone")
        return records.read_head(evaluation, head.body), records.read_request(evaluation, request.body)

    async def facts(self, head: Head, after: int = 0) -> list[Found]:
        """What is known of all rows that have come, in the order in which they came.

        A row that was run again is there again: `last_of` has each once.

        Args:
            head: Of which evaluation.
            after: Only those in entries that follow this one.

        Raises:
            DSPexError: `store_damaged`; `unknown_evaluation` when it was deleted meanwhile.
        """
        found: list[Found] = []
        while after < head.entries:
            entries = await self._entries(records.FACTS, head, after, min(ENTRIES, head.entries - after))
            found += await self._apart(lambda entries=entries: _facts_of(head, entries))  # type: ignore[misc]
            after += len(entries)
        return found

    async def rows(self, head: Head, wanted: Sequence[Found]) -> list[bytes]:
        """Rows, encoded: the first of those that are wanted, as many as an answer holds; else as `facts`."""
        taken: dict[int, list[bytes]] = {}
        rows: list[bytes] = []
        left = MAX_ANSWER_BYTES
        for one in wanted:
            if one.entry not in taken:
                (entry,) = await self._entries(records.ROWS, head, one.entry - 1, 1)
                taken[one.entry] = records.read_rows(head, one.entry, entry.body)
            row = _row_at(head, taken[one.entry], one)
            left -= len(row)
            if left < 0 and rows:
                break
            rows.append(row)
        return rows

    async def every(self, head: Head, after: int) -> list[tuple[int, list[bytes]]]:
        """Some entries of rows that follow that one, with their numbers; none after the last."""
        if after >= head.entries:
            return []
        entries = await self._entries(records.ROWS, head, after, min(ROW_ENTRIES, head.entries - after))
        return [(entry.number, records.read_rows(head, entry.number, entry.body)) for entry in entries]

    async def _entries(self, kind: str, head: Head, after: int, limit: int) -> list[Entry]:
        with told:
            entries = await self._store.entries(records.journal_of(kind, head), after=after, limit=limit)
        if not entries or entries[0].number != after + 1:
            await self.head(head.evaluation)  # it may have been deleted meanwhile
            raise damaged(head.evaluation, f"entry {after + 1} of its rows is gone")
        return entries

    async def page(self, prefix: str, after: str, limit: int, wanted: Wanted) -> Scanned[Head]:
        """A page of evaluations by id."""

        def read(record: Record) -> Head | None:
            head = records.read_head(record.key.id, record.body)
            return head if wanted.takes(head) else None

        return await scan_page(self._store, records.HEAD, read, prefix=prefix, after=after, limit=limit)


class Wanted(NamedTuple):
    """Which evaluations a list is to have; None for any."""

    program: str | None
    dataset: str | None

    def takes(self, head: Head) -> bool:
        """Whether one is among them."""
        return self.program in (None, head.program) and self.dataset in (None, head.dataset)


def _facts_of(head: Head, entries: Iterable[Entry]) -> list[Found]:
    return [
        Found(fact, entry.number, place)
        for entry in entries
        for place, fact in enumerate(records.read_facts(head, entry.number, entry.body))
    ]


def last_of(facts: Sequence[Found]) -> Sequence[Found]:
    """What each row has come to the last time that it was run."""
    last = {found.fact.index: found for found in facts}
    return facts if len(last) == len(facts) else list(last.values())


def _row_at(head: Head, rows: Sequence[bytes], found: Found) -> bytes:
    if found.place >= len(rows):
        raise damaged(head.evaluation, f"row {found.fact.index} is gone")
    return rows[found.place]
