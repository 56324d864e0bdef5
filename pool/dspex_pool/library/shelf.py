"""THE SHELF: what this process remembers of the store. Pure; it never waits.

Calls are served from here. A version never changes, so the shelf hands out the same bytes for as
long as it has them: by that workers' books know that a worker has a program already. What may
change is a head. Servers share a store, so a head counts as fresh for a moment only.

What is not fresh is kept nevertheless: it is all there is when the store is down. So is the head before
one whose newest version is not here yet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from math import inf
from typing import Final, Generic, TypeAlias, TypeVar

from .names import Reference
from .records import Head

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Held: TypeAlias = tuple[str, int, bytes]
"""Program, version and the worker's record: what a call runs on."""

HEAD_FRESH_S: Final = 1.0
"""Another server's new version is used here after so long at most. Each program in use costs the
store one small read in that time."""

VERSION_FRESH_S: Final = 60.0
"""Likewise for a version that is asked for by its number: it cannot change, but its program may
have been deleted by another server."""

MAX_CONTENT_BYTES: Final = 64 * 1024 * 1024
"""Contents that are kept: some thousand programs with demos, or sixty with pictures in them."""

MAX_CONTENTS: Final = 10_000

MAX_HEAD_BYTES: Final = 8 * 1024 * 1024
"""Heads, as they are stored: some 200 bytes each, with many tags some kilobytes; in memory they
take five times as much."""

MAX_HEADS: Final = 20_000

Ticket: TypeAlias = int
"""When a read began; see `Shelf.ticket`."""


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head as it was in the store.

    Attributes:
        head: It.
        revision: Which it had.
        looked_s: When it was still there: the store was asked, or began to write it, then.
        learned: The ticket of that moment.
        size_bytes: Of its record.
        before: An older one, for calls that cannot have what this one says: the store told of a version,
            and did not come to tell its content. Never older than what this server has acknowledged.
    """

    head: Head
    revision: int
    looked_s: float
    size_bytes: int
    learned: Ticket = 0
    before: KnownHead | None = None


class Recent(Generic[K, V]):
    """Things by key, bounded in number and size; the one used longest ago goes first."""

    __slots__ = ("_kept", "_max_bytes", "_max_count", "_size_of", "bytes_used")

    def __init__(self, max_count: int, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._size_of = size_of
        self.bytes_used = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """What is there; it counts as used."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def peek(self, key: K) -> V | None:
        """What is there."""
        return self._kept.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep it; where it is larger than all that may be kept, nothing is."""
        self.remove(key)
        self._kept[key] = value
        self.bytes_used += self._size_of(value)
        while len(self._kept) > self._max_count or self.bytes_used > self._max_bytes:
            _, old = self._kept.popitem(last=False)
            self.bytes_used -= self._size_of(old)

    def remove(self, key: K) -> None:
        """Forget it."""
        old = self._kept.pop(key, None)
        if old is not None:
            self.bytes_used -= self._size_of(old)


class Shelf:
    """Heads and contents.

    Args:
        max_contents, max_content_bytes: Bounds of the contents.
        max_heads, max_head_bytes: And of the heads.
    """

    def __init__(
        self,
        *,
        max_contents: int = MAX_CONTENTS,
        max_content_bytes: int = MAX_CONTENT_BYTES,
        max_heads: int = MAX_HEADS,
        max_head_bytes: int = MAX_HEAD_BYTES,
    ) -> None:
        self._contents = Recent[tuple[str, int], Held](max_contents, max_content_bytes, _size_of_held)
        self._heads = Recent[str, KnownHead](max_heads, max_head_bytes, _size_of_head)
        self._tickets = 0

    # Looking

    def find(self, reference: Reference, now_s: float) -> Held | None:
        """What a call is to run on; None when the store must be asked."""
        program, version, _ = reference
        known = self._heads.get(program)
        if known is None or now_s - known.looked_s > (HEAD_FRESH_S if version is None else VERSION_FRESH_S):
            return None
        return self._held(known.head, reference)

    def known(self, reference: Reference) -> Held | None:
        """The same, however old."""
        known = self._heads.get(reference.program)
        if known is None:
            return None
        held = self._held(known.head, reference)
        if held is None and known.before is not None and _version_of(known.head, reference) is not None:
            return self._held(known.before.head, reference)
        return held

    def _held(self, head: Head, reference: Reference) -> Held | None:
        version = _version_of(head, reference)
        return None if version is None else self._contents.get((reference.program, version))

    def head(self, program: str) -> KnownHead | None:
        """A head, however old."""
        return self._heads.peek(program)

    def content(self, program: str, version: int) -> Held | None:
        """A version's content."""
        return self._contents.get((program, version))

    # Learning

    def ticket(self) -> Ticket:
        """To be taken before the store is read, and handed over with what it said.

        An answer may be on its way while a write of ours is made and acknowledged. It is older
        than that write then, and must not replace what the write has made.
        """
        return self._tickets

    def learn_head(self, found: KnownHead, ticket: Ticket | None = None, *, is_ours: bool = False) -> None:
        """What the store said of a program.

        Args:
            found: It; `learned` and `before` are put in here.
            ticket: From before the store was asked, or was given this to write; None for what is the
                newest for certain.
            is_ours: It has what a write of ours made, which will be acknowledged: from now on nothing
                older may be used.
        """
        known = self._heads.peek(found.head.program)
        if (
            known is not None
            and ticket is not None
            and found.revision < known.revision
            and ticket < known.learned  # else a smaller revision is a program that was begun anew
        ):
            if is_ours and (known.before is None or known.before.revision < found.revision):
                self._heads.put(found.head.program, replace(known, before=found))
            return
        self._tickets += 1
        before = None if is_ours or known is None else self._before(found, known)
        self._heads.put(found.head.program, replace(found, learned=self._tickets, before=before))

    def _before(self, found: KnownHead, known: KnownHead) -> KnownHead | None:
        """The newest head that calls can be served from, of those before one that was found."""
        if found.revision < known.revision:
            return None
        if found.revision > known.revision and self._held(known.head, Reference(known.head.program)):
            return replace(known, before=None)
        return known.before

    def learn_absence(self, program: str, ticket: Ticket) -> None:
        """The store has no head of that program."""
        known = self._heads.peek(program)
        if known is not None and ticket >= known.learned:
            self._heads.remove(program)

    def doubt(self, program: str) -> None:
        """A write of ours may have happened or not: the store must be asked before the next call."""
        known = self._heads.peek(program)
        if known is not None:
            self._heads.put(program, replace(known, looked_s=-inf))

    def learn_content(self, program: str, version: int, content: bytes) -> Held:
        """A version's content was read or written.

        Returns:
            What calls run on: the bytes that are here already where they are equal.
        """
        held = self._contents.get((program, version))
        if held is None or held[2] != content:
            held = (program, version, content)
            self._contents.put((program, version), held)
        return held


def _size_of_held(held: Held) -> int:
    return len(held[2])


def _size_of_head(known: KnownHead) -> int:
    return known.size_bytes + (0 if known.before is None else known.before.size_bytes)


def _version_of(head: Head, reference: Reference) -> int | None:
    """The number of the version that is meant; None where there is none."""
    version = reference.version
    if version is None:
        version = head.newest if reference.tag is None else head.tags.get(reference.tag, 0)
    return version if head.has(version) else None
