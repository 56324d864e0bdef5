"""THE LIBRARY: stored programs, over whatever store there is.

    find, known ──► shelf                         what calls run on, without waiting
    fetch, get  ──► reader ──► store              what the shelf has not, or must look at again
    create, …   ──► steps (pure) ──► writer ──► store ──► shelf
    page, versions, diff, export ──► store        what people and tools ask for

It awaits nothing but the store, and takes the time and new ids from whoever makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dspex_pool.store import Store
from dspex_protocol import DSPexError, decode_value, error

from . import steps
from .checks import Checks, Report
from .differences import Difference, differences
from .documents import Document, write_document
from .failures import told
from .heavy import Apart, at_once, worked_out
from .histories import History, history_of
from .names import Reference, check_program, check_tag
from .pages import Page, Wanted, page_of
from .reader import TRIES, Reader
from .records import Head, Lineage, Version, read_facts, version_key
from .refusals import contended, unknown_version
from .sealing import Broken
from .shelf import Held, Shelf
from .steps import Draft
from .writer import Decision, Writer
from .writes import Answer, Write


class Library:
    """Stored programs.

    Every coroutine raises a DSPexError with a `store_…` code when the store fails.

    Args:
        store: Where they are; it is opened and closed by whoever has made it.
        clock: The time, in seconds that only grow.
        wall_ms: The wall clock in milliseconds, for people to read; nothing is decided by it.
        new_id: Makes an id that nobody else has made.
        shelf: With other bounds than the usual ones.
        apart: Does what computes for long.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float],
        wall_ms: Callable[[], int],
        new_id: Callable[[], str],
        shelf: Shelf | None = None,
        apart: Apart = at_once,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wall_ms = wall_ms
        self._new_id = new_id
        self._apart = apart
        self._shelf = Shelf() if shelf is None else shelf
        self._reader = Reader(store, self._shelf, clock)
        self._writer = Writer(store, self._shelf, self._reader, clock)

    # What calls run on

    def find(self, reference: Reference) -> Held | None:
        """A program that is here, and was looked at just now; None when it must be fetched."""
        return self._shelf.find(reference, self._clock())

    def known(self, reference: Reference) -> Held | None:
        """The same, however long ago it was looked at: for when the store is down."""
        return self._shelf.known(reference)

    async def fetch(self, reference: Reference) -> Held:
        """A program from the store.

        Raises:
            DSPexError: `unknown_program`, `program_damaged`, `record_too_new`.
        """
        return await self._reader.fetch(reference)

    # Writing

    async def create(
        self,
        program: str | None,
        content: bytes,
        *,
        lineage: Lineage | None = None,
        tags: Sequence[str] = (),
        write: Write | None = None,
    ) -> tuple[str, int]:
        """A new program.

        Args:
            program: The id wanted; None for one that is made here.
            content: A worker's record.
            lineage: Where it came from; `parent` is put in here.
            tags: That the version gets.
            write: What the client calls this write.

        Returns:
            Program and version. Where a deleted program had that id, the version is not 1.

        Raises:
            DSPexError: `program_exists`, `invalid_argument`, `write_id_reused`.
        """
        program = f"program-{self._new_id()}" if program is None else check_program(program, "meta.program")
        draft = _draft(content, replace(lineage or Lineage(by="create"), parent=None), tags)
        return await self._make(
            program,
            "create",
            write,
            lambda found: steps.begun(program, found, [draft], self._wall_ms()),
            may_be_new=True,
        )

    async def add(
        self,
        program: str,
        *,
        base: int,
        must_be_newest: bool,
        content: bytes,
        lineage: Lineage | None = None,
        tags: Sequence[str] = (),
        write: Write | None = None,
    ) -> tuple[str, int]:
        """A new version of a program, which is the newest then.

        Args:
            program: Its id.
            base: The version that it was made from.
            must_be_newest: Whether that must be the newest still. Others may set tags meanwhile.
            content: A worker's record.
            lineage: Where it came from; `parent` is put in here.
            tags: That the version gets.
            write: What the client calls this write.

        Returns:
            Program and version.

        Raises:
            DSPexError: `unknown_program`, `version_conflict`, `invalid_argument`, `write_id_reused`.
        """
        draft = _draft(content, lineage or Lineage(by="update"), tags)
        newest = base if must_be_newest else None
        return await self._make(
            program,
            "add",
            write,
            lambda found: steps.added(
                program, found, base=base, newest=newest, draft=draft, now_ms=self._wall_ms()
            ),
        )

    async def rollback(
        self,
        program: str,
        version: int,
        *,
        newest: int | None = None,
        note: str | None = None,
        write: Write | None = None,
    ) -> tuple[str, int]:
        """A new version with the content of an earlier one.

        Args:
            program: Its id.
            version: The earlier one, which becomes the parent.
            newest: Which must be the newest; None for any.
            note: Why.
            write: What the client calls this write.

        Returns:
            Program and version.

        Raises:
            DSPexError: `unknown_program`, `program_damaged`, `version_conflict`, `write_id_reused`.
        """
        if write is not None and (made := await self.answer_of(write, "rollback", program)) is not None:
            return _made(made[0])
        _, _, content = await self.fetch(Reference(program, version))
        draft = _draft(content, Lineage(by="rollback", note=note), ())
        return await self._make(
            program,
            "rollback",
            write,
            lambda found: steps.added(
                program, found, base=version, newest=newest, draft=draft, now_ms=self._wall_ms()
            ),
        )

    async def tag(self, program: str, version: int, tag: str, *, write: Write | None = None) -> None:
        """Have a tag point to a version.

        Raises:
            DSPexError: `unknown_program`, `invalid_argument`, `write_id_reused`.
        """
        check_tag(tag)
        if write is not None and await self.answer_of(write, "tag", program) is not None:
            return
        with told:
            (there,) = await self._store.get([version_key(program, version)])
        if there is None:
            known = await self._reader.head(program)
            raise unknown_version(program, version, known.head.newest)
        await self._writer.write(
            program, "tag", write, lambda found: steps.tagged(program, found, version, tag, self._wall_ms())
        )

    async def untag(self, program: str, tag: str, *, write: Write | None = None) -> None:
        """Take a tag away. No error where there is none.

        Raises:
            DSPexError: `unknown_program`, `write_id_reused`.
        """
        check_tag(tag)
        await self._writer.write(
            program, "untag", write, lambda found: steps.untagged(program, found, tag, self._wall_ms())
        )

    async def delete(self, program: str, *, write: Write | None = None) -> None:
        """Forget a program and all its versions. Their numbers are not used again for that id.

        Raises:
            DSPexError: `unknown_program`, `write_id_reused`.
        """
        await self._writer.write(
            program, "delete", write, lambda found: steps.deleted(program, found, self._wall_ms())
        )

    async def answer_of(
        self, write: Write, operation: str, program: str | None = None
    ) -> tuple[Answer] | None:
        """The answer of a write that was made already, in a tuple; None when it was not.

        To be asked before work that a repeated write need not do again. Each method here that takes
        a write asks by itself, under its own name.

        Args:
            write: Its id.
            operation: The method's name.
            program: Whose it is, so that calls run on what it made once that is acknowledged.

        Raises:
            DSPexError: `write_id_reused`.
        """
        return await self._writer.answer_of(write, operation, program)

    # Reading

    async def get(self, reference: Reference) -> tuple[Head, Version]:
        """A version with all that is known of it, and the program's head.

        Raises:
            DSPexError: `unknown_program`, `program_damaged`, `record_too_new`.
        """
        return await self._reader.look_up(reference)

    async def page(self, wanted: Wanted) -> Page:
        """A page of the list of programs.

        Raises:
            DSPexError: `invalid_argument`.
        """
        return await page_of(self._store, wanted)

    async def versions(self, program: str, *, limit: int = 100, before: int | None = None) -> History:
        """A page of a program's versions, the newest first.

        Raises:
            DSPexError: `unknown_program`, `invalid_argument`.
        """
        known = await self._reader.head(program)
        return await history_of(self._store, known.head, limit, before)

    async def diff(self, program: str, before: int, after: int) -> list[Difference]:
        """What differs in the contents of two versions, whole values and all.

        Raises:
            DSPexError: as `get`.
        """
        _, _, earlier = await self.fetch(Reference(program, before))
        _, _, later = await self.fetch(Reference(program, after))
        return await worked_out(
            self._apart,
            len(earlier) + len(later),
            lambda: list(differences(decode_value(earlier), decode_value(later))),
        )

    # Documents

    async def export(
        self, reference: Reference, *, all_versions: bool = False, sound_only: bool = False
    ) -> str:
        """A program as a document.

        Args:
            reference: Which version; where all are wanted, which program.
            all_versions: Whether all are wanted.
            sound_only: Leave those out that cannot be read.

        Raises:
            DSPexError: `unknown_program`, `program_damaged`, `record_too_new`, `result_too_large`.
        """
        if all_versions:
            head, versions = await self._all_of(reference.program, sound_only=sound_only)
        else:
            head, version = await self.get(reference)
            versions = [version]
        there = {one.version for one in versions}
        tags = {tag: version for tag, version in head.tags.items() if version in there}
        document = Document(program=head.program, versions=versions, tags=tags)
        size_bytes = sum(len(one.content) for one in versions)
        return await worked_out(self._apart, size_bytes, lambda: write_document(document))

    async def _all_of(self, program: str, *, sound_only: bool) -> tuple[Head, list[Version]]:
        """All versions of a program as it was at one moment: they are read some at a time."""
        head = (await self._reader.head(program)).head
        for _ in range(TRIES):
            found: list[Version] | DSPexError
            try:
                found = await self._reader.all_versions(head, sound_only=sound_only)
            except DSPexError as failure:
                found = failure
            now = (await self._reader.head(program)).head
            if now.first == head.first:  # else it was deleted meanwhile, and begun anew
                if isinstance(found, DSPexError):
                    raise found
                return head, found
            head = now
        raise contended()

    async def import_(
        self,
        document: Document,
        program: str | None = None,
        *,
        note: str | None = None,
        write: Write | None = None,
    ) -> tuple[str, int]:
        """What a document holds, as a new program, or as a new version of one that is there.

        A new program has all its versions, with their lineage, numbered from 1, and its tags. To
        one that is there its newest version is added, without tags.

        Args:
            document: As `documents.read_document` read it.
            program: Its id; None for the one in the document.
            note: For the newest version; None leaves that of the document.
            write: What the client calls this write.

        Returns:
            Program and newest version.

        Raises:
            DSPexError: `write_id_reused`.
        """
        id_ = document.program if program is None else check_program(program, "meta.program")

        def decide(found: Head | None) -> steps.Step:
            now_ms = self._wall_ms()
            if found is None or found.is_deleted:
                return steps.begun(id_, found, document.drafts(note), now_ms)
            return steps.added(id_, found, base=None, newest=None, draft=document.newest(note), now_ms=now_ms)

        return await self._make(id_, "import", write, decide, may_be_new=True)

    # Damage

    async def verify(self, program: str | None = None) -> Report:
        """Look through a program, or all of them, for what is broken.

        Raises:
            DSPexError: `unknown_program`.
        """
        return await Checks(self._store, self._wall_ms).run(program, repair=False)

    async def repair(self, program: str | None = None) -> Report:
        """The same, and put right what can be without guessing; see `findings`.

        Raises:
            DSPexError: `unknown_program`, `overloaded`.
        """
        report = await Checks(self._store, self._wall_ms).run(program, repair=True)
        for finding in report.findings:
            self._shelf.doubt(finding.program)
        return report

    async def _make(
        self, program: str, operation: str, write: Write | None, decide: Decision, *, may_be_new: bool = False
    ) -> tuple[str, int]:
        return _made(await self._writer.write(program, operation, write, decide, may_be_new=may_be_new))


def _made(answer: Answer) -> tuple[str, int]:
    assert answer is not None  # it is of an operation that makes a version
    return answer


def _draft(content: bytes, lineage: Lineage, tags: Sequence[str]) -> Draft:
    for at, tag in enumerate(tags):
        check_tag(tag, f"tags[{at}]")
    try:
        facts = read_facts(content)
    except Broken as why:
        raise error("internal", f"a worker's record cannot be stored: {why}") from why
    return Draft(content=content, facts=facts, lineage=lineage, tags=tags)
