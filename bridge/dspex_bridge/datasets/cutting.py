"""Rows cut into parts: arrays of about a megabyte, which the store keeps and hands out one by one."""

from __future__ import annotations

import hashlib
from typing import Final

from dspex_protocol import encode_value
from dspex_protocol.errors import DSPexError
from dspex_protocol.slices import join_array

from ..refusals import refusal

PART_BYTES: Final = 1 << 20
PART_ROWS: Final = 1000
"""A part is read whole for each row of it that is wanted."""

NO_ROWS: Final = bytes(32)
"""The chain of no rows at all."""

MAX_ROW_BYTES: Final = 16 << 20
MAX_ROWS: Final = 1_000_000
"""Of one call."""


class Parts:
    """Parts that fill up.

    Args:
        chain: Of the rows before.

    Attributes:
        chain: SHA-256 over itself before each row and that row's own.
        fields: Names of fields in the order in which they were first met.
    """

    def __init__(self, chain: bytes) -> None:
        self.chain = chain
        self.fields: dict[str, None] = {}
        self._done: list[tuple[int, bytes]] = []
        self._rows: list[bytes] = []
        self._size_bytes = 0

    def add(self, row: dict[str, object], path: str) -> None:
        """One more.

        Raises:
            DSPexError: `invalid_argument` for one that is too long, or has no form on the wire.
        """
        body = _encoded(row, path)
        self.chain = hashlib.sha256(self.chain + hashlib.sha256(body).digest()).digest()
        self.fields.update(dict.fromkeys(row))
        if self._rows and (self._size_bytes + len(body) > PART_BYTES or len(self._rows) >= PART_ROWS):
            self._close()
        self._rows.append(body)
        self._size_bytes += len(body)

    def all(self) -> list[dict[str, object]]:
        """All parts: number of rows and encoded array."""
        if self._rows:
            self._close()
        return [{"rows": rows, "body": body} for rows, body in self._done]

    def _close(self) -> None:
        self._done.append((len(self._rows), join_array(self._rows)))
        self._rows, self._size_bytes = [], 0


def _encoded(row: dict[str, object], path: str) -> bytes:
    try:
        body = encode_value(row)
    except DSPexError as reason:
        raise refusal(path, "values that the protocol has", reason.message[:200]) from None
    if len(body) > MAX_ROW_BYTES:
        raise refusal(path, f"at most {MAX_ROW_BYTES} bytes", f"{len(body)}")
    return body
