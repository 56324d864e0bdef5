"""What is stored of programs: every head and version that a commit ever wrote."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dspex_pool.library.names import Reference
from dspex_pool.library.records import Head, Lineage, read_head, read_version
from dspex_protocol import decode_value

from .records import Violation, must_not_be_denied

if TYPE_CHECKING:
    from .records import WriteRecord


@dataclass(frozen=True, slots=True)
class HeadState:
    """What a program was for a while.

    Attributes:
        mark: Which commit made it so.
        since_s: When that was, by the store's time.
        head: What calls are told of it; None while there is no such program.
    """

    mark: int
    since_s: float
    head: Head | None

    def resolve(self, reference: Reference) -> int | None:
        """The version that is meant; None where there is none."""
        head = self.head
        if head is None:
            return None
        if reference.version is not None:
            return reference.version if head.has(reference.version) else None
        return head.newest if reference.tag is None else head.tags.get(reference.tag)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version, which never changes.

    Attributes:
        record: The number that its content has; a call that runs it tells that.
        base: Of the content that it was made from.
        write: Which write made it.
        lineage: What is stored of that.
    """

    record: int
    base: object
    write: int
    lineage: Lineage


NOTHING = HeadState(0, 0.0, None)


class ProgramBook:
    """All programs of one store.

    Attributes:
        versions: Every version that there ever was.
        made: Which version a write has made.
    """

    def __init__(self, writes: dict[int, WriteRecord]) -> None:
        self._writes = writes
        self._states: dict[str, list[HeadState]] = {}
        self._last: dict[str, int] = {}
        self._begun: dict[tuple[str, int], int] = {}
        self.versions: dict[tuple[str, int], StoredVersion] = {}
        self.made: dict[int, tuple[str, int]] = {}

    def states(self, program: str) -> list[HeadState]:
        """All that it has been, the first state being that there is none."""
        return self._states.setdefault(program, [NOTHING])

    @property
    def names(self) -> list[str]:
        """All that there ever were."""
        return list(self._states)

    def now(self, program: str) -> HeadState:
        """What it is."""
        return self.states(program)[-1]

    def at_mark(self, program: str, mark: int) -> int:
        """Which of its states was after that commit."""
        return bisect_right(self.states(program), mark, key=lambda state: state.mark) - 1

    def at_time(self, program: str, at_s: float) -> int:
        """Which of its states was at that time."""
        return max(0, bisect_right(self.states(program), at_s, key=lambda state: state.since_s) - 1)

    def begun(self, program: str, version: int) -> int:
        """The first of its states with that version."""
        return self._begun[program, version]

    # What commits do

    def put_version(self, program: str, number: int, body: bytes) -> None:
        """A version is written.

        Raises:
            Violation: when it was there before, came of something else than it says, or ought not to be.
        """
        version = read_version(program, number, body)
        content = decode_value(version.content)
        assert isinstance(content, dict)
        spec = content["spec"]
        write = int(version.lineage.note or 0)
        stored = StoredVersion(spec["record"], spec.get("base"), write, version.lineage)
        if (program, number) in self.versions:
            raise Violation("P5", f"version {number} of {program} is written again")
        if write in self.made:
            raise Violation(
                "P5", f"write {write} made {self.made[write]}, and now version {number} of {program}"
            )
        self._check_origin(program, stored)
        self.versions[program, number] = stored
        self.made[write] = program, number
        must_not_be_denied(self._writes[write])

    def _check_origin(self, program: str, stored: StoredVersion) -> None:
        parent = self.versions.get((program, stored.lineage.parent or 0))
        match stored.lineage.by:
            case "create":
                is_right = parent is None and stored.record == stored.write
            case "update":
                is_right = (
                    parent is not None and stored.base == parent.record and stored.record == stored.write
                )
            case "job":
                is_right = stored.record == stored.write
            case _:
                is_right = parent is not None and stored.record == parent.record
        if not is_right:
            raise Violation("P5", f"{program} gets a version that is not what it says: {stored}")

    def put_head(self, program: str, body: bytes, mark: int, now_s: float) -> None:
        """Its head is written, after the versions that go with it.

        Raises:
            Violation: when versions are missing, or numbers are used again.
        """
        head = read_head(program, body)
        states, last = self.states(program), self._last.get(program, 0)
        if head.last < last:
            raise Violation("P5", f"{program} had {last} versions and now has {head.last}")
        for number in range(last + 1, head.last + 1):
            if (program, number) not in self.versions:
                raise Violation("P5", f"{program} has no version {number} of {head.last}")
            self._begun[program, number] = len(states)
        if not head.is_deleted and head.newest != head.last:
            raise Violation("P5", f"the newest version of {program} is {head.newest} of {head.last}")
        self._last[program] = head.last
        states.append(HeadState(mark, now_s, None if head.is_deleted else head))

    def delete_version(self, program: str, number: int) -> None:
        """A version is removed, after the head that goes with it.

        Raises:
            Violation: when it is one of a program that is there.
        """
        head = self.now(program).head
        if head is not None and head.has(number):
            raise Violation("P5", f"version {number} of {program} is removed")
