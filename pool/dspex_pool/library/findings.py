"""What can be wrong with a stored program, and what of it can be put right without guessing. Pure.

`checks.py` reads what is there into a `Sight`, and carries out the `Remedy`.

Nothing that can still be read is ever removed, but for what is left of a program that was deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby

from .records import Head


class State(StrEnum):
    """What a record is like."""

    SOUND = "sound"
    DAMAGED = "damaged"
    TOO_NEW = "too_new"


class Problem(StrEnum):
    """What is wrong."""

    HEAD_DAMAGED = "head_damaged"
    HEAD_MISSING = "head_missing"
    HEAD_TOO_NEW = "head_too_new"
    NEWEST_UNREADABLE = "newest_unreadable"
    VERSION_DAMAGED = "version_damaged"
    VERSION_MISSING = "version_missing"
    VERSION_TOO_NEW = "version_too_new"
    VERSION_UNKNOWN = "version_unknown"
    TAG_DANGLING = "tag_dangling"
    LEFT_OVER = "left_over"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong.

    Attributes:
        program: With which program.
        problem: What.
        versions: With which of its versions, where it is about some.
        text: In words.
        remedy: What `repair` does about it, or has done; None where it can do nothing.
    """

    program: str
    problem: Problem
    text: str
    versions: tuple[int, ...] = ()
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A version that is there.

    Attributes:
        number: Its own.
        state: What it is like.
        text: What is wrong with it.
        module: Of a sound one.
        created_ms: Likewise.
    """

    number: int
    state: State
    text: str = ""
    module: str = ""
    created_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is in the store of one program.

    Attributes:
        program: Which.
        revision: Of its head; 0 where there is none.
        state: Of its head.
        head: It, where it is sound.
        text: What is wrong with it.
        versions: In order.
    """

    program: str
    revision: int
    state: State
    head: Head | None
    text: str
    versions: Sequence[Seen]

    @property
    def sound(self) -> list[Seen]:
        """The versions that can be read."""
        return [one for one in self.versions if one.state is State.SOUND]


@dataclass(slots=True)
class Remedy:
    """What is wrong, and what to do.

    Attributes:
        findings: What is wrong.
        head: What the head is to be; None to leave it as it is.
        drop_head: Whether it is to be removed.
        removed: Versions that are to be removed.
    """

    findings: list[Finding] = field(default_factory=list[Finding])
    head: Head | None = None
    drop_head: bool = False
    removed: list[int] = field(default_factory=list[int])

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return self.head is not None or self.drop_head or bool(self.removed)


def examine(sight: Sight, now_ms: int) -> Remedy:
    """What is wrong with a program, and what to do.

    Args:
        sight: What there is of it.
        now_ms: The wall clock.
    """
    remedy = Remedy()
    if sight.state is State.TOO_NEW:
        text = f"a newer DSPex wrote it ({sight.text}); it is left as it is"
        remedy.findings.append(Finding(program=sight.program, problem=Problem.HEAD_TOO_NEW, text=text))
    elif sight.head is None:
        _without_head(sight, now_ms, remedy)
    elif sight.head.is_deleted:
        _deleted(sight, sight.head, remedy)
    else:
        _living(sight, sight.head, now_ms, remedy)
    return remedy


def _without_head(sight: Sight, now_ms: int, remedy: Remedy) -> None:
    """Its head is missing or damaged. Where it has sound versions they say what it was."""
    sound, numbers = sight.sound, [one.number for one in sight.versions]
    if sound:
        remedy.head = Head(
            program=sight.program,
            first=numbers[0],
            last=numbers[-1],
            newest=sound[-1].number,
            tags={},
            module=sound[-1].module,
            created_ms=sound[0].created_ms,
            updated_ms=now_ms,
        )
        told = f"made anew from its versions, the newest being {sound[-1].number}; its tags are lost"
    elif any(one.state is State.TOO_NEW for one in sight.versions):
        told = None
    else:
        remedy.drop_head = sight.revision > 0
        remedy.removed = numbers
        told = "removed, since no version of it can be read"
    missing = sight.revision == 0
    remedy.findings.append(
        Finding(
            program=sight.program,
            problem=Problem.HEAD_MISSING if missing else Problem.HEAD_DAMAGED,
            text="it has versions and no head" if missing else f"its head cannot be read ({sight.text})",
            remedy=told,
        )
    )
    remedy.findings += _unreadable(sight.program, sight.versions, "removed" if remedy.removed else None)
    if remedy.head is not None:
        remedy.findings += _missing(sight.program, remedy.head, sight.versions)


