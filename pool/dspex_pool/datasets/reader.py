"""Reading datasets: heads, versions, and the rows of a selection."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from dspex_pool.library.failures import told
from dspex_pool.library.scanning import Scanned, scan_page
from dspex_pool.store import Key, Record, Store
from dspex_protocol import DSPexError
from dspex_protocol.slices import cut_array

from . import records, steps
from .records import Head, Part, Version, digest
from .refusals import damaged, unknown_version

MAX_ANSWER_BYTES: Final = 8 << 20
"""Of rows in one answer, but for a single row that is longer: those that are left come with the next."""

VERSIONS: Final = 20
"""Versions that are read at a time: each may name thousands of parts."""


class Known(NamedTuple):
    """A head, and the revision of its record; 0 where there is none."""

    head: Head | None
    revision: int


class Reader:
    """Reads. Every coroutine raises a DSPexError with a `store_…` code when the store fails.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def head(self, dataset: str) -> Known:
        """A head as it is now."""
        with told:
            (record,) = await self._store.get([records.head_key(dataset)])
        if record is None:
            return Known(None, 0)
        return Known(records.read_head(dataset, record.body), record.revision)

    async def version(self, dataset: str, version: int | None) -> tuple[Head, Version]:
        """A version; the newest where none is named.

        Raises:
            DSPexError: `unknown_dataset`, `store_damaged`, `record_too_new`.
        """
        head = steps.living(dataset, (await self.head(dataset)).head)
        number = head.newest if version is None else steps.check_version(head, version)
        with told:
            (record,) = await self._store.get([records.version_key(dataset, number)])
        if record is None:  # it was deleted meanwhile, or is of a dataset that had that id before
            raise unknown_version(dataset, number, head.newest)
        return head, records.read_version(dataset, number, record.body)

    async def rows(
        self, version: Version, wanted: Sequence[int], max_bytes: int = MAX_ANSWER_BYTES
    ) -> list[bytes]:
        """Rows of a version, encoded: the first of those that are wanted, as many as an answer holds.

        Args:
            version: Which.
            wanted: Their numbers, from 0.
            max_bytes: How much it holds, but for a single row that is longer.

        Raises:
            DSPexError: `store_damaged`; `unknown_dataset` when it was deleted meanwhile.
        """
        parts = version.contents.parts
        ends = list(accumulate(part.rows for part in parts))
        taken: dict[int, list[bytes]] = {}
        rows: list[bytes] = []
        left = max_bytes
        for row in wanted:
            number = bisect_right(ends, row)
            if number not in taken:
                taken[number] = await self._part(version, parts[number])
            body = taken[number][row - (ends[number] - parts[number].rows)]
            left -= len(body)
            if left < 0 and rows:
                break
            rows.append(body)
        return rows

    async def _part(self, version: Version, part: Part) -> list[bytes]:
        with told:
            found = await self._store.entries(part.journal, after=part.entry - 1, limit=1)
        body = found[0].body if found else b""
        if digest(body) == part.sha256:
            return cut_array(body)
        await self.version(version.dataset, version.version)  # it may have been deleted meanwhile
        raise damaged(version.dataset, f"rows of version {version.version} are gone or changed")

    async def page(self, prefix: str, after: str, limit: int) -> Scanned[Head]:
        """A page of datasets by id."""

        def read(record: Record) -> Head | None:
            head = records.read_head(record.key.id, record.body)
            return head if head.newest else None

        return await scan_page(self._store, records.HEAD, read, prefix=prefix, after=after, limit=limit)

    async def versions(
        self, dataset: str, limit: int, before: int | None
    ) -> tuple[list[Version], int | None]:
        """Versions of a dataset, the newest first, and the number before which the next page begins.

        Raises:
            DSPexError: `unknown_dataset`, `store_damaged`, `record_too_new`.
        """
        steps.living(dataset, (await self.head(dataset)).head)
        found: list[Version] = []
        while len(found) <= limit:
            batch = await self._versions_before(dataset, before)
            found += [records.read_version(dataset, records.number_of(one.key.id), one.body) for one in batch]
            if len(batch) < VERSIONS:
                break
            before = found[-1].version
        shown = found[:limit]
        return shown, shown[-1].version if len(found) > limit else None

    async def _versions_before(self, dataset: str, before: int | None) -> list[Record]:
        after = "" if before is None else records.version_key(dataset, before).id
        with told:
            return await self._store.scan(
                records.VERSION,
                prefix=records.prefix_of(dataset),
                after=after,
                limit=VERSIONS,
                newest_first=True,
            )

    async def journals(self, dataset: str) -> list[tuple[Key, list[str]]]:
        """Where the parts of some of its versions are, for their removal; none where none is left."""
        found = await self._versions_before(dataset, None)
        return [(one.key, self._journals_of(dataset, one)) for one in found]

    def _journals_of(self, dataset: str, record: Record) -> list[str]:
        try:
            version = records.read_version(dataset, records.number_of(record.key.id), record.body)
        except DSPexError:  # what it named cannot be found any more; it goes without
            return []
        return list(dict.fromkeys(part.journal for part in version.contents.parts))
