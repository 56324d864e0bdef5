"""TEXT: what is written of a report, on its way: in pieces, or whole where its client takes no items."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from dspex_pool import endings
from dspex_protocol import encode_value, error

if TYPE_CHECKING:
    from dspex_pool.calls import Call, Caller

PIECE_CHARACTERS: Final = 256 * 1024
"""Of one item, unless its client takes less: far from a frame's limit, and few for a long report."""

BYTES_OF_CHARACTER: Final = 4
"""At most, in UTF-8."""
ENVELOPE_BYTES: Final = 1024
"""What else is in an item's frame, at most."""

SendPiece = Callable[[bytes], Awaitable[None]]
"""Takes the payload of one item; returns when there may be another."""


class Text:
    """One of them.

    Args:
        call: Whose.
        send_piece: Where its pieces go.

    Attributes:
        size_bytes: How long it is until now, as UTF-8.
    """

    def __init__(self, call: Call, send_piece: SendPiece) -> None:
        self._call = call
        self._send_piece = send_piece
        self._whole: list[str] | None = None if call.meta.get("credit") else []
        self.size_bytes = 0

    @property
    def whole(self) -> str | None:
        """All of it, where it was not sent in pieces."""
        return None if self._whole is None else "".join(self._whole)

    async def send(self, text: str) -> None:
        """Some more of it.

        Raises:
            DSPexError: `cancelled` when the call has ended; `result_too_large` without credit.
        """
        piece = min(PIECE_CHARACTERS, (self.check().max_frame_bytes - ENVELOPE_BYTES) // BYTES_OF_CHARACTER)
        for at in range(0, len(text), piece):
            await self._send(text[at : at + piece])

    async def _send(self, piece: str) -> None:
        self.size_bytes += len(piece.encode())
        caller = self.check()
        if self._whole is None:
            await self._send_piece(encode_value({"text": piece}))
            return
        self._whole.append(piece)
        if self.size_bytes > caller.max_frame_bytes:
            raise endings.too_large(self.size_bytes, caller.max_frame_bytes)

    def check(self) -> Caller:
        """Whoever waits for it.

        Raises:
            DSPexError: `cancelled` when nobody does any more.
        """
        if self._call.caller is None:
            raise error("cancelled", "the call has ended")
        return self._call.caller
