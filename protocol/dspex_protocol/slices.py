"""A payload taken apart without being read: the entries of a map, the members of an array, as bytes.

What a router passes on it need not understand: it finds where each value begins and ends, at the
speed of C, and puts the pieces together anew. Whoever decodes a piece checks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgpack

from .codec import encode_value
from .errors import WireError
from .scan import scan

_FIXED_MAP: Final = range(0x80, 0x90)
_MAP: Final = (0xDE, 0xDF)
_FIXED_ARRAY: Final = range(0x90, 0xA0)
_ARRAY: Final = (0xDC, 0xDD)


def is_map(piece: bytes) -> bool:
    """Whether a value is a map, by its first byte."""
    return bool(piece) and (piece[0] in _FIXED_MAP or piece[0] in _MAP)


def is_array(piece: bytes) -> bool:
    """Whether a value is an array, by its first byte."""
    return bool(piece) and (piece[0] in _FIXED_ARRAY or piece[0] in _ARRAY)


def cut_map(payload: bytes) -> dict[str, bytes]:
    """The entries of a payload that is a map.

    Args:
        payload: One whole value; `is_map` has said so.

    Raises:
        WireError: a `value_…` code. What is wrong inside of an entry may go unnoticed.
    """
    try:
        return _entries(payload)
    except WireError:
        raise
    except Exception as reason:  # msgpack raises seven unrelated classes
        raise _named(payload, reason) from None


def cut_array(payload: bytes) -> list[bytes]:
    """The members of a payload that is an array; else as `cut_map`."""
    try:
        unpacker = _unpacker(payload)
        members = [_next(unpacker, payload) for _ in range(unpacker.read_array_header())]
    except Exception as reason:
        raise _named(payload, reason) from None
    _check_end(unpacker, payload)
    return members


def join_map(entries: Mapping[str, bytes]) -> bytes:
    """A map of values that are encoded already."""
    pieces = [msgpack.Packer().pack_map_header(len(entries))]
    for key, piece in entries.items():
        pieces += (encode_value(key), piece)
    return b"".join(pieces)


def join_array(members: Iterable[bytes]) -> bytes:
    """An array of values that are encoded already."""
    pieces = list(members)
    return b"".join((msgpack.Packer().pack_array_header(len(pieces)), *pieces))


def _entries(payload: bytes) -> dict[str, bytes]:
    unpacker = _unpacker(payload)
    entries: dict[str, bytes] = {}
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        if not isinstance(key, str):
            raise WireError("value_bad_key", "a map has a key that is no string")
        if key in entries:
            raise WireError("value_duplicate_key", "a map has the same key twice")
        entries[key] = _next(unpacker, payload)
    _check_end(unpacker, payload)
    return entries


def _unpacker(payload: bytes) -> msgpack.Unpacker:
    unpacker = msgpack.Unpacker(max_buffer_size=max(1, len(payload)))
    unpacker.feed(payload)
    return unpacker


def _next(unpacker: msgpack.Unpacker, payload: bytes) -> bytes:
    start = unpacker.tell()
    unpacker.skip()
    return payload[start : unpacker.tell()]


def _check_end(unpacker: msgpack.Unpacker, payload: bytes) -> None:
    rest = len(payload) - unpacker.tell()
    if rest:
        raise WireError("value_trailing", f"{rest} bytes follow the value")


def _named(payload: bytes, reason: Exception) -> WireError:
    scan(payload)  # names the fault
    return WireError("value_bad_extension", f"a payload cannot be read ({type(reason).__name__})")
