"""A FRAME: a 4-byte big-endian length and that many bytes; bytes in, bodies out."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import WireError
from .limits import DRAIN_FACTOR, MAX_ENVELOPE_BYTES, MAX_FRAME_BYTES

HEADER_BYTES = 4
# What is kept of a body that is thrown away: enough to read its envelope.
HEAD_BYTES = MAX_ENVELOPE_BYTES + 1


@dataclass(frozen=True, slots=True)
class Oversized:
    """A frame that was longer than the limit and was thrown away.

    Attributes:
        length: The length that its header told, in bytes.
        head: Its first bytes, enough for the envelope.
    """

    length: int
    head: bytes


class FrameDecoder:
    """Cuts a byte stream into frame bodies.

    Holds at most one partial frame. Does no I/O: feed it what was read.

    Attributes:
        complete: After `feed` has raised: the bodies that came before the fault in the same
            bytes. They are as good as if they had been read one by one.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.max_frame_bytes = max_frame_bytes
        self.complete: list[bytes | Oversized] = []
        self._rest = b""
        self._partial = bytearray()  # of that frame; of one that is thrown away, the head
        self._missing = 0  # bytes of a long frame that have not come yet
        self._length = 0
        self._draining = False

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        """Take the next bytes of the stream; return the bodies that are complete now.

        Raises:
            WireError: `frame_too_large` when a length is beyond what is drained. The
                stream cannot be trusted any more; close it.
        """
        out: list[bytes | Oversized] = []
        if self._missing:
            data = self._fill(data, out)
            if not data:
                return out
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position, end, limit = 0, len(data), self.max_frame_bytes
        while end - position >= HEADER_BYTES:
            start = position + HEADER_BYTES
            length = int.from_bytes(data[position:start], "big")
            stop = start + length
            if stop <= end and length <= limit:
                out.append(data[start:stop])
                position = stop
                continue
            if length > limit * DRAIN_FACTOR:
                self.complete = out
                raise self._beyond(length)
            data = self._begin(length, data[start:], out)
            position, end = 0, len(data)
            if self._missing:
                return out
        if position < end:
            self._rest = data[position:] if position else data
        return out

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises:
            WireError: `frame_truncated` when it ended inside a frame.
        """
        if self._rest or self._missing:
            raise WireError("frame_truncated", "the connection ended inside a frame")

    def _begin(self, length: int, data: bytes, out: list[bytes | Oversized]) -> bytes:
        """Start a frame that is incomplete or too long; return what is left of `data`."""
        self._length = self._missing = length
        self._draining = length > self.max_frame_bytes
        return self._fill(data, out)

    def _fill(self, data: bytes, out: list[bytes | Oversized]) -> bytes:
        taken = data[: self._missing]
        self._missing -= len(taken)
        self._partial += taken[: HEAD_BYTES - len(self._partial)] if self._draining else taken
        if self._missing:
            return b""
        whole = bytes(self._partial)
        self._partial.clear()
        out.append(Oversized(self._length, whole) if self._draining else whole)
        return data[len(taken) :]

    def _beyond(self, length: int) -> WireError:
        return WireError(
            "frame_too_large",
            f"a frame of {length} bytes was announced, the limit is {self.max_frame_bytes};"
            " something other than frames is being written to the wire",
            details={"length": length, "limit": self.max_frame_bytes},
        )


def encode_frame(body: bytes) -> bytes:
    """Put the length before a body."""
    return len(body).to_bytes(HEADER_BYTES, "big") + body
