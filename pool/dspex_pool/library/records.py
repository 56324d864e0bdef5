"""The two kinds of records of a program: its head, and each of its versions. Pure.

    collection   id                              what
    program      <program>                       HEAD: which versions there are, tags, deleted or not
    version      <program> U+001F <10 digits>    VERSION: what a worker loads, and where it came from

A version never changes. Whatever happens to a program changes its head, in one commit with the
versions that this adds or removes, and the head's revision is what writers compare and swap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

from dspex_pool.store import Key
from dspex_protocol import DSPexError, WireError, decode_value, encode_value
from dspex_protocol.records import read

from .sealing import Broken, TooNew, seal, unseal
from .upgrades import HEAD_SCHEMA, HEAD_STEPS, VERSION_SCHEMA, VERSION_STEPS, Body, Step, upgrade

T = TypeVar("T")

PROGRAM: Final = "program"
VERSION: Final = "version"

SEPARATOR: Final = "\x1f"
"""No name has a control character, and this one sorts before all that names may have: so the
versions of all programs are in the same order as their heads."""

_DIGITS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A program.

    Attributes:
        program: Its id.
        first, last: Its versions are among these numbers. `last` is the last one ever given out
            for that id, also to a program that was deleted since.
        newest: The version that is meant where none is named; as a rule the last one.
        tags: Tag to version.
        module: Of the newest version, for lists.
        created_ms, updated_ms: Wall clock, for people.
        is_deleted: There is no such program any more. `first` to `last` are then versions that
            are still to be removed.
    """

    program: str
    first: int
    last: int
    newest: int
    tags: dict[str, int]
    module: str
    created_ms: int
    updated_ms: int
    is_deleted: bool = False

    def has(self, version: int) -> bool:
        """Whether a number is one of its versions'."""
        return not self.is_deleted and self.first <= version <= self.last

    def tags_of(self, version: int) -> list[str]:
        """The tags that a version carries, sorted."""
        return sorted(tag for tag, tagged in self.tags.items() if tagged == version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version came from.

    Attributes:
        parent: The version that it was made from; None for the first, and for an import.
        by: What made it: `create`, `update`, `rollback`, `import`, or the name of an optimizer.
        note: Why, in the words of whoever asked for it.
        scores: Name of a measurement to its value.
    """

    by: str
    parent: int | None = None
    note: str | None = None
    scores: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version.

    Attributes:
        program: Whose.
        version: Its number.
        content: The worker's record, `{spec, state, dspy, schema}` encoded; opaque here.
        lineage: Where it came from.
        created_ms: Wall clock, for people.
        dspy, schema: What the worker's record says of itself.
    """

    program: str
    version: int
    content: bytes
    lineage: Lineage
    created_ms: int
    dspy: str
    schema: int

    @property
    def checksum(self) -> str:
        """SHA-256 of the content, as hexadecimal digits: equal contents have equal ones."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the library reads in a worker's record."""

    module: str
    dspy: str
    schema: int


def head_key(program: str) -> Key:
    """Where a program's head is."""
    return Key(PROGRAM, program)


def version_key(program: str, version: int) -> Key:
    """Where a version is. The digits have one width, so that they sort as numbers do."""
    return Key(VERSION, f"{program}{SEPARATOR}{version:0{_DIGITS}}")


def versions_prefix(program: str) -> str:
    """What the ids of a program's versions begin with, and no others."""
    return program + SEPARATOR


def split_version_id(id_: str) -> tuple[str, int] | None:
    """Program and number of a version's id; None when it is no id of ours."""
    program, separator, digits = id_.rpartition(SEPARATOR)
    if separator and len(digits) == _DIGITS and digits.isascii() and digits.isdigit():
        return program, int(digits)
    return None


def write_head(head: Head) -> bytes:
    """A head as the store keeps it."""
    body = {
        "first": head.first,
        "last": head.last,
        "newest": head.newest,
        "tags": head.tags,
        "module": head.module,
        "created_ms": head.created_ms,
        "updated_ms": head.updated_ms,
        "is_deleted": head.is_deleted,
    }
    return seal(head_key(head.program), HEAD_SCHEMA, encode_value(body))


def read_head(program: str, record: bytes) -> Head:
    """A head as it was kept.

    Raises:
        Broken, TooNew: See `sealing`.
    """
    body = open_body(head_key(program), record, HEAD_SCHEMA, HEAD_STEPS)
    return _build(Head, {**body, "program": program})


def write_version(version: Version) -> bytes:
    """A version as the store keeps it."""
    body = {
        "content": version.content,
        "lineage": lineage_map(version.lineage),
        "created_ms": version.created_ms,
        "dspy": version.dspy,
        "schema": version.schema,
    }
    return seal(version_key(version.program, version.version), VERSION_SCHEMA, encode_value(body))


def read_version(program: str, version: int, record: bytes) -> Version:
    """A version as it was kept.

    Raises:
        Broken, TooNew: See `sealing`.
    """
    body = open_body(version_key(program, version), record, VERSION_SCHEMA, VERSION_STEPS)
    return _build(Version, {**body, "program": program, "version": version})


def lineage_map(lineage: Lineage) -> dict[str, object]:
    """A lineage as plain values."""
    return {
        "parent": lineage.parent,
        "by": lineage.by,
        "note": lineage.note,
        "scores": lineage.scores,
    }


def read_facts(content: bytes) -> Facts:
    """What a worker's record says of itself.

    Raises:
        Broken: when it is no record of a worker.
    """
    match _map_of(content):
        case {"spec": dict(), "state": dict(), "dspy": str(dspy), "schema": int(schema)} as facts:
            module = cast("dict[str, dict[str, object]]", facts)["spec"].get("module")
            return Facts(module=module if isinstance(module, str) else "", dspy=dspy, schema=schema)
        case _:
            raise Broken("it is no record of a program")


def open_body(key: Key, record: bytes, newest: int, steps: Mapping[int, Step]) -> Body:
    """The body of a sealed record, in the form of today.

    Args:
        key: Where it is.
        record: What is there.
        newest: The schema of today.
        steps: To it from those before.

    Raises:
        Broken, TooNew: See `sealing`.
    """
    sealed = unseal(key, record)
    if sealed.schema > newest:  # its body may be of any form
        raise TooNew(sealed.schema)
    return upgrade(_map_of(sealed.body), sealed.schema, newest, steps)


def _map_of(body: bytes) -> Body:
    try:
        value = decode_value(body)
    except WireError as reason:
        raise Broken(reason.code) from None
    if not isinstance(value, dict):
        raise Broken("it is no map")
    return cast("Body", value)


def _build(record: type[T], body: Body) -> T:
    try:
        return read(record, body)
    except DSPexError as reason:
        raise Broken(reason.message) from None
