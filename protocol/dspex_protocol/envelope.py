"""The ENVELOPE of a frame: kind, id, method and meta, read without touching the payload.

A body is the MessagePack array `[kind, id, method, meta, payload]`. Everybody who only
routes decodes the first four elements and passes the rest on as bytes.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

import msgpack

from .errors import WireError
from .limits import MAX_ENVELOPE_BYTES, MAX_ID, MAX_META_ENTRIES, MAX_METHOD_BYTES

Scalar: TypeAlias = bool | int | float | str | None
Meta: TypeAlias = dict[str, Scalar]


class Kind(IntEnum):
    """What a frame is; docs/protocol.md section 2."""

    CALL = 0
    REPLY = 1
    FAIL = 2
    ITEM = 3
    CANCEL = 4
    CREDIT = 5
    NOTE = 6


CALL, REPLY, FAIL, ITEM, CANCEL, CREDIT, NOTE = (int(kind) for kind in Kind)

NIL: Final = b"\xc0"
"""The payload nil."""


class Envelope(NamedTuple):
    """The first four elements of a body, and where the fifth begins.

    `kind` is a plain int (see `Kind`): an enum member per frame would cost more than
    the rest of the decoding.
    """

    kind: int
    id: int
    method: str | None
    meta: Meta
    payload_at: int


_SCALARS: Final = frozenset((type(None), bool, int, float, str))
_METHOD: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+\Z")
_ARRAY_OF_5: Final = 0x95
_ARRAY_OF_4: Final = b"\x94"
_HAS_METHOD: Final = frozenset((CALL, NOTE))
_pack = msgpack.Packer().pack
_known_methods: set[str] = set()  # methods that matched _METHOD; bounded below


def decode_envelope(body: bytes) -> Envelope:
    """Read a body's envelope.

    Raises:
        WireError: `frame_empty`, `envelope_invalid` or `envelope_too_large`. Where kind
            and id could be read they are in `details`, so that a CALL can be answered.
    """
    if not body:
        raise WireError("frame_empty", "a frame without a body")
    if body[0] != _ARRAY_OF_5:
        raise _invalid("a body must be a MessagePack array of five (first byte 0x95)", body)
    unpacker = msgpack.Unpacker(
        strict_map_key=True,
        object_pairs_hook=_flat_map,
        ext_hook=_no_extension,
        max_buffer_size=MAX_ENVELOPE_BYTES,
        max_array_len=4,
        max_map_len=MAX_META_ENTRIES,
    )
    # As an array of four, the envelope is one value for the C decoder.
    unpacker.feed(_ARRAY_OF_4)
    unpacker.feed(body[1:MAX_ENVELOPE_BYTES])
    try:
        kind, call_id, method, meta = unpacker.unpack()
    except WireError as fault:
        raise _invalid(fault.message, body) from None
    except msgpack.OutOfData:
        if len(body) > MAX_ENVELOPE_BYTES:
            details = _readable_start(body)
            raise WireError(
                "envelope_too_large", "an envelope is longer than 4,096 bytes", details=details
            ) from None
        raise _invalid("the body ends inside the envelope", body) from None
    except Exception as reason:  # msgpack raises six unrelated classes, among them ValueError
        raise _invalid(f"the envelope is not MessagePack ({type(reason).__name__})", body) from None
    payload_at = unpacker.tell()
    if type(kind) is not int or not 0 <= kind <= NOTE:
        raise _invalid("kind must be an integer from 0 to 6", body)
    if type(call_id) is not int or not 0 <= call_id <= MAX_ID:
        raise _invalid("id must be an integer from 0 to 2^63-1", body)
    if call_id == 0 and kind != NOTE:
        raise _invalid("id 0 is for notes that belong to no call", body)
    if kind in _HAS_METHOD:
        if type(method) is not str or method not in _known_methods:
            _check_method(method, body)
    elif method is not None:
        raise _invalid("method must be nil in this kind of frame", body)
    if type(meta) is not dict:
        raise _invalid("meta must be a map", body)
    if payload_at >= len(body):
        raise _invalid("the payload is missing", body)
    return Envelope(kind, call_id, method, meta, payload_at)


def encode(kind: int, call_id: int, method: str | None, meta: Meta, payload: bytes) -> bytes:
    """Build a whole frame, header included, around an encoded payload."""
    head = _pack((kind, call_id, method, meta))
    size = (len(head) + len(payload)).to_bytes(4, "big")
    return b"".join((size, b"\x95", head[1:], payload))


def _flat_map(pairs: list[tuple[object, object]]) -> dict[object, object]:
    flat = dict(pairs)
    if len(flat) != len(pairs):
        raise WireError("envelope_invalid", "meta has the same key twice")
    if flat and not _SCALARS.issuperset(map(type, flat.values())):
        raise WireError("envelope_invalid", "meta values must be nil, boolean, integer, float or string")
    if flat and set(map(type, flat)) != {str}:
        raise WireError("envelope_invalid", "meta keys must be strings")
    return flat


def _no_extension(code: int, data: bytes) -> object:
    raise WireError("envelope_invalid", "an envelope holds no extension types")


def _check_method(method: object, body: bytes) -> None:
    if not isinstance(method, str) or len(method) > MAX_METHOD_BYTES or not _METHOD.match(method):
        raise _invalid("method must be a string of words joined by dots, such as program.predict", body)
    if len(_known_methods) < 1024:
        _known_methods.add(method)


def _invalid(message: str, body: bytes) -> WireError:
    return WireError("envelope_invalid", message, details=_readable_start(body))


def _readable_start(body: bytes) -> dict[str, object]:
    """Kind and id of a broken envelope, where they can be read."""
    if body[0] != _ARRAY_OF_5:
        return {}
    unpacker = msgpack.Unpacker(max_buffer_size=64, max_array_len=0, max_map_len=0, max_str_len=0)
    unpacker.feed(body[1:32])
    try:
        kind, call_id = unpacker.unpack(), unpacker.unpack()
    except Exception:  # as above: any failure means that they cannot be read
        return {}
    if type(kind) is not int or type(call_id) is not int:
        return {}
    if not 0 <= kind <= NOTE or not 1 <= call_id <= MAX_ID:  # nothing can be answered to id 0
        return {}
    return {"kind": kind, "id": call_id}
