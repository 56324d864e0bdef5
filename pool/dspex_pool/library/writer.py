"""Writing programs to the store: a decision of `steps.py`, one commit, and what the shelf learns of it.

A commit compares and swaps the head. It is first tried on the head that the shelf has, which saves
a read where nobody else writes; whatever speaks against it is believed only of a head just read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from dspex_pool.store import Change, Conflict, Delete, Key, Put, Store
from dspex_protocol import DSPexError

from .failures import told
from .reader import Reader
from .records import Head, head_key, version_key, write_head, write_version
from .refusals import contended, program_damaged
from .shelf import KnownHead, Shelf
from .steps import Step, must_be_swept, swept
from .writes import Answer, Write, first_answer, remember, write_key

TRIES: Final = 100
"""Of a hundred who write to one program at the same time, each needs a hundred at most."""

Decision = Callable[[Head | None], Step]
"""What a write makes of the head that is there; raises where it cannot be."""


class Writer:
    """Writes for one library.

    Args:
        store: Where to.
        shelf: What is remembered.
        reader: Reads what is there.
        clock: The time, in seconds.
    """

    def __init__(self, store: Store, shelf: Shelf, reader: Reader, clock: Callable[[], float]) -> None:
        self._store = store
        self._shelf = shelf
        self._reader = reader
        self._clock = clock

    async def write(
        self, program: str, operation: str, write: Write | None, decide: Decision, *, may_be_new: bool = False
    ) -> Answer:
        """Carry out a write, once.

        Args:
            program: Whose.
            operation: A word for it; part of what a write with an id is.
            write: Its id, where it has one.
            decide: What to do.
            may_be_new: Whether there may be no such program, so that none need be known to try.

        Raises:
            DSPexError: what `decide` raises, `write_id_reused`, `program_damaged`,
                `record_too_new`, or a `store_…` code.
        """
        known = self._shelf.head(program)
        step = self._try_to_decide(decide, known) if known is not None or may_be_new else None
        for _ in range(TRIES):
            if step is None:
                made, known = await self._look(program, operation, write)
                if made is not None:
                    return made[0]
                if known is not None and must_be_swept(known.head):
                    await self._sweep(program)
                    continue
                step = decide(None if known is None else known.head)
            revision = 0 if known is None else known.revision
            if await self._commit(step, revision, operation, write):
                if must_be_swept(step.head):
                    # It is done. Where this fails the next one to write there goes on with it.
                    with contextlib.suppress(DSPexError):
                        await self._sweep(program)
                return step.answer
            step = None
        raise contended()

    def _try_to_decide(self, decide: Decision, known: KnownHead | None) -> Step | None:
        if known is not None and must_be_swept(known.head):
            return None
        try:
            return decide(None if known is None else known.head)
        except DSPexError:
            return None  # a head that has just been read has the last word

    async def answer_of(self, write: Write, operation: str, program: str | None) -> tuple[Answer] | None:
        """What was answered when a write was made; None when it was not.

        Args:
            write: Its id.
            operation: The word for it.
            program: Whose it is; None where nobody has said.
        """
        if program is not None:
            made, _ = await self._look(program, operation, write)
            return made
        with told:
            (record,) = await self._store.get([write_key(write.id)])
        return None if record is None else (first_answer(write, operation, record.body),)

    async def _look(
        self, program: str, operation: str, write: Write | None
    ) -> tuple[tuple[Answer] | None, KnownHead | None]:
        """Whether the write has been made already, and the head."""
        keys = [head_key(program)] + ([] if write is None else [write_key(write.id)])
        now_s, ticket = self._clock(), self._shelf.ticket()
        with told:
            found, *made = await self._store.get(keys)
        if write is not None and made[0] is not None:
            answer = first_answer(write, operation, made[0].body)
            # Whoever is answered may rely on it here, also when the store is down in the next moment.
            with contextlib.suppress(DSPexError):  # the answer stands, whatever has become of the head
                self._reader.take_head(program, found, now_s, ticket, is_ours=True)
            return (answer,), None
        return None, self._reader.take_head(program, found, now_s, ticket)

    async def _commit(self, step: Step, revision: int, operation: str, write: Write | None) -> bool:
        """Make all of it happen, or nothing.

        Returns:
            False when something else was there than the decision was about.
        """
        program, record = step.head.program, write_head(step.head)
        key = head_key(program)
        changes: list[Change] = [Put(key=key, body=record, expect=revision, ttl_s=step.ttl_s)]
        if write is not None:
            changes.append(remember(write, operation, step.answer))
        changes += (
            Put(key=version_key(program, one.version), body=write_version(one), expect=0)
            for one in step.versions
        )
        changes += (Delete(key=version_key(program, number)) for number in step.removed)
        now_s, ticket = self._clock(), self._shelf.ticket()
        try:
            with told:
                revisions = await self._store.commit(changes)
        except Conflict as conflict:
            self._check_conflict(program, conflict, {key} if write is None else {key, write_key(write.id)})
            return False
        except BaseException:  # also a task that was cancelled: it may have happened
            self._shelf.doubt(program)
            raise
        for one in step.versions[-1:]:
            self._shelf.learn_content(program, one.version, one.content)
        # Another one may have been made after it and answered before it.
        known = KnownHead(step.head, revisions[0], now_s, len(record))
        self._shelf.learn_head(known, ticket, is_ours=True)
        return True

    def _check_conflict(self, program: str, conflict: Conflict, expected: set[Key]) -> None:
        """Others may have changed the head, or made the same write. Nothing else is theirs to change."""
        if conflict.key not in expected:
            raise program_damaged(program, "there are versions that it does not know of")

    async def _sweep(self, program: str) -> None:
        """Remove all versions of a deleted program."""
        while True:
            _, known = await self._look(program, "", None)
            if known is None or not must_be_swept(known.head):
                return
            await self._commit(swept(known.head), known.revision, "", None)
