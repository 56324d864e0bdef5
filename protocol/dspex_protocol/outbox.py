"""Frames that wait to be written to one peer."""

from __future__ import annotations

from collections import deque


class Outbox:
    """A queue of encoded frames, joined into few large writes.

    Attributes:
        waiting_bytes: What has been added and not yet been written.
    """

    __slots__ = ("_frames", "_started", "waiting_bytes")

    # One write of this size fills a pipe; joining more would only copy more.
    CHUNK_BYTES = 65_536

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._started: memoryview | None = None  # the rest of a chunk that was written in part
        self.waiting_bytes = 0

    def add(self, frame: bytes) -> None:
        """Append one encoded frame, header included."""
        self._frames.append(frame)
        self.waiting_bytes += len(frame)

    def chunk(self) -> bytes | memoryview:
        """What to write next; empty when nothing waits. Call `wrote` with the count."""
        if self._started is not None:
            return self._started
        frames = self._frames
        if not frames:
            return b""
        if len(frames) == 1:
            joined = frames.popleft()
        else:
            size, parts = 0, list[bytes]()
            while frames and size < self.CHUNK_BYTES:
                size += len(frames[0])
                parts.append(frames.popleft())
            joined = b"".join(parts)
        self._started = memoryview(joined)
        return self._started

    def wrote(self, count: int) -> None:
        """Say how many bytes of the chunk went out."""
        self.waiting_bytes -= count
        started = self._started
        assert started is not None
        self._started = started[count:] if count < len(started) else None
