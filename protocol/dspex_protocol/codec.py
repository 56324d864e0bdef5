"""Values to bytes and back, within the limits of docs/protocol.md section 3."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgpack

from .errors import WireError
from .extensions import (
    BIG_INTEGER,
    DECIMAL,
    FUNCTION,
    TAGGED,
    TENSOR,
    FunctionReference,
    Pairs,
    Tensor,
    read_big_integer,
    read_decimal,
    read_function,
    read_tagged,
    read_tensor,
    write_big_integer,
    write_decimal,
    write_function,
    write_tagged,
)
from .limits import MAX_DEPTH, MAX_ITEMS
from .scan import scan

# Every first byte that opens an array or a map, for counting at C speed.
_OPENERS: Final = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])


def decode_value(payload: bytes) -> object:
    """Read a payload.

    Raises:
        WireError: a `value_…` code. Time and memory are bounded by the limits, whatever
            the bytes.
    """
    # There cannot be more levels than bytes that look like openers, nor more items than
    # bytes; only where these cheap bounds fail is the exact check worth its time.
    if len(payload) > MAX_ITEMS or len(payload) - len(payload.translate(None, _OPENERS)) > MAX_DEPTH:
        scan(payload)
    try:
        return _unpack(payload)
    except WireError:
        raise
    except Exception as reason:  # msgpack raises seven unrelated classes
        scan(payload)  # names the fault
        raise WireError(
            "value_bad_extension", f"a payload cannot be read ({type(reason).__name__})"
        ) from None


def encode_value(value: object) -> bytes:
    """Write a value. The keys of a map are for the receiver to check: here it would cost each map.

    Raises:
        WireError: `value_unencodable` when a part of it has no form on the wire.
    """
    try:
        return _new_packer().pack(value)
    except WireError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as reason:
        raise WireError("value_unencodable", f"the value has no form on the wire: {reason}") from None


def _unpack(payload: bytes) -> object:
    return msgpack.unpackb(
        payload,
        strict_map_key=True,
        object_pairs_hook=_unique,
        ext_hook=_read_extension,
        timestamp=3,
    )


def _unique(pairs: list[tuple[object, object]]) -> dict[object, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise WireError("value_duplicate_key", "a map has the same key twice")
    if unique and not _ONLY_STR.issuperset(map(type, unique)):
        raise WireError("value_bad_key", "a map has a key that is no string")
    return unique


_ONLY_STR: Final = frozenset((str,))


def _read_extension(code: int, data: bytes) -> object:
    reader = _READERS.get(code)
    if reader is None:
        raise WireError("value_unknown_extension", f"extension type {code} is not in this protocol")
    return reader(data)


def _unpack_inside(data: bytes) -> object:
    try:
        return _unpack(data)
    except msgpack.ExtraData:
        raise WireError("value_bad_extension", "an extension's content has bytes after its value") from None


_READERS: Final[dict[int, Callable[[bytes], object]]] = {
    BIG_INTEGER: read_big_integer,
    DECIMAL: read_decimal,
    TENSOR: lambda data: read_tensor(_unpack_inside(data)),
    FUNCTION: read_function,
    TAGGED: lambda data: read_tagged(_unpack_inside(data)),
}


def _write(value: object) -> object:
    """What the packer is to write instead of a value that it does not know."""
    if isinstance(value, int):  # too large for MessagePack, or a subclass, such as an enum's member
        plain = int(value)
        fits = -(2**63) <= plain < 2**64
        return plain if fits else msgpack.ExtType(BIG_INTEGER, write_big_integer(plain))
    if isinstance(value, str):  # a subclass, such as an enum's member
        return str.__str__(value)
    if isinstance(value, Decimal):
        return msgpack.ExtType(DECIMAL, write_decimal(value))
    if isinstance(value, Tensor):
        return msgpack.ExtType(TENSOR, _inside([value.dtype, list(value.shape), value.data]))
    if isinstance(value, FunctionReference):
        return msgpack.ExtType(FUNCTION, write_function(value))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict) and not isinstance(value, Pairs):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, list):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    tagged = write_tagged(value)
    if tagged is None:
        raise TypeError(f"{type(value).__name__} is not a value of the protocol")
    return msgpack.ExtType(TAGGED, _inside(list(tagged)))


def _inside(value: object) -> bytes:
    return _new_packer().pack(value)


def _new_packer() -> msgpack.Packer:
    # One for each value: a packer shared by threads would mix their values where `_write`
    # lets another thread run.
    return msgpack.Packer(default=_write, strict_types=True, datetime=True)
