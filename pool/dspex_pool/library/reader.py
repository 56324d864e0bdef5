"""Reading programs from the store: what is found is checked, and put on the shelf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dspex_pool.store import Record, Store
from dspex_protocol import DSPexError

from .documents import MAX_VERSIONS
from .failures import told
from .names import Reference
from .records import (
    VERSION,
    Head,
    Version,
    head_key,
    read_head,
    read_version,
    split_version_id,
    version_key,
    versions_prefix,
)
from .refusals import (
    contended,
    program_damaged,
    program_too_new,
    too_large_document,
    unknown_program,
    unknown_tag,
    unknown_version,
    version_damaged,
    version_too_new,
)
from .sealing import Broken, TooNew
from .shelf import Held, KnownHead, Shelf, Ticket

TRIES: Final = 10
"""A version that its head knows and that is not there was deleted in between; the head is read again."""

BATCH: Final = 16
"""Versions that are read at a time: each may have a megabyte of pictures."""

MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""Contents of one exported document; they are in memory several times over while it is written."""


class Reader:
    """Reads for one library.

    Args:
        store: Where from.
        shelf: What is remembered.
        clock: The time, in seconds.
    """

    def __init__(self, store: Store, shelf: Shelf, clock: Callable[[], float]) -> None:
        self._store = store
        self._shelf = shelf
        self._clock = clock

    async def fetch(self, reference: Reference) -> Held:
        """What a call is to run on.

        Raises:
            DSPexError: `unknown_program`, `program_damaged`, `record_too_new`, or a `store_…` code.
        """
        guess = self._guess(reference)
        if guess is not None and self._shelf.content(reference.program, guess) is not None:
            known = await self.head(reference.program)
            version = version_of(known.head, reference)
            held = self._shelf.content(reference.program, version)
            if held is not None:
                return held
        _, found = await self.look_up(reference)
        return self._shelf.learn_content(found.program, found.version, found.content)

    async def look_up(self, reference: Reference) -> tuple[Head, Version]:
        """A version with all that is known of it, and its program's head at the same moment.

        Raises:
            DSPexError: as `fetch`.
        """
        missing_at = 0
        for _ in range(TRIES):
            known, version, record = await self._read(reference)
            if record is not None:
                return known.head, await self._sound(known.head, version, record)
            if missing_at == known.revision:
                raise await self.damaged(known.head, version, "it is missing")
            missing_at = known.revision
        raise contended()

    async def head(self, program: str) -> KnownHead:
        """A program's head as the store has it now.

        Raises:
            DSPexError: as `fetch`.
        """
        now_s, ticket = self._clock(), self._shelf.ticket()
        with told:
            (record,) = await self._store.get([head_key(program)])
        return self._known(program, self.take_head(program, record, now_s, ticket))

    async def _read(self, reference: Reference) -> tuple[KnownHead, int, Record | None]:
        program, guess = reference.program, self._guess(reference)
        keys = [head_key(program)] + ([] if guess is None else [version_key(program, guess)])
        now_s, ticket = self._clock(), self._shelf.ticket()
        with told:
            found, *versions = await self._store.get(keys)
        known = self._known(program, self.take_head(program, found, now_s, ticket))
        version = version_of(known.head, reference)
        if version != guess:
            with told:
                versions = await self._store.get([version_key(program, version)])
        return known, version, versions[0]

    def _guess(self, reference: Reference) -> int | None:
        """Which version it will be, most likely."""
        if reference.version is not None:
            return reference.version
        known = self._shelf.head(reference.program)
        if known is None or known.head.is_deleted:
            return None
        return known.head.newest if reference.tag is None else known.head.tags.get(reference.tag)

    def take_head(
        self, program: str, record: Record | None, now_s: float, ticket: Ticket, *, is_ours: bool = False
    ) -> KnownHead | None:
        """A head that was read.

        Args:
            program: Whose.
            record: What the store had.
            now_s: When it was asked.
            ticket: Of the shelf, from then.
            is_ours: It has what a write of ours made, which is acknowledged now.

        Returns:
            None when there is none. A deleted program's head is one.

        Raises:
            DSPexError: `program_damaged` or `record_too_new`.
        """
        if record is None:
            self._shelf.learn_absence(program, ticket)
            return None
        head = open_head(program, record.body)
        known = KnownHead(head, record.revision, now_s, len(record.body))
        self._shelf.learn_head(known, ticket, is_ours=is_ours)
        return known

    def _known(self, program: str, known: KnownHead | None) -> KnownHead:
        if known is None or known.head.is_deleted:
            raise unknown_program(program)
        return known

    async def _sound(self, head: Head, version: int, record: Record) -> Version:
        try:
            return read_version(head.program, version, record.body)
        except Broken as why:
            raise await self.damaged(head, version, str(why)) from why
        except TooNew as newer:
            raise version_too_new(head.program, version, newer.schema) from newer

    async def damaged(self, head: Head, version: int, why: str) -> DSPexError:
        """The error for a version that cannot be read, with the newest sound one before it."""
        return version_damaged(head.program, version, await self.sound_before(head, version), why)

    async def all_versions(self, head: Head, *, sound_only: bool) -> list[Version]:
        """All versions of a program, in order: as many as go into a document.

        Raises:
            DSPexError: as `fetch`; also `result_too_large`.
        """
        versions: list[Version] = []
        left, after = MAX_DOCUMENT_BYTES, ""
        while True:
            with told:
                records = await self._store.scan(
                    VERSION, prefix=versions_prefix(head.program), after=after, limit=BATCH
                )
            for record in records:
                named = split_version_id(record.key.id)
                if named is None or not head.has(named[1]) or (sound_only and sound_number(record) is None):
                    continue
                versions.append(await self._sound(head, named[1], record))
                left -= len(record.body)
                if left < 0 or len(versions) > MAX_VERSIONS:
                    raise too_large_document(head.program, MAX_VERSIONS, MAX_DOCUMENT_BYTES)
            if len(records) < BATCH:
                break
            after = records[-1].key.id
        if not versions:
            raise await self.damaged(head, head.newest, "no version can be read")
        return versions

    async def sound_before(self, head: Head, version: int) -> int | None:
        """The newest version before one that can be read."""
        after = version_key(head.program, version).id
        while True:
            with told:
                records = await self._store.scan(
                    VERSION,
                    prefix=versions_prefix(head.program),
                    after=after,
                    limit=BATCH,
                    newest_first=True,
                )
            for record in records:
                number = sound_number(record)
                if number is not None and number >= head.first:
                    return number
            if len(records) < BATCH:
                return None
            after = records[-1].key.id


def version_of(head: Head, reference: Reference) -> int:
    """The number of the version that is meant.

    Raises:
        CallerError: `unknown_program` where there is no such version or tag.
    """
    version, tag = reference.version, reference.tag
    if version is None:
        version = head.newest if tag is None else head.tags.get(tag)
        if version is None:
            raise unknown_tag(head.program, tag or "", head.newest)
    elif not head.has(version):
        raise unknown_version(head.program, version, head.newest)
    return version


def open_head(program: str, record: bytes) -> Head:
    """A head out of its record.

    Raises:
        DSPexError: `program_damaged` or `record_too_new`.
    """
    try:
        return read_head(program, record)
    except Broken as why:
        raise program_damaged(program, str(why)) from why
    except TooNew as newer:
        raise program_too_new(program, newer.schema) from newer


def sound_number(record: Record) -> int | None:
    """The number of a version that can be read; None for one that cannot."""
    named = split_version_id(record.key.id)
    if named is None:
        return None
    try:
        return read_version(*named, record.body).version
    except (Broken, TooNew):
        return None
