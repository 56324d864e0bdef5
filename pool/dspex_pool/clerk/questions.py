"""QUESTIONS: what the clerk asks the supervisor for, as both write and read it. Pure.

clerk.get        [[collection, id], …]                                ──► [[revision, body] or nil, …]
clerk.scan       [collection, prefix, after, limit, newest_first]     ──► [[id, revision, body], …]
clerk.entries    [journal, after, limit]                              ──► [[number, body], …]
clerk.runs       the id of an experiment     ──► nil, once its runs tell what there is to tell of up to now
clerk.piece      the payload of an ITEM for the client whose call meta.call is ──► nil, once it is sent
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from dspex_pool.store import Entry, Key, Record
from dspex_protocol import decode_value, encode_value

GET: Final = "clerk.get"
SCAN: Final = "clerk.scan"
ENTRIES: Final = "clerk.entries"
RUNS: Final = "clerk.runs"
PIECE: Final = "clerk.piece"


class Scan(NamedTuple):
    """Which records; as `Store.scan`."""

    collection: str
    prefix: str
    after: str
    limit: int
    newest_first: bool


class Entries(NamedTuple):
    """Which entries; as `Store.entries`."""

    journal: str
    after: int
    limit: int


def write_keys(keys: Sequence[Key]) -> bytes:
    """Which records are wanted."""
    return encode_value([list(key) for key in keys])


def read_keys(payload: bytes) -> list[Key]:
    """The same."""
    return [Key(*key) for key in _rows(payload)]


def write_found(found: Sequence[Record | None]) -> bytes:
    """Those records."""
    return encode_value([None if one is None else [one.revision, one.body] for one in found])


def read_found(keys: Sequence[Key], payload: bytes) -> list[Record | None]:
    """The same."""
    rows = _rows(payload)
    return [None if row is None else Record(key, *row) for key, row in zip(keys, rows, strict=True)]


def write_scanned(found: Sequence[Record]) -> bytes:
    """Records of one collection."""
    return encode_value([[one.key.id, one.revision, one.body] for one in found])


def read_scanned(collection: str, payload: bytes) -> list[Record]:
    """The same."""
    return [Record(Key(collection, name), *rest) for name, *rest in _rows(payload)]


def write_entries(entries: Sequence[Entry]) -> bytes:
    """Entries of a journal."""
    return encode_value([list(entry) for entry in entries])


def read_entries(payload: bytes) -> list[Entry]:
    """The same."""
    return [Entry(*entry) for entry in _rows(payload)]


def write_wish(wish: Scan | Entries) -> bytes:
    """What is to be read."""
    return encode_value(list(wish))


def read_scan(payload: bytes) -> Scan:
    """A wish for records."""
    return Scan(*_rows(payload))


def read_wanted_entries(payload: bytes) -> Entries:
    """A wish for entries."""
    return Entries(*_rows(payload))


def _rows(payload: bytes) -> list[Any]:
    return cast("list[Any]", decode_value(payload))