def _deleted(sight: Sight, head: Head, remedy: Remedy) -> None:
    remedy.removed = [one.number for one in sight.versions]
    if remedy.removed:
        remedy.head = replace(head, first=head.last + 1)
        remedy.findings.append(
            Finding(
                program=sight.program,
                problem=Problem.LEFT_OVER,
                versions=tuple(remedy.removed),
                text=f"it was deleted, and {_numbers(remedy.removed)} of it left",
                remedy="removed",
            )
        )


def _living(sight: Sight, head: Head, now_ms: int, remedy: Remedy) -> None:
    program = sight.program
    there = [one for one in sight.versions if one.number >= head.first]
    remedy.removed = [one.number for one in sight.versions if one.number < head.first]
    if remedy.removed:
        remedy.findings.append(
            Finding(
                program=program,
                problem=Problem.LEFT_OVER,
                versions=tuple(remedy.removed),
                text=f"{_numbers(remedy.removed)} left of a program that had this id before",
                remedy="removed",
            )
        )
    changed = _with_unknown(head, there, remedy)
    remedy.findings += _unreadable(program, there)
    remedy.findings += _missing(program, head, there)
    changed = _with_readable_newest(changed, there, remedy)
    changed = _without_dangling_tags(changed, there, remedy)
    if changed != head:
        remedy.head = replace(changed, updated_ms=now_ms)


def _with_unknown(head: Head, there: Sequence[Seen], remedy: Remedy) -> Head:
    """Versions that the head does not reach: it is older than they are."""
    unknown = [one.number for one in there if one.number > head.last]
    if not unknown:
        return head
    sound = [one for one in there if one.number > head.last and one.state is State.SOUND]
    remedy.findings.append(
        Finding(
            program=head.program,
            problem=Problem.VERSION_UNKNOWN,
            versions=tuple(unknown),
            text=f"{_numbers(unknown)} beyond the last that the head knows, {head.last}",
            remedy="known again" + (f", the newest being {sound[-1].number}" if sound else ""),
        )
    )
    extended = replace(head, last=unknown[-1])
    return replace(extended, newest=sound[-1].number, module=sound[-1].module) if sound else extended


def _with_readable_newest(head: Head, there: Sequence[Seen], remedy: Remedy) -> Head:
    newest = next((one for one in there if one.number == head.newest), None)
    if newest is not None and newest.state is not State.DAMAGED:
        return head
    sound = [one for one in there if one.state is State.SOUND]
    remedy.findings.append(
        Finding(
            program=head.program,
            problem=Problem.NEWEST_UNREADABLE,
            versions=(head.newest,),
            text=f"its newest version, {head.newest}, is {'missing' if newest is None else 'damaged'}",
            remedy=f"version {sound[-1].number} is the newest now" if sound else None,
        )
    )
    return replace(head, newest=sound[-1].number, module=sound[-1].module) if sound else head


def _without_dangling_tags(head: Head, there: Sequence[Seen], remedy: Remedy) -> Head:
    numbers = {one.number for one in there}
    for tag, version in sorted(head.tags.items()):
        if version not in numbers:
            remedy.findings.append(
                Finding(
                    program=head.program,
                    problem=Problem.TAG_DANGLING,
                    versions=(version,),
                    text=f"its tag {tag!r} points to version {version}, which is missing",
                    remedy="taken away",
                )
            )
    tags = {tag: version for tag, version in head.tags.items() if version in numbers}
    return head if tags == head.tags else replace(head, tags=tags)


def _unreadable(program: str, versions: Iterable[Seen], remedy: str | None = None) -> Iterator[Finding]:
    """As a rule nothing can be done about them, and nothing is: what is left may help somebody."""
    for one in versions:
        if one.state is not State.SOUND:
            damaged = one.state is State.DAMAGED
            yield Finding(
                program=program,
                problem=Problem.VERSION_DAMAGED if damaged else Problem.VERSION_TOO_NEW,
                versions=(one.number,),
                text=f"version {one.number} cannot be read ({one.text})"
                if damaged
                else f"a newer DSPex wrote version {one.number} ({one.text}); it is left as it is",
                remedy=remedy,
            )


def _missing(program: str, head: Head, there: Sequence[Seen]) -> Iterator[Finding]:
    numbers = {one.number for one in there}
    missing = [number for number in range(head.first, head.last + 1) if number not in numbers]
    if missing:
        yield Finding(
            program=program,
            problem=Problem.VERSION_MISSING,
            versions=tuple(missing),
            text=f"{_numbers(missing)} missing",
        )


def _numbers(numbers: Sequence[int]) -> str:
    """`version 3 is`, `versions 1, 4 to 7 are`."""
    runs: list[str] = []
    for _, group in groupby(enumerate(numbers), key=lambda one: one[1] - one[0]):
        run = [number for _, number in group]
        runs.append(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}")
    return f"version {runs[0]} is" if len(numbers) == 1 else f"versions {', '.join(runs)} are"
