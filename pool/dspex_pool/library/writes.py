"""WRITES WITH AN ID: made again with the same id, a write happens once and gets the same answer.

The record of it is in the same commit as what it does. So whoever has heard nothing of a write,
since a connection broke or the store did not answer, makes it again and gets the first one's answer,
whether that had happened or not.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias, cast

from dspex_pool.store import Key, Put
from dspex_protocol import Pairs, Tagged, encode_value

from .records import open_body
from .refusals import write_damaged, write_id_reused, write_too_new
from .sealing import Broken, TooNew, seal
from .upgrades import WRITE_SCHEMA, WRITE_STEPS, Body

WRITE: Final = "write"

WRITE_MEMORY_S: Final = 86_400.0
"""A client that is down for a night still gets its answer."""

Answer: TypeAlias = tuple[str, int] | None
"""Program and version that a write has made; None for those that make none."""


class Write(NamedTuple):
    """What a client calls a write.

    Attributes:
        id: Its `write_id`.
        digest: Of all that the write depends on: method, what it names, payload. Another one
            under the same id is another write.
    """

    id: str
    digest: bytes


def write_key(write_id: str) -> Key:
    """Where the record of a write is."""
    return Key(WRITE, write_id)


def remember(write: Write, operation: str, answer: Answer, detail: bytes | None = None) -> Put:
    """The change that goes with what the write does.

    Args:
        write: Its id.
        operation: A word for it.
        answer: What is answered.
        detail: More of that, where two words do not say all.
    """
    key = write_key(write.id)
    body: dict[str, object] = {
        "operation": operation,
        "digest": write.digest,
        "answer": None if answer is None else list(answer),
    }
    if detail is not None:
        body["detail"] = detail
    return Put(key=key, body=seal(key, WRITE_SCHEMA, encode_value(body)), expect=0, ttl_s=WRITE_MEMORY_S)


def first_answer(write: Write, operation: str, record: bytes) -> Answer:
    """What was answered when that write was made.

    Raises:
        CallerError: `write_id_reused` when it was another one.
        DSPexError: `store_damaged` or `record_too_new` when that cannot be read.
    """
    match _body_of(write, operation, record).get("answer"):
        case None:
            return None
        case [str(program), int(version)]:
            return program, version
        case _:
            raise write_damaged(write.id, "it has no answer")


def first_detail(write: Write, operation: str, record: bytes) -> bytes:
    """What was remembered with that answer.

    Raises:
        DSPexError: as `first_answer`.
    """
    detail = _body_of(write, operation, record).get("detail")
    if not isinstance(detail, bytes):
        raise write_damaged(write.id, "it says no more than an answer")
    return detail


def _body_of(write: Write, operation: str, record: bytes) -> Body:
    try:
        body = open_body(write_key(write.id), record, WRITE_SCHEMA, WRITE_STEPS)
    except Broken as why:
        raise write_damaged(write.id, str(why)) from why
    except TooNew as newer:
        raise write_too_new(write.id, newer.schema) from newer
    if body.get("digest") != write.digest or body.get("operation") != operation:
        raise write_id_reused(write.id)
    return body


def in_order(value: object) -> object:
    """A value with the keys of its maps sorted: on the wire their order means nothing."""
    match value:
        case Tagged():
            return Tagged(value.tag, in_order(value.value))
        case list():
            return [in_order(item) for item in cast("list[object]", value)]
        case dict() if not isinstance(value, Pairs):
            members = cast("dict[str, object]", value)
            return {key: in_order(members[key]) for key in sorted(members)}
        case _:
            return value
