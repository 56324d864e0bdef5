"""The notation of values (see the README beside) and the bytes that it stands for.

Written apart from `dspex_protocol` and from any MessagePack library, so that the vectors
can convict them. It knows the shortest form of everything and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

Vector: TypeAlias = dict[str, Any]
Hex: TypeAlias = str | list[str | dict[str, Any]]


def vector(identifier: str, spec: str, data: Hex, /, about: str = "", **fields: Any) -> Vector:
    """One vector; spaces in `data` are for the reader and go away."""
    head: Vector = {"id": identifier, "spec": spec}
    if about:
        head["about"] = about
    if isinstance(data, str):
        head["hex"] = data.replace(" ", "")
    else:
        head["build"] = [piece.replace(" ", "") if isinstance(piece, str) else piece for piece in data]
    return head | fields


def pack(value: Any) -> bytes:
    """The bytes of a value in its shortest form."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return _integer(value)
        case str():
            data = value.encode()
            return _head(len(data), (0xA0, 31), 0xD9, 0xDA, 0xDB) + data
        case list():
            return _head(len(value), (0x90, 15), None, 0xDC, 0xDD) + b"".join(map(pack, value))
        case dict():
            key = next(iter(value), "")
            return _SPECIAL[key](value[key]) if key in _SPECIAL else _map(list(value.items()))
        case _:
            raise TypeError(value)


def _head(size: int, fixed: tuple[int, int] | None, one: int | None, two: int, four: int) -> bytes:
    if fixed is not None and size <= fixed[1]:
        return bytes([fixed[0] | size])
    if one is not None and size <= 0xFF:
        return bytes([one, size])
    return struct.pack(">BH", two, size) if size <= 0xFFFF else struct.pack(">BI", four, size)


def _integer(value: int) -> bytes:
    if -32 <= value <= 127:
        return struct.pack(">B", value & 0xFF)
    forms = "BHIQ" if value >= 0 else "bhiq"
    for number, form in enumerate(forms):
        bits = 8 << number
        low, high = (0, 2**bits) if value >= 0 else (-(2 ** (bits - 1)), 0)
        if low <= value < high:
            return struct.pack(">B" + form, (0xCC if value >= 0 else 0xD0) + number, value)
    size = 1
    while not -(2 ** (8 * size - 1)) <= value < 2 ** (8 * size - 1):
        size += 1
    return _extension(1, value.to_bytes(size, "big", signed=True))


def _map(pairs: list[tuple[str, Any]]) -> bytes:
    head = _head(len(pairs), (0x80, 15), None, 0xDE, 0xDF)
    return head + b"".join(pack(key) + pack(item) for key, item in pairs)


def _bin(data: bytes) -> bytes:
    return _head(len(data), None, 0xC4, 0xC5, 0xC6) + data


def _extension(code: int, data: bytes) -> bytes:
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}.get(len(data))
    head = bytes([fixed]) if fixed is not None else _head(len(data), None, 0xC7, 0xC8, 0xC9)
    return head + struct.pack(">b", code) + data


def _timestamp(parts: list[int]) -> bytes:
    seconds, nanoseconds = parts
    if not 0 <= seconds < 2**34:
        return _extension(-1, struct.pack(">Iq", nanoseconds, seconds))
    if nanoseconds == 0 and seconds < 2**32:
        return _extension(-1, struct.pack(">I", seconds))
    return _extension(-1, struct.pack(">Q", nanoseconds << 34 | seconds))


def _tensor(parts: list[Any]) -> bytes:
    dtype, shape, data = parts
    return _extension(3, b"\x93" + pack(dtype) + pack(shape) + _bin(bytes.fromhex(data)))


_SPECIAL: dict[str, Callable[[Any], bytes]] = {
    "$int": lambda text: _integer(int(text)),
    "$float": lambda text: b"\xcb" + struct.pack(">d", float(text)),
    "$bin": lambda text: _bin(bytes.fromhex(text)),
    "$text": lambda pair: pack(pair[0] * pair[1]),
    "$bytes": lambda pair: _bin(bytes.fromhex(pair[0]) * pair[1]),
    "$list": lambda pair: _head(pair[1], (0x90, 15), None, 0xDC, 0xDD) + pack(pair[0]) * pair[1],
    "$map": _map,
    "$timestamp": _timestamp,
    "$decimal": lambda text: _extension(2, text.encode("ascii")),
    "$tensor": _tensor,
    "$function": lambda text: _extension(4, text.encode()),
    "$tagged": lambda pair: _extension(5, b"\x92" + pack(pair[0]) + pack(pair[1])),
}
