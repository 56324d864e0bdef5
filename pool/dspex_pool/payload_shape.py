"""The shape of a payload: types and sizes, and nothing of what it says.

For the quarantine: somebody must find out which call kills workers, and its prompts are
nobody's business. Read byte by byte in Python and not decoded: this is the payload under
which workers died, and a decoder written in C would take the supervisor with it.

    map{inputs: map{question: str(143), passages: list(5)}, lm: str(7)}
"""

from __future__ import annotations

import re
from typing import Final

from dspex_protocol import WireError
from dspex_protocol.scan import scan

MAX_PAYLOAD_BYTES: Final = 64 * 1024
"""Of a longer payload only its size is told: the event loop waits meanwhile, 0.1 to 30 ms for this much."""

MAX_SHOWN_ENTRIES: Final = 16
"""Of one container: the shapes of a full quarantine must fit one frame."""

SHOWN_LEVELS: Final = 2
"""Levels of containers that are opened: parameters, and the fields of `inputs`."""

# So look the parameters of methods and the fields of signatures. What else stands as a key
# may be data: an address, a sentence, a key to something.
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]{0,39}\Z")

_EXTENSIONS: Final = {0xFF: "timestamp", 1: "bigint", 2: "decimal", 3: "tensor", 4: "function", 5: "tagged"}

# First byte to what it opens and the bytes of its content.
_FIXED: Final = (
    {0xC0: ("nil", 0), 0xC2: ("bool", 0), 0xC3: ("bool", 0), 0xCA: ("float", 4), 0xCB: ("float", 8)}
    | {0xCC + n: ("int", 1 << n % 4) for n in range(8)}
    | {0xD4 + n: ("ext", 1 << n) for n in range(5)}
)
# First byte to what it opens and the bytes of the length that follows.
_LENGTHS: Final = (
    {0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4)}
    | {0xC7: ("ext", 1), 0xC8: ("ext", 2), 0xC9: ("ext", 4)}
    | {0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4)}
    | {0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)}
)
_WITHOUT_SIZE: Final = frozenset(("nil", "bool", "int", "float"))


def shape_of(payload: bytes) -> str | None:
    """The shape of a payload; None when it is too long, or breaks a rule of the protocol's section 3.

    Sizes are entries for `map` and `list`, bytes for all others.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        return None
    try:
        scan(payload)
    except WireError:
        return None
    return _Reader(payload).value(0)


class _Reader:
    """A position in a payload that `scan` has passed: every length in it can be trusted."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def value(self, level: int) -> str:
        """Read one value that has `level` containers around it."""
        kind, size = self._header()
        if kind not in ("map", "list"):
            self._at += size
            return kind if kind in _WITHOUT_SIZE else f"{kind}({size})"
        if level >= SHOWN_LEVELS:
            self._skip(size * 2 if kind == "map" else size)
            return f"{kind}({size})"
        entries = [self._entry(kind, level + 1) for _ in range(min(size, MAX_SHOWN_ENTRIES))]
        if size > MAX_SHOWN_ENTRIES:
            left = size - MAX_SHOWN_ENTRIES
            self._skip(left * 2 if kind == "map" else left)
            entries.append(f"and {left} more")
        inside = ", ".join(entries)
        return f"map{{{inside}}}" if kind == "map" else f"list[{inside}]"

    def _entry(self, kind: str, level: int) -> str:
        return f"{self._name()}: {self.value(level)}" if kind == "map" else self.value(level)

    def _name(self) -> str:
        _, size = self._header()
        key = self._payload[self._at : self._at + size]
        self._at += size
        return key.decode() if _NAME.match(key) else "?"

    def _skip(self, values: int) -> None:
        # Counted and not recursive: a payload may be 64 deep.
        while values:
            values -= 1
            kind, size = self._header()
            if kind in ("map", "list"):
                values += size * 2 if kind == "map" else size
            else:
                self._at += size

    def _header(self) -> tuple[str, int]:
        """Step over a value's first bytes: its type, and the bytes or entries that follow."""
        first = self._take(1)
        if first < 0x80 or first >= 0xE0:
            return "int", 0
        if first < 0xC0:
            return ("map", first & 0x0F) if first < 0x90 else _short(first)
        if first in _FIXED:
            kind, size = _FIXED[first]
        else:
            kind, width = _LENGTHS[first]
            size = self._take(width)
        return (_EXTENSIONS[self._take(1)], size) if kind == "ext" else (kind, size)

    def _take(self, width: int) -> int:
        self._at += width
        return int.from_bytes(self._payload[self._at - width : self._at], "big")


def _short(first: int) -> tuple[str, int]:
    return ("list", first & 0x0F) if first < 0xA0 else ("str", first & 0x1F)
