"""Values that MessagePack lacks: what each extension type becomes in Python, and back.

docs/protocol.md section 3.1 is the table. Python's own types are used where one fits
(`decimal.Decimal`, `datetime`, `set`, `uuid.UUID`, big `int`); the rest are the small
records of this module. DSPy's types stay `Tagged` here: only the bridge knows DSPy.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from .errors import WireError
from .limits import (
    MAX_BIG_INTEGER_BYTES,
    MAX_DECIMAL_BYTES,
    MAX_NAME_BYTES,
    MAX_TAG_BYTES,
    MAX_TENSOR_RANK,
)

TIMESTAMP: Final = -1
BIG_INTEGER: Final = 1
DECIMAL: Final = 2
TENSOR: Final = 3
FUNCTION: Final = 4
TAGGED: Final = 5

ITEM_BYTES: Final = {
    "bool": 1,
    "i1": 1,
    "i2": 2,
    "i4": 4,
    "i8": 8,
    "u1": 1,
    "u2": 2,
    "u4": 4,
    "u8": 8,
    "f2": 2,
    "f4": 4,
    "f8": 8,
}

_DECIMAL = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:E[+-]?[0-9]+)?|Infinity)\Z|NaN\Z")


@dataclass(frozen=True, slots=True)
class Tensor:
    """Numbers of one type in `shape`, as raw little-endian row-major bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class FunctionReference:
    """A function that lives in the host, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value with the name of what it stands for, such as `prediction`."""

    tag: str
    value: object


class Pairs(dict[object, object]):
    """A map whose keys are not all strings: a class of its own, so that it is written as it was read."""


def refused(message: str) -> WireError:
    """An extension whose content is malformed."""
    return WireError("value_bad_extension", message)


def read_big_integer(data: bytes) -> int:
    """Type 1: two's complement, big-endian."""
    if not 1 <= len(data) <= MAX_BIG_INTEGER_BYTES:
        raise refused(f"a big integer has 1 to {MAX_BIG_INTEGER_BYTES} bytes, not {len(data)}")
    return int.from_bytes(data, "big", signed=True)


def write_big_integer(value: int) -> bytes:
    """Type 1 from an integer.

    Raises:
        WireError: `value_unencodable` when it needs more than 4,096 bytes.
    """
    # ~value has the bits that a negative number needs beside its sign: -128 fits one byte.
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    if size > MAX_BIG_INTEGER_BYTES:
        raise WireError(
            "value_unencodable", f"an integer of {size} bytes; the limit is {MAX_BIG_INTEGER_BYTES}"
        )
    return value.to_bytes(size, "big", signed=True)


def read_decimal(data: bytes) -> Decimal:
    """Type 2: the number in ASCII."""
    text = data.decode("ascii", "replace")
    if len(data) > MAX_DECIMAL_BYTES or not _DECIMAL.match(text):
        raise refused("a decimal is -?digits[.digits][E[+-]digits], NaN, Infinity or -Infinity")
    try:
        return Decimal(text)
    except ArithmeticError:
        raise refused("a decimal's exponent is out of range") from None


def write_decimal(value: Decimal) -> bytes:
    """Type 2 from a decimal; signalling and signed NaNs become NaN."""
    data = b"NaN" if value.is_nan() else str(value).encode("ascii")
    if len(data) > MAX_DECIMAL_BYTES:
        raise WireError(
            "value_unencodable", f"a decimal of {len(data)} characters; the limit is {MAX_DECIMAL_BYTES}"
        )
    return data


def read_tensor(parts: object) -> Tensor:
    """Type 3 from its decoded `[dtype, shape, data]`."""
    match parts:
        case [str(dtype), list(shape), bytes(data)]:  # pyright: ignore[reportUnknownVariableType]
            pass
        case _:
            raise refused("a tensor is [dtype, shape, data]")
    if dtype not in ITEM_BYTES:
        raise refused(f"a tensor's dtype is one of {' '.join(ITEM_BYTES)}")
    sizes = [size for size in shape if type(size) is int and size >= 0]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if len(sizes) != len(shape) or len(sizes) > MAX_TENSOR_RANK:  # pyright: ignore[reportUnknownArgumentType]
        raise refused(f"a tensor's shape is at most {MAX_TENSOR_RANK} non-negative integers")
    if math.prod(sizes) * ITEM_BYTES[dtype] != len(data):
        raise refused(f"a tensor's data has {len(data)} bytes, which is not what its shape needs")
    return Tensor(dtype, tuple(sizes), data)


