"""Whether a commit fits what is there, and which numbers it makes. Pure.

For backends that decide in this process; Redis and PostgreSQL decide by themselves. It looks
before anything is written, so a commit that is refused has nothing to undo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .failures import Conflict
from .records import Append, Change, Delete, Drop, Key, Put


def number_changes(
    changes: Sequence[Change],
    revision_of: Callable[[Key], int],
    last_of: Callable[[str], int],
) -> list[int]:
    """The revision or entry number that each change makes; 0 for what will be gone.

    Args:
        changes: In order; `limits.check_commit` has seen them.
        revision_of: The revision of a record now, 0 for none.
        last_of: The number of a journal's last entry now, 0 for none.

    Raises:
        Conflict: for the first one that expected something else.
    """
    lasts: dict[str, int] = {}  # of journals that this very commit has changed
    numbers: list[int] = []
    for change in changes:
        match change:
            case Put(key=key, expect=expect):
                found = revision_of(key)
                _require(key, expect, found)
                numbers.append(found + 1)
            case Delete(key=key, expect=expect):
                if expect is not None:
                    _require(key, expect, revision_of(key))
                numbers.append(0)
            case Append(journal=journal, after=after):
                found = lasts[journal] if journal in lasts else last_of(journal)
                _require(journal, after, found)
                lasts[journal] = found + 1
                numbers.append(found + 1)
            case Drop(journal=journal):
                lasts[journal] = 0
                numbers.append(0)
    return numbers


def _require(key: Key | str, expected: int | None, found: int) -> None:
    if expected is not None and expected != found:
        raise Conflict(key, found)
