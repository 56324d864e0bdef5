"""A session at rest: which program it talks to, how far it has come, and its checkpoint.

It is sealed as the library's records are. The checkpoint is the worker's own and opaque here, but
for `session.get`, which shows it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from dspex_protocol import DSPexError, decode_value, encode_value, error
from dspex_protocol.records import read

from .library.records import open_body
from .library.sealing import Broken, TooNew, seal
from .library.upgrades import Step
from .store import Key

COLLECTION: Final = "session"
SCHEMA: Final = 1
"""Of the record's form; a newer one is refused and left alone."""
STEPS: Final[Mapping[int, Step]] = {}
"""To it from those before; see `library.upgrades`."""

EMPTY: Final = encode_value({"history": [], "state": None, "schema": 1})
"""The checkpoint of a session that has had no turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """What the store keeps of a session.

    Attributes:
        program, version: What it talks to, for its whole life.
        turn: How many turns it has had.
        ttl_s: It is forgotten when it has had none for so long.
        checkpoint: After the last turn, as the worker wrote it.
        created_ms: Wall clock, for people.
        life: No other session has the same, be it one that had or will have this id.
    """

    program: str
    version: int
    turn: int
    ttl_s: float
    checkpoint: bytes
    created_ms: int
    life: str


def key_of(session: str) -> Key:
    """Where a session is in the store."""
    return Key(COLLECTION, session)


def lease_of(session: str) -> str:
    """The name of the lease that goes with it."""
    return f"session/{session}"


def write(session: str, record: SessionRecord) -> bytes:
    """A record as the store keeps it."""
    body = {
        "program": record.program,
        "version": record.version,
        "turn": record.turn,
        "ttl_s": record.ttl_s,
        "checkpoint": record.checkpoint,
        "created_ms": record.created_ms,
        "life": record.life,
    }
    return seal(key_of(session), SCHEMA, encode_value(body))


def read_record(session: str, body: bytes) -> SessionRecord:
    """A record as it was kept.

    Raises:
        DSPexError: `record_too_new`, or `store_damaged` when it is not as it was written.
    """
    try:
        return read(SessionRecord, open_body(key_of(session), body, SCHEMA, STEPS))
    except TooNew as newer:
        raise _too_new(session, newer.schema) from newer
    except Broken as why:
        raise _damaged(session, str(why)) from why
    except DSPexError as why:
        raise _damaged(session, why.message) from why


def _damaged(session: str, why: str) -> DSPexError:
    return error(
        "store_damaged",
        f"what is stored of session {session!r} cannot be read ({why})",
        details={"session": session},
    )


def _too_new(session: str, schema: int) -> DSPexError:
    return error(
        "record_too_new",
        f"session {session!r} was written by a newer DSPex (schema {schema}; this one knows {SCHEMA})",
        details={"session": session, "schema": schema, "known": SCHEMA},
    )


def describe(session: str, record: SessionRecord) -> dict[str, object]:
    """A session in short, as clients are told of it."""
    return {
        "session": session,
        "program": record.program,
        "version": record.version,
        "turn": record.turn,
        "ttl_s": record.ttl_s,
        "created": dt.datetime.fromtimestamp(record.created_ms / 1000, tz=dt.UTC),
    }


def describe_whole(session: str, record: SessionRecord) -> dict[str, object]:
    """The same with what was said, and what the program's modules keep."""
    checkpoint = decode_value(record.checkpoint)
    parts = cast("dict[str, object]", checkpoint) if isinstance(checkpoint, dict) else {}
    return {
        **describe(session, record),
        "history": parts.get("history", []),
        "state": parts.get("state"),
    }
