"""Frames on descriptors: read in batches, written in batches, no task and no timer.

asyncio's streams would cost a task and several copies for each frame; here a read is one
system call for as many frames as have come, and all frames sent while they are handled go
out in one write.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from dspex_protocol import FrameDecoder, Outbox, Oversized, WireError

# Larger reads cost page faults for their buffer: about 15 µs each from 256 KiB on.
READ_BYTES = 65_536
MAX_LAST_READS: Final = 64
"""Reads of what a peer had written before it stopped taking: several times what a socket holds."""


class Link:
    """Both directions of one peer.

    `on_bodies` gets the bodies of one read together. `on_end` is called once, with the
    reason when the peer broke the framing, else None; what it sends is still tried once
    before the descriptors are closed. `dirty` is shared by all links of a
    loop: a link puts itself there when it has something to write, and whoever handled an
    event flushes them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        read_fd: int,
        write_fd: int,
        dirty: list[Link],
        max_frame_bytes: int,
    ) -> None:
        self._loop = loop
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._dirty = dirty
        self.max_frame_bytes = max_frame_bytes
        self._decoder = FrameDecoder(max_frame_bytes)
        self._outbox = Outbox()
        self._is_dirty = False
        self._writable = True
        self._reading = False
        self._ended = False
        self.closed = False
        self.on_bodies: Callable[[list[bytes | Oversized]], None] = lambda bodies: None
        self.on_end: Callable[[WireError | None], None] = lambda reason: None
        self.on_drained: Callable[[], None] | None = None
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)

    @property
    def waiting_bytes(self) -> int:
        """What the peer has not taken yet."""
        return self._outbox.waiting_bytes

    @property
    def unread_bytes(self) -> int:
        """What was offered to the peer and refused. While there is some, `on_drained` will come."""
        return 0 if self._writable else self._outbox.waiting_bytes

    def start(self) -> None:
        """Begin, or go on, to read."""
        if not self._reading and not self._ended and not self.closed:
            self._reading = True
            self._loop.add_reader(self._read_fd, self.read)

    def pause(self) -> None:
        """Stop reading until `start`."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._read_fd)

    def send(self, frame: bytes) -> None:
        """Queue one encoded frame. After `close` it is dropped: the peer is gone."""
        if self.closed:
            return
        self._outbox.add(frame)
        if not self._is_dirty:
            self._is_dirty = True
            self._dirty.append(self)

    def flush(self) -> None:
        """Write what waits, as far as the peer takes it."""
        self._is_dirty = False
        while self._writable and not self.closed:
            chunk = self._outbox.chunk()
            if not chunk:
                return
            try:
                self._outbox.wrote(os.write(self._write_fd, chunk))
            except BlockingIOError:
                self._writable = False
                self._loop.add_writer(self._write_fd, self._resume)
            except OSError:
                self._writable = False  # not another try: `_end` itself may be what is writing its last frame
                self._loop.call_soon(self._end_after_last_words)
                return

    def _resume(self) -> None:
        self._loop.remove_writer(self._write_fd)
        self._writable = True
        self.flush()
        if self.on_drained is not None:
            self.on_drained()

    def read(self) -> bool:
        """Take what has come.

        Returns:
            Whether something had; False at the end, or when nothing waits.
        """
        if self.closed or self._ended:
            return False
        try:
            data = os.read(self._read_fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end(None)
            return False
        try:
            bodies = self._decoder.feed(data)
        except WireError as reason:
            if self._decoder.complete:  # they came before the fault
                self.on_bodies(self._decoder.complete)
            self._end(reason)
            return False
        if bodies:
            self.on_bodies(bodies)
        return True

    def read_last_words(self) -> None:
        """The peer is gone, or takes nothing any more: what it had said before counts."""
        # Bounded: one that only stopped listening may go on talking, and so may a child that it left behind.
        for _ in range(MAX_LAST_READS):
            if not self.read():
                break

    def _end_after_last_words(self) -> None:
        self.read_last_words()
        if not self.closed:
            self._end(None)

    def _end(self, reason: WireError | None) -> None:
        if self._ended:
            return
        self._ended = True
        self.pause()
        self.on_end(reason)
        if reason is not None:
            self.flush()
        self.close()

    def close(self) -> None:
        """Stop and close the descriptors. What was not written is lost."""
        if self.closed:
            return
        self.pause()
        self.closed = True
        if not self._writable:
            self._loop.remove_writer(self._write_fd)
        for descriptor in {self._read_fd, self._write_fd}:
            os.close(descriptor)
