"""Writing datasets: what a worker has read, in one commit with what it makes of the dataset."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from dspex_pool.library.failures import told
from dspex_pool.library.writes import Answer, Write, first_answer, remember, write_key
from dspex_pool.store import Append, Change, Conflict, Delete, Drop, Put, Store
from dspex_protocol import invalid_argument

from . import records, steps
from .reader import Known, Reader
from .records import Contents, Head, Upload
from .refusals import contended
from .steps import Piece

TRIES: Final = 20
"""A write that named no version is made again on whatever is there now."""

ReadPiece = Callable[[Contents], Coroutine[Any, Any, Piece]]
"""Has a worker read, check and cut the rows that came, to go on with those that are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A write as it was asked for.

    Attributes:
        dataset: Where to.
        operation: `put`, whose rows are the version's, or `append`, whose rows follow the newest's.
        newest: Refuse unless this is the newest version.
        note: For its history.
        upload: The upload that this is a piece of; None when it is all.
        piece: Which piece of it, from 1.
        is_done: It is the last one.
    """

    dataset: str
    operation: str
    newest: int | None
    note: str | None
    upload: str | None
    piece: int
    is_done: bool


def whole(dataset: str, note: str | None) -> Wish:
    """Rows that are all of the next version, and come at once."""
    return Wish(dataset=dataset, operation="put", newest=None, note=note, upload=None, piece=1, is_done=True)


class Begun(NamedTuple):
    """What has come before a piece, and the revision of its record; 0 where there is none."""

    upload: Upload
    revision: int


class Writer:
    """Writes. Every coroutine raises a DSPexError with a `store_…` code when the store fails.

    Args:
        store: Where to.
        reader: Reads what is there.
        wall_ms: The wall clock in milliseconds, for people.
        new_id: Makes an id that nobody else has made.
    """

    def __init__(
        self, store: Store, reader: Reader, *, wall_ms: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._reader = reader
        self._wall_ms = wall_ms
        self._new_id = new_id

    async def made(self, write: Write | None, operation: str) -> tuple[Answer] | None:
        """What was answered when that write was made; None when it was not.

        Raises:
            DSPexError: `write_id_reused`.
        """
        if write is None:
            return None
        with told:
            (record,) = await self._store.get([write_key(write.id)])
        return None if record is None else (first_answer(write, operation, record.body),)

    async def add(
        self, wish: Wish, write: Write | None, read_piece: ReadPiece, begin: Callable[[], None]
    ) -> Answer:
        """Add rows.

        Args:
            wish: Where and how.
            write: What the client calls this write.
            read_piece: Looks at the rows; asked again only where they follow others than before.
            begin: Told before the store is written to.

        Returns:
            Dataset and version; version 0 for a piece that is not the last one.

        Raises:
            DSPexError: `unknown_dataset`, `version_conflict`, `invalid_argument`, `write_id_reused`,
                and what `read_piece` raises.
        """
        seen: tuple[Contents, Piece] | None = None
        for _ in range(TRIES):
            made = await self.made(write, f"dataset.{wish.operation}")
            if made is not None:
                return made[0]
            known = await self._known(wish)
            begun = await self._begun(wish, known.head)
            before = begun.upload.contents
            if seen is None or seen[0] != before:
                seen = before, await read_piece(before)
            begin()
            if await self._commit(wish, known, begun, seen[1], write):
                return self._answer(wish, known)
        raise contended(wish.dataset)

    async def _known(self, wish: Wish) -> Known:
        known = await self._reader.head(wish.dataset)
        if known.head is not None and known.head.is_deleted:
            await self.sweep(wish.dataset)
            known = await self._reader.head(wish.dataset)
        if wish.operation == "append" or wish.newest is not None:
            steps.check_newest(steps.living(wish.dataset, known.head), wish.newest)
        return known

    async def _begun(self, wish: Wish, head: Head | None) -> Begun:
        if wish.piece > 1:
            assert wish.upload is not None
            return await self._going_on(wish.dataset, wish.upload, wish.piece)
        base, contents = 0, Contents()
        if wish.operation == "append":
            _, version = await self._reader.version(wish.dataset, steps.living(wish.dataset, head).newest)
            base, contents = version.version, version.contents
        journal = f"dataset/{self._new_id()}"
        return Begun(
            Upload(pieces=0, base=base, note=wish.note, journal=journal, entries=0, contents=contents), 0
        )

    async def _going_on(self, dataset: str, name: str, piece: int) -> Begun:
        with told:
            (record,) = await self._store.get([records.upload_key(dataset, name)])
        if record is None:
            raise invalid_argument("upload", "one that was begun with piece 1 and is not done", name)
        upload = records.read_upload(dataset, name, record.body)
        if upload.pieces != piece - 1:
            raise invalid_argument("piece", f"{upload.pieces + 1}, since {upload.pieces} have come", piece)
        return Begun(upload, record.revision)

    async def _commit(
        self, wish: Wish, known: Known, begun: Begun, piece: Piece, write: Write | None
    ) -> bool:
        """Make all of it happen, or nothing: False when something else is there than was read."""
        grown = steps.grown(begun.upload, piece)
        changes: list[Change] = [
            Append(journal=grown.journal, body=body, after=begun.upload.entries + number)
            for number, (_, body) in enumerate(piece.parts)
        ]
        changes += self._of_upload(wish, begun, grown)
        changes += await self._of_head(wish, known, grown)
        if write is not None:
            changes.append(remember(write, f"dataset.{wish.operation}", self._answer(wish, known)))
        try:
            with told:
                await self._store.commit(changes)
        except Conflict:
            return False
        return True

    def _of_upload(self, wish: Wish, begun: Begun, grown: Upload) -> list[Change]:
        if wish.upload is None:
            return []
        key = records.upload_key(wish.dataset, wish.upload)
        if wish.is_done:
            return [Delete(key=key, expect=begun.revision)] if begun.revision else []
        body = records.write_upload(wish.dataset, wish.upload, grown)
        return [Put(key=key, body=body, expect=begun.revision, ttl_s=records.UPLOAD_TTL_S)]

    async def _of_head(self, wish: Wish, known: Known, grown: Upload) -> list[Change]:
        """Where a piece is neither the first nor the last the head need not change: others may write."""
        if not wish.is_done and wish.piece > 1:
            return []
        now_ms = self._wall_ms()
        head, changes = await self._without_abandoned(
            replace(known.head or steps.empty_head(wish.dataset, now_ms), is_deleted=False), wish.upload
        )
        if wish.is_done:
            head, version = steps.next_version(head, grown, wish.upload, now_ms)
            key = records.version_key(wish.dataset, version.version)
            changes.append(Put(key=key, body=records.write_version(version), expect=0))
        else:
            assert wish.upload is not None
            head = steps.with_upload(head, wish.upload, grown.journal)
        put = Put(key=records.head_key(wish.dataset), body=records.write_head(head), expect=known.revision)
        return [put, *changes]

    def _answer(self, wish: Wish, known: Known) -> tuple[str, int]:
        last = 0 if known.head is None else known.head.last
        return wish.dataset, last + 1 if wish.is_done else 0

    async def _without_abandoned(self, head: Head, current: str | None) -> tuple[Head, list[Change]]:
        """The head without uploads that nobody goes on with, and what frees their room."""
        others = [name for name in head.uploads if name != current]
        if not others:
            return head, []
        with told:
            found = await self._store.get([records.upload_key(head.dataset, name) for name in others])
        gone = {name for name, record in zip(others, found, strict=True) if record is None}
        rest = {name: journal for name, journal in head.uploads.items() if name not in gone}
        return replace(head, uploads=rest), [Drop(journal=head.uploads[name]) for name in sorted(gone)]

    # What is removed

    async def delete(self, dataset: str, write: Write | None, begin: Callable[[], None]) -> None:
        """Forget a dataset with all its versions.

        Args:
            dataset: Which.
            write: What the client calls this write.
            begin: Told before the store is written to.

        Raises:
            DSPexError: `unknown_dataset`.
        """
        for _ in range(TRIES):
            known = await self._reader.head(dataset)
            head = steps.living(dataset, known.head)
            gone = replace(head, newest=0, is_deleted=True, updated_ms=self._wall_ms())
            remembered = [] if write is None else [remember(write, "dataset.delete", None)]
            begin()
            if await self._put_deleted(gone, known.revision, remembered):
                await self.sweep(dataset)
                return
        raise contended(dataset)

    async def sweep(self, dataset: str) -> None:
        """Remove what a deleted dataset had. Stops where somebody has made it anew."""
        while True:
            head, revision = await self._reader.head(dataset)
            if head is None or not head.is_deleted:
                return
            changes = await self._removals(head)
            rest = replace(head, uploads={})
            for number in range(0, len(changes), steps.REMOVALS):
                batch = changes[number : number + steps.REMOVALS]
                if not await self._put_deleted(rest, revision, batch):
                    return
                revision += 1
            if not changes:
                return

    async def _removals(self, head: Head) -> list[Change]:
        """Of its uploads, or else of some versions: a version goes after its parts."""
        if head.uploads:
            names = head.uploads
            return [
                *(Drop(journal=journal) for journal in names.values()),
                *(Delete(key=records.upload_key(head.dataset, name)) for name in names),
            ]
        changes: list[Change] = []
        for key, journals in await self._reader.journals(head.dataset):
            changes += (Drop(journal=journal) for journal in journals)
            changes.append(Delete(key=key))
        return changes

    async def _put_deleted(self, head: Head, revision: int, changes: Sequence[Change]) -> bool:
        put = Put(
            key=records.head_key(head.dataset),
            body=records.write_head(head),
            expect=revision,
            ttl_s=steps.TOMBSTONE_S,
        )
        try:
            with told:
                await self._store.commit([put, *changes])
        except Conflict:
            return False
        return True
