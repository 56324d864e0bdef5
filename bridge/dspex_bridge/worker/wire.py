"""The worker's end of its socket to the supervisor: frames in, frames out, in batches."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from time import monotonic

from dspex_protocol import FrameDecoder, Outbox, Oversized, WireError

from . import failpoints

# More per read costs page faults for the buffer and gains nothing (measured with ports).
READ_BYTES = 65_536
# The supervisor holds clients to its limit, whatever that is set to; on the way here a
# frame at the limit grows by an id and a version, and must not be thrown away for it.
MAX_LENGTH = 2**32 - 1


def take_wire(descriptor: int) -> int:
    """Move the wire away from the standard descriptors.

    Afterwards fd 0 is /dev/null and fd 1 is stderr, so that nothing a program prints or
    reads, in Python, in C or in a child, can touch the frames.

    Args:
        descriptor: Where the wire is now; it is closed.

    Returns:
        The wire's new descriptor: not inherited by children, non-blocking.
    """
    wire = os.dup(descriptor)
    os.set_inheritable(wire, False)
    os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null != 0:
        os.close(null)
    os.dup2(2, 1)
    os.set_blocking(wire, False)
    return wire


# One round of the loop may run many predictions to their end. Replies held back until it is
# over would let the supervisor, and with it the next calls, stand still for that long. Held for
# half of this, one worker with 32 and more calls at a time spent 10 to 20 % more on writing.
HOLD_S = 0.001


class Wire:
    """Frames on one descriptor of an event loop.

    `on_bodies` gets the bodies of each read together; what it sends goes out in one write
    when it returns. Frames sent at other times go out at the end of the loop's round.
    """

    def __init__(
        self,
        descriptor: int,
        loop: asyncio.AbstractEventLoop,
        on_bodies: Callable[[list[bytes | Oversized]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._descriptor = descriptor
        self._loop = loop
        self._on_bodies = on_bodies
        self._on_end = on_end
        self._decoder = FrameDecoder(MAX_LENGTH)
        self._outbox = Outbox()
        self._flush_due = False
        self._flushed_s = 0.0
        self._writable = True

    def start(self) -> None:
        """Begin to read."""
        self._loop.add_reader(self._descriptor, self._read)

    def send(self, frame: bytes) -> None:
        """Queue one encoded frame."""
        self._outbox.add(frame)
        if self._flush_due:
            return
        if monotonic() - self._flushed_s > HOLD_S:
            self.flush()
        else:
            self._flush_due = True
            self._loop.call_soon(self.flush)

    @property
    def waiting_bytes(self) -> int:
        """What the supervisor has not taken yet."""
        return self._outbox.waiting_bytes

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        self._flush_due = False
        self._flushed_s = monotonic()
        while self._writable:
            chunk = self._outbox.chunk()
            if not chunk:
                return
            if failpoints.armed("reply.half_written"):
                chunk = chunk[: max(1, len(chunk) // 2)]
            try:
                count = os.write(self._descriptor, chunk)
            except BlockingIOError:
                self._writable = False
                self._loop.add_writer(self._descriptor, self._resume)
                return
            except OSError:
                self._on_end()
                return
            failpoints.passed("reply.half_written")
            self._outbox.wrote(count)

    def push(self) -> None:
        """Write all that waits now; where the socket is full, stand still until it is taken.

        For what must be said before something else is done. The supervisor never stops to
        read from a worker, so this ends unless it is stopped itself.
        """
        self.flush()
        while self._outbox.waiting_bytes and not self._writable:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            self._resume()

    def _resume(self) -> None:
        self._loop.remove_writer(self._descriptor)
        self._writable = True
        self.flush()

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._descriptor)
            self._on_end()
            return
        self._flush_due = True  # no call_soon: the flush below takes all that is sent now
        try:
            self._on_bodies(self._decoder.feed(data))
        except WireError:  # the supervisor writes no such thing: this process has no master left
            self._loop.remove_reader(self._descriptor)
            self._on_end()
        self.flush()
