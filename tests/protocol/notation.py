"""Reads the golden vectors: their notation of values into Python's own."""

from __future__ import annotations

import datetime as dt
import json
import math
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

from dspex_protocol import FunctionReference, Pairs, Tagged, Tensor

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Vector: TypeAlias = dict[str, Any]


def vectors(shape: str) -> list[Vector]:
    """Every vector of that shape, from all files."""
    files = [json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json"))]
    return [vector for file in files if file["shape"] == shape for vector in file["vectors"]]


def read_bytes(vector: Vector | str) -> bytes:
    """The bytes of a vector's `hex` or `build`; a bare string is hex."""
    if isinstance(vector, str):
        return bytes.fromhex(vector)
    if "build" not in vector:
        return bytes.fromhex(vector["hex"])
    pieces = (
        bytes.fromhex(piece) if isinstance(piece, str) else bytes.fromhex(piece["repeat"]) * piece["count"]
        for piece in vector["build"]
    )
    return b"".join(pieces)


def read_value(written: Any) -> Any:
    """The value that a piece of notation stands for."""
    match written:
        case list():
            return [read_value(item) for item in written]
        case dict():
            name = next(iter(written), "")
            if name.startswith("$"):
                return _READERS[name](written[name])
            return {key: read_value(item) for key, item in written.items()}
        case _:
            return written


def same(left: Any, right: Any) -> bool:
    """Equal in type and content; NaN equals NaN, and -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    match left:
        case float():
            both_nan = math.isnan(left) and math.isnan(right)
            return both_nan or struct.pack(">d", left) == struct.pack(">d", right)
        case list() | tuple():
            return len(left) == len(right) and all(map(same, left, right))
        case dict():
            return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
        case Tagged():
            return left.tag == right.tag and same(left.value, right.value)
        case Decimal():
            return str(left) == str(right)
        case _:
            return bool(left == right)


def _timestamp(parts: list[Any]) -> dt.datetime:
    seconds, nanoseconds = map(read_value, parts)
    return EPOCH + dt.timedelta(seconds=seconds, microseconds=nanoseconds // 1000)


def _tagged(parts: list[Any]) -> Any:
    tag, value = parts[0], read_value(parts[1])
    return _TAGS[tag](value) if tag in _TAGS else Tagged(tag, value)


_TAGS: dict[str, Callable[[Any], Any]] = {
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "datetime": dt.datetime.fromisoformat,
    "duration": lambda microseconds: dt.timedelta(microseconds=microseconds),
    "tuple": tuple,
    "set": lambda members: {frozenset(m) if isinstance(m, set) else m for m in members},
    "uuid": uuid.UUID,
    "pairs": Pairs,
}

_READERS: dict[str, Callable[[Any], Any]] = {
    "$int": int,
    "$float": float,
    "$bin": bytes.fromhex,
    "$text": lambda pair: pair[0] * pair[1],
    "$bytes": lambda pair: bytes.fromhex(pair[0]) * pair[1],
    "$list": lambda pair: [read_value(pair[0])] * pair[1],
    "$map": lambda pairs: {key: read_value(item) for key, item in pairs},
    "$timestamp": _timestamp,
    "$decimal": Decimal,
    "$tensor": lambda parts: Tensor(parts[0], tuple(parts[1]), bytes.fromhex(parts[2])),
    "$function": FunctionReference,
    "$tagged": _tagged,
}
