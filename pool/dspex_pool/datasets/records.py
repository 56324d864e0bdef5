"""What the store keeps of a dataset. Pure.

    collection        id                              what
    dataset           <dataset>                       HEAD: which versions there are
    dataset-version   <dataset> U+001F <10 digits>    VERSION: what its rows are, and where
    dataset-upload    <dataset> U+001F <upload>       UPLOAD: what has come of rows sent in pieces
    journal           dataset/<id of the write>       parts: entries of some hundred rows each

A version and a part never change. A version made by `append` names the parts of the one before
and has more, so it costs what is new in it. Records are sealed as those of programs are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, TypeVar

from dspex_pool.library.records import SEPARATOR, open_body
from dspex_pool.library.sealing import Broken, TooNew, seal
from dspex_pool.library.upgrades import Step
from dspex_pool.store import Key
from dspex_protocol import DSPexError, encode_value
from dspex_protocol.records import read

from .refusals import damaged, too_new

T = TypeVar("T")

HEAD: Final = "dataset"
VERSION: Final = "dataset-version"
UPLOAD: Final = "dataset-upload"

SCHEMA: Final = 1
"""Of all three; a newer one is refused and left alone."""
STEPS: Final[Mapping[int, Step]] = {}
"""To it from those before; see `library.upgrades`."""

UPLOAD_TTL_S: Final = 86_400.0
"""An upload that nobody has gone on with for a day is given up."""

NO_ROWS: Final = bytes(32)
"""The chain of no rows at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some rows.

    Attributes:
        journal, entry: Where they are: an array of them, encoded.
        rows: How many.
        size_bytes: Of the entry.
        sha256: Of the entry.
    """

    journal: str
    entry: int
    rows: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Rows, and what is known of all of them.

    Attributes:
        parts: Where they are, in order.
        fields: The names of their fields, in the order in which they were first met.
        input_keys: Those that a program is given; the others are what it should answer, or notes.
        signature: What they were checked against, in normal form; None for nothing.
        chain: SHA-256 over the chain before the last row and that row's own, so that it says which
            rows there are and not how they came; `NO_ROWS` where there are none.
    """

    parts: list[Part] = field(default_factory=list[Part])
    fields: list[str] = field(default_factory=list[str])
    input_keys: list[str] = field(default_factory=list[str])
    signature: dict[str, object] | None = None
    chain: bytes = NO_ROWS

    @property
    def rows(self) -> int:
        """How many."""
        return sum(part.rows for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """How long all parts are together."""
        return sum(part.size_bytes for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version.

    Attributes:
        dataset: Whose.
        version: Its number, from 1.
        parent: The version that it continues; None where all of its rows are its own.
        by: `put` or `append`.
        note: Why, in the words of whoever asked for it.
        created_ms: Wall clock, for people.
        contents: Its rows.
    """

    dataset: str
    version: int
    parent: int | None
    by: str
    note: str | None
    created_ms: int
    contents: Contents

    @property
    def checksum(self) -> str:
        """Hexadecimal digits; equal rows in equal order have equal ones, however they were sent."""
        return self.contents.chain.hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A dataset.

    Attributes:
        dataset: Its id.
        last: The number of the last version ever made under that id, 0 for none.
        newest: The one that is meant where none is named; 0 while its first upload is not done, or
            where it was deleted.
        rows, size_bytes, checksum, input_keys: Of the newest version, for lists.
        uploads: Those that are not done, with the journal of each.
        created_ms, updated_ms: Wall clock, for people.
        is_deleted: There is no such dataset any more; what it had may still be removed.
    """

    dataset: str
    last: int
    newest: int
    rows: int
    size_bytes: int
    checksum: str
    input_keys: list[str]
    uploads: dict[str, str]
    created_ms: int
    updated_ms: int
    is_deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Rows that come in pieces.

    Attributes:
        pieces: How many have come.
        base: The version that it continues; 0 for none.
        note: For the version.
        journal: Where its parts go.
        entries: How many are there.
        contents: All rows of the version to be, as far as they have come.
    """

    pieces: int
    base: int
    note: str | None
    journal: str
    entries: int
    contents: Contents


def head_key(dataset: str) -> Key:
    """Where a dataset's head is."""
    return Key(HEAD, dataset)


def version_key(dataset: str, version: int) -> Key:
    """Where a version is. The digits have one width, so that they sort as numbers do."""
    return Key(VERSION, f"{dataset}{SEPARATOR}{version:010}")


def upload_key(dataset: str, upload: str) -> Key:
    """Where an upload that is not done is."""
    return Key(UPLOAD, f"{dataset}{SEPARATOR}{upload}")


def prefix_of(dataset: str) -> str:
    """What the ids of a dataset's versions begin with, and no others."""
    return dataset + SEPARATOR


def number_of(version_id: str) -> int:
    """The number in a version's id."""
    return int(version_id.rpartition(SEPARATOR)[2])


def digest(part: bytes) -> bytes:
    """What a part's `sha256` is."""
    return hashlib.sha256(part).digest()


def write_head(head: Head) -> bytes:
    """A head as the store keeps it."""
    return seal(head_key(head.dataset), SCHEMA, encode_value(_without_dataset(asdict(head))))


def write_version(version: Version) -> bytes:
    """A version as the store keeps it."""
    body = {**_without_dataset(asdict(version)), "version": version.version}
    return seal(version_key(version.dataset, version.version), SCHEMA, encode_value(body))


def write_upload(dataset: str, name: str, upload: Upload) -> bytes:
    """An upload as the store keeps it."""
    return seal(upload_key(dataset, name), SCHEMA, encode_value(asdict(upload)))


def read_head(dataset: str, record: bytes) -> Head:
    """A head as it was kept.

    Raises:
        DSPexError: `store_damaged`, `record_too_new`.
    """
    return _opened(Head, dataset, head_key(dataset), record, {"dataset": dataset})


def read_version(dataset: str, version: int, record: bytes) -> Version:
    """A version as it was kept; else as `read_head`."""
    return _opened(Version, dataset, version_key(dataset, version), record, {"dataset": dataset})


def read_upload(dataset: str, name: str, record: bytes) -> Upload:
    """An upload as it was kept; else as `read_head`."""
    return _opened(Upload, dataset, upload_key(dataset, name), record, {})


def _without_dataset(body: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in body.items() if key != "dataset"}


def _opened(record: type[T], dataset: str, key: Key, sealed: bytes, known: Mapping[str, object]) -> T:
    try:
        return read(record, {**open_body(key, sealed, SCHEMA, STEPS), **known})
    except TooNew as newer:
        raise too_new(dataset, newer.schema, SCHEMA) from newer
    except Broken as why:
        raise damaged(dataset, str(why)) from why
    except DSPexError as why:
        raise damaged(dataset, why.message) from why