def read_function(data: bytes) -> FunctionReference:
    """Type 4: a name."""
    try:
        name = data.decode()
    except UnicodeDecodeError:
        raise refused("a function's name is UTF-8") from None
    if not 1 <= len(data) <= MAX_NAME_BYTES:
        raise refused(f"a function's name has 1 to {MAX_NAME_BYTES} bytes")
    return FunctionReference(name)


def write_function(value: FunctionReference) -> bytes:
    """Type 4 from a reference.

    Raises:
        WireError: `value_unencodable` when the name is empty or longer than 128 bytes.
    """
    data = value.name.encode()
    if not 1 <= len(data) <= MAX_NAME_BYTES:
        raise WireError(
            "value_unencodable", f"a function's name has 1 to {MAX_NAME_BYTES} bytes, not {len(data)}"
        )
    return data


def read_tagged(parts: object) -> object:
    """Type 5 from its decoded `[tag, value]`: Python's own type where the tag has one."""
    match parts:
        case [str(tag), value] if 1 <= len(tag.encode()) <= MAX_TAG_BYTES:  # pyright: ignore[reportUnknownVariableType]
            pass
        case _:
            raise refused(f"a tagged value is [tag, value] with a tag of 1 to {MAX_TAG_BYTES} bytes")
    reader = _TAG_READERS.get(tag)
    if reader is None:
        return Tagged(tag, value)  # pyright: ignore[reportUnknownArgumentType]
    try:
        return reader(value)  # pyright: ignore[reportUnknownArgumentType]
    except (TypeError, ValueError, OverflowError, ArithmeticError):
        raise refused(f"the content of a tagged {tag} is malformed") from None


def write_tagged(value: object) -> tuple[str, object] | None:
    """The tag and content for one of Python's own types; None where it has no tag."""
    match value:
        case Tagged():
            if not 1 <= len(value.tag.encode()) <= MAX_TAG_BYTES:
                raise WireError(
                    "value_unencodable", f"a tag has 1 to {MAX_TAG_BYTES} bytes, not {value.tag!r}"
                )
            return value.tag, value.value
        case Pairs():
            return "pairs", [[key, item] for key, item in value.items()]
        case dt.datetime():
            return "datetime", value.isoformat()
        case dt.date():
            return "date", value.isoformat()
        case dt.time():
            return "time", value.isoformat()
        case dt.timedelta():
            return "duration", value // dt.timedelta(microseconds=1)
        case tuple():
            return "tuple", list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case set() | frozenset():
            return "set", _ordered(value)  # pyright: ignore[reportUnknownArgumentType]
        case uuid.UUID():
            return "uuid", str(value)
        case _:
            return None


def _ordered(members: set[object] | frozenset[object]) -> list[object]:
    # The order of a set differs from run to run; sorted, equal sets are equal bytes.
    return sorted(members, key=lambda member: (type(member).__name__, repr(member)))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _array(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError
    return value  # pyright: ignore[reportUnknownVariableType]


def _naive(value: object) -> dt.datetime:
    moment = dt.datetime.fromisoformat(_text(value))
    if moment.tzinfo is not None:
        raise ValueError
    return moment


def _hashable(value: object) -> object:
    # What Python keeps as the member of a set or as a key: a set within becomes a frozen one.
    if isinstance(value, set):
        return frozenset(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, tuple):
        return tuple(map(_hashable, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return value


def _set(value: object) -> set[object]:
    members = set(map(_hashable, _array(value)))
    if len(members) != len(_array(value)):
        raise ValueError  # 1 and True are one member in Python: better refused than lost
    return members


def _duration(value: object) -> dt.timedelta:
    if type(value) is not int:
        raise TypeError
    return dt.timedelta(microseconds=value)


def _uuid(value: object) -> uuid.UUID:
    read = uuid.UUID(_text(value))
    if str(read) != _text(value).lower():  # Python also reads braces, URNs and bare digits
        raise ValueError
    return read


def _pairs(value: object) -> Pairs:
    pairs = Pairs()
    for pair in _array(value):
        key, item = _array(pair)
        pairs[_hashable(key)] = item
    if len(pairs) != len(_array(value)):
        raise ValueError
    return pairs


_TAG_READERS: Final[dict[str, Callable[[object], object]]] = {
    "date": lambda value: dt.date.fromisoformat(_text(value)),
    "time": lambda value: dt.time.fromisoformat(_text(value)),
    "datetime": _naive,
    "duration": _duration,
    "tuple": lambda value: tuple(_array(value)),
    "set": _set,
    "pairs": _pairs,
    "uuid": _uuid,
}
