"""SEALED RECORDS: the form in which the library's records are in the store.

A record is `{schema, sha256, body}`. The checksum is over where the record is, its schema and its
body, so neither a flipped bit nor a record that stands under another's key is taken for sound. This
form stays for ever; what the schema numbers is the body's form (`upgrades.py`). So a record of a
newer schema is known to be sound before it is refused.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple, cast

from dspex_pool.store import Key
from dspex_protocol import WireError, decode_value, encode_value

FIELDS: Final = frozenset(("schema", "sha256", "body"))


class Broken(Exception):
    """Bytes that are no sealed record of that key. Never leaves the library."""


class TooNew(Exception):
    """A sound record of a schema that this DSPex does not know."""

    def __init__(self, schema: int) -> None:
        super().__init__(f"schema {schema}")
        self.schema = schema


class Sealed(NamedTuple):
    """What was sealed."""

    schema: int
    body: bytes


def seal(key: Key, schema: int, body: bytes) -> bytes:
    """A record as the store keeps it."""
    return encode_value({"schema": schema, "sha256": _digest(key, schema, body), "body": body})


def unseal(key: Key, record: bytes) -> Sealed:
    """A record of the store.

    Raises:
        Broken: when it is none, or not as it was written there.
    """
    try:
        value = decode_value(record)
    except WireError as reason:
        raise Broken(reason.code) from None
    if not isinstance(value, dict) or value.keys() != FIELDS:
        raise Broken("it is no sealed record")
    parts = cast("dict[str, object]", value)
    schema, body = parts["schema"], parts["body"]
    if type(schema) is not int or schema < 1 or not isinstance(body, bytes):
        raise Broken("it is no sealed record")
    if parts["sha256"] != _digest(key, schema, body):
        raise Broken("its checksum does not hold")
    return Sealed(schema, body)


def _digest(key: Key, schema: int, body: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in (key.collection.encode(), key.id.encode(), str(schema).encode(), body):
        digest.update(len(part).to_bytes(8, "big"))  # else two parts could be cut elsewhere
        digest.update(part)
    return digest.digest()
