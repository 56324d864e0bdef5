"""What each write makes of a program's head: the decisions, pure. `writer.py` carries them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dspex_pool.store.limits import MAX_CHANGES
from dspex_protocol import invalid_argument

from .records import Facts, Head, Lineage, Version
from .refusals import program_exists, unknown_program, unknown_version, version_conflict
from .writes import Answer

MAX_TAGS: Final = 100
"""Of one program. Its head is written anew with every write."""

TOMBSTONE_S: Final = 30 * 86_400.0
"""How long the numbers of a deleted program's versions are remembered, so that none is used for
another program of that id. No server goes on for so long without asking the store."""

REMOVALS: Final = MAX_CHANGES - 2
"""Versions that one commit removes, beside the head and the record of the write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A version that has no number yet.

    Attributes:
        tags: That it gets.
        created_ms: None for now.
    """

    content: bytes
    facts: Facts
    lineage: Lineage
    tags: Sequence[str] = ()
    created_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a write does.

    Attributes:
        head: As it is to be.
        answer: What the client gets.
        versions: That are new.
        removed: Numbers of versions that go.
        ttl_s: For the head.
    """

    head: Head
    answer: Answer
    versions: Sequence[Version] = ()
    removed: range = range(0)
    ttl_s: float | None = None


def begun(program: str, found: Head | None, drafts: Sequence[Draft], now_ms: int) -> Step:
    """A new program.

    Args:
        program: Its id.
        found: What is there: nothing, or the head of one that was deleted.
        drafts: Its versions, numbered from 1, and so are their parents; behind those of a deleted
            program they all move on.
        now_ms: The wall clock.

    Raises:
        CallerError: `program_exists`, or `invalid_argument` for too many tags.
    """
    if found is not None and not found.is_deleted:
        raise program_exists(program)
    before = 0 if found is None else found.last
    versions = [_version(program, before, number, draft, now_ms) for number, draft in enumerate(drafts, 1)]
    last = before + len(drafts)
    head = Head(
        program=program,
        first=before + 1,
        last=last,
        newest=last,
        tags=_with_tags({}, ((tag, before + at) for at, one in enumerate(drafts, 1) for tag in one.tags)),
        module=drafts[-1].facts.module,
        created_ms=now_ms,
        updated_ms=now_ms,
    )
    return Step(head=head, answer=(program, last), versions=versions)


def added(
    program: str, found: Head | None, *, base: int | None, newest: int | None, draft: Draft, now_ms: int
) -> Step:
    """A new version.

    Args:
        program: Of which.
        found: Its head.
        base: The version that it was made from; None for none of this program's.
        newest: Which must be the newest; None for any.
        draft: The new one.
        now_ms: The wall clock.

    Raises:
        CallerError: `unknown_program`, `version_conflict`, or `invalid_argument` for too many tags.
    """
    head = _living(program, found)
    if newest is not None and head.newest != newest:
        raise version_conflict(program, newest, head.newest)
    if base is not None and not head.has(base):
        raise unknown_version(program, base, head.newest)
    number = head.last + 1
    changed = replace(
        head,
        last=number,
        newest=number,
        tags=_with_tags(head.tags, ((tag, number) for tag in draft.tags)),
        module=draft.facts.module,
        updated_ms=now_ms,
    )
    lineage = replace(draft.lineage, parent=base)
    version = _version(program, 0, number, replace(draft, lineage=lineage), now_ms)
    return Step(head=changed, answer=(program, number), versions=[version])


def tagged(program: str, found: Head | None, version: int, tag: str, now_ms: int) -> Step:
    """A tag that points to a version from now on.

    Raises:
        CallerError: `unknown_program`, or `invalid_argument` for too many tags.
    """
    head = _living(program, found)
    if not head.has(version):
        raise unknown_version(program, version, head.newest)
    tags = _with_tags(head.tags, [(tag, version)])
    return Step(head=_retagged(head, tags, now_ms), answer=None)


def untagged(program: str, found: Head | None, tag: str, now_ms: int) -> Step:
    """A tag that points nowhere; no error where it has not been.

    Raises:
        CallerError: `unknown_program`.
    """
    head = _living(program, found)
    tags = {name: version for name, version in head.tags.items() if name != tag}
    return Step(head=_retagged(head, tags, now_ms), answer=None)


def deleted(program: str, found: Head | None, now_ms: int) -> Step:
    """A program that is no more. The first of its versions go with it, mostly all.

    Raises:
        CallerError: `unknown_program`.
    """
    head = _living(program, found)
    return swept(replace(head, tags={}, updated_ms=now_ms, is_deleted=True))


def swept(head: Head) -> Step:
    """Some more versions of a deleted program removed; `first` says where to go on."""
    end = min(head.first + REMOVALS, head.last + 1)
    rest = replace(head, first=end)
    return Step(
        head=rest,
        answer=None,
        removed=range(head.first, end),
        # One that must still be swept stays until it has been.
        ttl_s=None if must_be_swept(rest) else TOMBSTONE_S,
    )


def must_be_swept(head: Head) -> bool:
    """Whether a deleted program may still have versions."""
    return head.is_deleted and head.first <= head.last


def _living(program: str, found: Head | None) -> Head:
    if found is None or found.is_deleted:
        raise unknown_program(program)
    return found


def _version(program: str, before: int, number: int, draft: Draft, now_ms: int) -> Version:
    lineage = draft.lineage
    if lineage.parent is not None:
        lineage = replace(lineage, parent=before + lineage.parent)
    return Version(
        program=program,
        version=before + number,
        content=draft.content,
        lineage=lineage,
        created_ms=now_ms if draft.created_ms is None else draft.created_ms,
        dspy=draft.facts.dspy,
        schema=draft.facts.schema,
    )


def _with_tags(tags: Mapping[str, int], more: Iterable[tuple[str, int]]) -> dict[str, int]:
    changed = {**tags, **dict(more)}
    if len(changed) > max(MAX_TAGS, len(tags)):
        raise invalid_argument("tags", f"at most {MAX_TAGS} for a program", list(changed))
    return changed


def _retagged(head: Head, tags: dict[str, int], now_ms: int) -> Head:
    return head if tags == head.tags else replace(head, tags=tags, updated_ms=now_ms)
