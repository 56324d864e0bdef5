"""The exact check of a payload, byte by byte, without building anything.

Slow (about 0.3 µs an item) and therefore not on the usual path: `codec` runs it where a
payload is large or dense enough to be a bomb, and to name the fault when decoding failed.
It is also the reference that the fuzzer holds the fast path against.
"""

from __future__ import annotations

from typing import Final

from .errors import WireError
from .extensions import BIG_INTEGER, DECIMAL, FUNCTION, TAGGED, TENSOR, TIMESTAMP
from .limits import MAX_DEPTH, MAX_ITEMS

# first byte -> (size of the length field, what it is)
_STR: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BIN: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXT: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXEXT: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_ARRAY: Final = {0xDC: 2, 0xDD: 4}
_MAP: Final = {0xDE: 2, 0xDF: 4}
_FIXED: Final = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8} | {0xCC + i: 1 << i % 4 for i in range(8)}
_EXTENSIONS: Final = frozenset((TIMESTAMP, BIG_INTEGER, DECIMAL, TENSOR, FUNCTION, TAGGED))
_NESTING_EXTENSIONS: Final = frozenset((TENSOR, TAGGED))


class _Level:
    """One open container: how many items it lacks, where it must end, which keys it had."""

    __slots__ = ("end", "keys", "missing")

    def __init__(self, missing: int, end: int, keys: set[bytes] | None) -> None:
        self.missing = missing
        self.end = end  # for the content of an extension: its last byte + 1; else -1
        self.keys = keys


def scan(payload: bytes) -> int:
    """Check one whole payload.

    Returns:
        How many items it holds.

    Raises:
        WireError: a `value_…` code, as docs/protocol.md section 3 lists them.
    """
    end = len(payload)
    position = items = 0
    levels: list[_Level] = []
    depth = 0
    while True:
        items += 1
        if items > MAX_ITEMS:
            raise WireError("value_too_many_items", f"a payload has more than {MAX_ITEMS} items")
        if position >= end:
            raise _truncated()
        first = payload[position]
        is_key = bool(levels) and levels[-1].keys is not None and levels[-1].missing % 2 == 0
        start = position
        position += 1
        opened = -1  # items of a container that opens here
        is_map = False
        if first < 0x80 or first >= 0xE0:
            pass
        elif first < 0x90:
            opened, is_map = 2 * (first & 0x0F), True
        elif first < 0xA0:
            opened = first & 0x0F
        elif first < 0xC0:
            position = _text(payload, position, first & 0x1F)
        elif first in _FIXED:
            position += _FIXED[first]
        elif first in _STR:
            position, size = _length(payload, position, _STR[first])
            position = _text(payload, position, size)
        elif first in _BIN:
            position, size = _length(payload, position, _BIN[first])
            position += size
        elif first in _ARRAY:
            position, opened = _length(payload, position, _ARRAY[first])
        elif first in _MAP:
            position, pairs = _length(payload, position, _MAP[first])
            opened, is_map = 2 * pairs, True
        elif first == 0xC1:
            raise WireError("value_reserved_byte", "a payload contains the byte 0xC1")
        else:
            if first in _FIXEXT:
                size = _FIXEXT[first]
            else:
                position, size = _length(payload, position, _EXT[first])
            if position >= end:
                raise _truncated()
            code = payload[position] - 256 if payload[position] > 127 else payload[position]
            position += 1
            if code not in _EXTENSIONS:
                raise WireError("value_unknown_extension", f"extension type {code} is not in this protocol")
            if position + size > end:
                raise _truncated()
            if code in _NESTING_EXTENSIONS and not is_key:
                levels.append(_Level(1, position + size, None))
                continue
            position += size
        if position > end:
            raise _truncated()
        if is_key:
            if not 0xA0 <= first < 0xC0 and first not in _STR:
                raise WireError("value_bad_key", "a map has a key that is no string")
            keys = levels[-1].keys
            assert keys is not None
            key = _key_bytes(payload, start, position)
            if key in keys:
                raise WireError("value_duplicate_key", "a map has the same key twice")
            keys.add(key)
        if opened >= 0:
            depth += 1
            if depth > MAX_DEPTH:
                raise WireError("value_too_deep", f"a payload is nested more than {MAX_DEPTH} deep")
            if opened > end - position:
                raise _truncated()
            levels.append(_Level(opened, -1, set() if is_map else None))
        elif levels:
            levels[-1].missing -= 1
        while levels and levels[-1].missing == 0:
            level = levels.pop()
            if level.end < 0:
                depth -= 1
            elif position != level.end:
                raise WireError("value_bad_extension", "an extension's content ends too early or too late")
            if levels:
                levels[-1].missing -= 1
        if not levels:
            break
    if position != end:
        raise WireError("value_trailing", f"{end - position} bytes follow the value")
    return items


def _length(payload: bytes, position: int, size: int) -> tuple[int, int]:
    stop = position + size
    if stop > len(payload):
        raise _truncated()
    return stop, int.from_bytes(payload[position:stop], "big")


def _text(payload: bytes, position: int, size: int) -> int:
    stop = position + size
    if stop > len(payload):
        raise _truncated()
    try:
        payload[position:stop].decode()
    except UnicodeDecodeError:
        raise WireError("value_bad_utf8", "a string is not UTF-8") from None
    return stop


def _key_bytes(payload: bytes, start: int, stop: int) -> bytes:
    """A key's text without its header: the same key may have a longer header."""
    first = payload[start]
    return payload[start + (1 if first < 0xC0 else 1 + _STR[first]) : stop]


def _truncated() -> WireError:
    return WireError("value_truncated", "a payload ends inside a value")
