"""What every store takes, whatever is behind it; all backends check it here.

Who breaks one of these has a mistake in its code: what clients send was checked long before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from .records import Append, Change, Delete, Drop, Fence, Key, Put

MAX_ID_BYTES: Final = 512
"""Of an id or a name, as UTF-8: an index of PostgreSQL takes 2,700 bytes for all of its columns."""

MAX_KEYS: Final = 1000
"""Of one `get`."""

MAX_CHANGES: Final = 1000
"""Of one commit, its fences not counted."""

MAX_RECORDS: Final = 1000
"""Of one answer of `scan`."""

MAX_ENTRIES: Final = 10_000
"""Of one answer of `entries`."""

LEASE_MEMORY_S: Final = 3600.0
"""How long a lease that is over is remembered, so that its fence still passes and those before it do not.

Forgotten at once, a lease that was taken, used and given back by another owner would let its
former owner's late writes through. An hour is longer than any process stops and goes on.
"""


def check_id(text: str) -> None:
    """An id, or the name of a collection, a journal or a lease.

    Raises:
        ValueError: when it is empty, too long, has a NUL or is not Unicode.
    """
    # Half a surrogate pair is a UnicodeEncodeError, which is a ValueError too.
    length = len(text) if text.isascii() else len(text.encode())
    if not 1 <= length <= MAX_ID_BYTES or "\0" in text:
        raise ValueError(f"an id of 1 to {MAX_ID_BYTES} bytes without NUL was expected")


def check_keys(keys: Sequence[Key]) -> None:
    """The keys of a `get`.

    Raises:
        ValueError: when there are too many, or one of them is none.
    """
    _check_number("keys", len(keys), 0, MAX_KEYS)
    for key in keys:
        check_id(key.collection)
        check_id(key.id)


def check_scan(collection: str, prefix: str, after: str, limit: int) -> None:
    """The arguments of a `scan`.

    Raises:
        ValueError: when one of them is out of bounds.
    """
    check_id(collection)
    for text in (prefix, after):
        if text:
            check_id(text)
    _check_number("limit", limit, 1, MAX_RECORDS)


def check_entries(journal: str, after: int, limit: int) -> None:
    """The arguments of `entries`.

    Raises:
        ValueError: when one of them is out of bounds.
    """
    check_id(journal)
    if not 0 <= after < 2**63:
        raise ValueError("entries are numbered from 1, in 64 bits")
    _check_number("limit", limit, 1, MAX_ENTRIES)


def check_commit(changes: Sequence[Change], fences: Iterable[Fence]) -> None:
    """The arguments of a `commit`.

    Raises:
        ValueError: when there are too few, too many or two for one key, or one of them is wrong.
    """
    _check_number("changes", len(changes), 1, MAX_CHANGES)
    keys = [change.key for change in changes if isinstance(change, Put | Delete)]
    check_keys(keys)
    if len(set(keys)) < len(keys):
        raise ValueError("a key has more than one change")
    for change in changes:
        if isinstance(change, Append | Drop):
            check_id(change.journal)
        elif isinstance(change, Put) and change.ttl_s is not None:
            check_ttl(change.ttl_s)
    for fence in fences:
        check_id(fence.name)


def check_lease(name: str, owner: str, ttl_s: float) -> None:
    """The arguments of `lease`.

    Raises:
        ValueError: when one of them is out of bounds.
    """
    check_id(name)
    check_id(owner)
    check_ttl(ttl_s)


def check_ttl(ttl_s: float) -> None:
    """A time to live, in seconds.

    Raises:
        ValueError: when it is not more than 0, or for ever.
    """
    if not 0 < ttl_s < float("inf"):
        raise ValueError("a time to live is more than 0 s and finite")


def _check_number(name: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise ValueError(f"{least} to {most} {name} were expected, got {number}")
