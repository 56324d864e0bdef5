"""Looking through the store for programs that are broken, and putting right what can be.

It may run while servers use the store: a program that changes under its eyes is looked at again, and
what is put right is compared and swapped like any other write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dspex_pool.store import Change, Conflict, Delete, Put, Record, Store
from dspex_pool.store.limits import MAX_CHANGES

from .failures import told
from .findings import Finding, Problem, Remedy, Seen, Sight, State, examine
from .reader import BATCH
from .records import (
    PROGRAM,
    VERSION,
    Head,
    head_key,
    read_facts,
    read_head,
    read_version,
    split_version_id,
    version_key,
    versions_prefix,
    write_head,
)
from .refusals import contended, unknown_program
from .sealing import Broken, TooNew
from .steps import TOMBSTONE_S

TRIES: Final = 20
"""Looks at a program that others change all the while."""

HEADS: Final = 100
"""Heads that are read at a time."""

_LAST: Final = 10**10 - 1


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        programs: How many were looked at.
        versions: And of their versions.
        findings: What is wrong.
    """

    programs: int = 0
    versions: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])


class Checks:
    """Looks and repairs.

    Args:
        store: Where.
        wall_ms: The wall clock, for people.
    """

    def __init__(self, store: Store, wall_ms: Callable[[], int]) -> None:
        self._store = store
        self._wall_ms = wall_ms

    async def run(self, program: str | None, *, repair: bool) -> Report:
        """Look at a program, or at all.

        Args:
            program: Its id; None for all.
            repair: Whether to put right what can be.

        Raises:
            DSPexError: `unknown_program`, `overloaded`, or a `store_…` code.
        """
        report = Report()
        if program is None:
            await self._all_with_heads(report, repair=repair)
            await self._all_without(report, repair=repair)
        elif not await self._one(program, report, repair=repair):
            raise unknown_program(program)
        return report

    async def _all_with_heads(self, report: Report, *, repair: bool) -> None:
        after = ""
        while True:
            with told:
                heads = await self._store.scan(PROGRAM, after=after, limit=HEADS)
            for head in heads:
                await self._one(head.key.id, report, repair=repair)
            if len(heads) < HEADS:
                return
            after = heads[-1].key.id

    async def _all_without(self, report: Report, *, repair: bool) -> None:
        """From the first version of each program to the first of the next."""
        after = ""
        while True:
            with told:
                found = await self._store.scan(VERSION, after=after, limit=1)
            if not found:
                return
            after = found[0].key.id
            named = split_version_id(after)
            if named is None:
                text = "there is a version whose id is none of ours; it is left as it is"
                report.findings.append(Finding(program=after, problem=Problem.FOREIGN, text=text))
                continue
            with told:
                (head,) = await self._store.get([head_key(named[0])])
            if head is None:
                await self._one(named[0], report, repair=repair)
            after = version_key(named[0], _LAST).id

    async def _one(self, program: str, report: Report, *, repair: bool) -> bool:
        """Look at one program; whether there is anything of it."""
        for _ in range(TRIES):
            sight = await self._look(program)
            remedy = examine(sight, self._wall_ms())
            if remedy.findings and not await self._is_at(program, sight.revision):
                continue  # somebody has changed it meanwhile
            if repair and remedy.is_needed and not await self._heal(sight, remedy):
                continue
            report.programs += sight.revision > 0 or bool(sight.versions)
            report.versions += len(sight.versions)
            report.findings += remedy.findings
            return sight.revision > 0 or bool(sight.versions)
        raise contended()

    async def _look(self, program: str) -> Sight:
        with told:
            (record,) = await self._store.get([head_key(program)])
        head, state, text = _look_at_head(program, record)
        versions: list[Seen] = []
        after = ""
        while True:
            with told:
                records = await self._store.scan(
                    VERSION, prefix=versions_prefix(program), after=after, limit=BATCH
                )
            versions += [seen for one in records if (seen := _look_at_version(one)) is not None]
            if len(records) < BATCH:
                break
            after = records[-1].key.id
        revision = 0 if record is None else record.revision
        return Sight(program=program, revision=revision, state=state, head=head, text=text, versions=versions)

    async def _is_at(self, program: str, revision: int) -> bool:
        with told:
            (record,) = await self._store.get([head_key(program)])
        return revision == (0 if record is None else record.revision)

    async def _heal(self, sight: Sight, remedy: Remedy) -> bool:
        """Carry a remedy out; False when somebody else has changed the program."""
        changes: list[Change] = []
        key = head_key(sight.program)
        if remedy.head is not None:
            ttl_s = TOMBSTONE_S if remedy.head.is_deleted else None
            changes.append(Put(key=key, body=write_head(remedy.head), expect=sight.revision, ttl_s=ttl_s))
        elif remedy.drop_head:
            changes.append(Delete(key=key, expect=sight.revision))
        changes += (Delete(key=version_key(sight.program, number)) for number in remedy.removed)
        try:
            # The head comes last: who is interrupted finds the same the next time.
            while changes:
                some = changes[-MAX_CHANGES:]
                with told:
                    await self._store.commit(some)
                del changes[-MAX_CHANGES:]
        except Conflict:
            return False
        return True


def _look_at_head(program: str, record: Record | None) -> tuple[Head | None, State, str]:
    if record is None:
        return None, State.SOUND, ""
    try:
        return read_head(program, record.body), State.SOUND, ""
    except Broken as why:
        return None, State.DAMAGED, str(why)
    except TooNew as newer:
        return None, State.TOO_NEW, str(newer)


def _look_at_version(record: Record) -> Seen | None:
    named = split_version_id(record.key.id)
    if named is None:
        return None
    try:
        version = read_version(*named, record.body)
        facts = read_facts(version.content)
    except Broken as why:
        return Seen(number=named[1], state=State.DAMAGED, text=str(why))
    except TooNew as newer:
        return Seen(number=named[1], state=State.TOO_NEW, text=str(newer))
    return Seen(number=named[1], state=State.SOUND, module=facts.module, created_ms=version.created_ms)
