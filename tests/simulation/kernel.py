"""Descriptors and the bytes between them: the part of the kernel that `link.Link` uses.

The supervisor's links are the real ones; the `os` of their module and their event loop are a
`Kernel`. Bytes come late and in pieces of any size, but in order; a pipe that is full takes
part of a write or none of it; what a dead process had written can still be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from .loop import VirtualLoop

# How late a reader or writer learns that it may go on, in seconds: mostly not at all.
LATENESS_S: Final = (0.0, 0.0, 0.0, 0.0, 0.0002, 0.0002, 0.001, 0.001, 0.005, 0.02)


class WrongDescriptor(Exception):
    """Somebody uses a descriptor that is not open."""


class Wire:
    """One direction of a socket pair.

    Attributes:
        taken: Bytes that the reader has had, ever.
        when_taken: Is told of `taken` after each read.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._bytes = bytearray()
        self._reader: Callable[[], object] | None = None
        self._writer: Callable[[], object] | None = None
        self._reader_told = False
        self._writer_told = False
        self._written_off = False  # nobody will write
        self._read_off = False  # nobody will read
        self.taken = 0
        self.when_taken: Callable[[int], None] | None = None

    def put(self, data: bytes | bytearray | memoryview) -> int:
        """Write; returns how much was taken.

        Raises:
            BlockingIOError: when it is full.
            BrokenPipeError: when nobody will read it.
        """
        if self._read_off:
            raise BrokenPipeError
        room = self._kernel.capacity - len(self._bytes)
        if room <= 0:
            raise BlockingIOError
        count = min(room, len(data))
        self._bytes += data[:count]
        self._tell_reader()
        return count

    def take(self, at_most: int) -> bytes:
        """Read a piece; empty at the end.

        Raises:
            BlockingIOError: when nothing has come.
        """
        waiting = len(self._bytes)
        if not waiting:
            if self._written_off:
                return b""
            raise BlockingIOError
        # The last words of a dead process lie there whole.
        count = waiting if self._written_off else self._kernel.piece_of(waiting)
        count = min(count, at_most)
        data = bytes(self._bytes[:count])
        del self._bytes[:count]
        self.taken += count
        if self.when_taken is not None:
            self.when_taken(self.taken)
        self._tell_writer()
        return data

    def listen(self, reader: Callable[[], object] | None) -> None:
        """Have `reader` called whenever there is something to read, or an end."""
        self._reader = reader
        self._tell_reader()

    def await_room(self, writer: Callable[[], object] | None) -> None:
        """Have `writer` called whenever something can be written, or nobody reads any more."""
        self._writer = writer
        self._tell_writer()

    def end_writing(self) -> None:
        """The writer is gone."""
        self._written_off = True
        self._tell_reader()

    def end_reading(self) -> None:
        """The reader is gone."""
        self._read_off = True
        self._reader = None
        self._bytes.clear()
        self._tell_writer()

    def _tell_reader(self) -> None:
        if self._reader is not None and not self._reader_told and (self._bytes or self._written_off):
            self._reader_told = True
            self._kernel.call_late(self._readable)

    def _readable(self) -> None:
        self._reader_told = False
        if self._reader is not None and (self._bytes or self._written_off):
            self._reader()
            self._tell_reader()

    def _tell_writer(self) -> None:
        has_room = self._read_off or len(self._bytes) < self._kernel.capacity
        if self._writer is not None and not self._writer_told and has_room:
            self._writer_told = True
            self._kernel.call_late(self._writable)

    def _writable(self) -> None:
        self._writer_told = False
        if self._writer is not None:
            self._writer()
            self._tell_writer()


class End:
    """The far end of a socket pair, for whoever the supervisor talks with.

    Attributes:
        on_data: Is given pieces as they come.
        on_end: Is called when the supervisor has closed its end.
    """

    def __init__(self, incoming: Wire, outgoing: Wire) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self._unsent = bytearray()
        self._closed = False
        self.on_data: Callable[[bytes], None] = lambda data: None
        self.on_end: Callable[[], None] = lambda: None

    @property
    def unsent(self) -> int:
        """Bytes that the pipe has not taken yet."""
        return len(self._unsent)

    def start(self) -> None:
        """Begin, or go on, to read and to write."""
        if not self._closed:
            self.incoming.listen(self._read)
            self._flush()

    def pause(self) -> None:
        """Neither read nor write."""
        self.incoming.listen(None)
        self.outgoing.await_room(None)

    def deafen(self) -> None:
        """Do not read; what is to be written is."""
        self.incoming.listen(None)

    def write(self, data: bytes) -> None:
        """Write, now or when there is room."""
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        while self._unsent and not self._closed:
            try:
                count = self.outgoing.put(self._unsent)
            except BlockingIOError:
                self.outgoing.await_room(self._flush)
                return
            except BrokenPipeError:
                self._unsent.clear()
                break
            del self._unsent[:count]
        self.outgoing.await_room(None)

    def _read(self) -> None:
        data = self.incoming.take(65_536)
        if data:
            self.on_data(data)
        else:
            self.incoming.listen(None)
            self.on_end()

    def close(self) -> None:
        """Hang up. What was written can still be read."""
        self._closed = True
        self.pause()
        self.incoming.end_reading()
        self.outgoing.end_writing()


class Kernel:
    """The `os` and the event loop of the supervisor's links.

    Args:
        loop: Time.
        random: For pieces and lateness.
        capacity: Bytes that a pipe holds.
        is_whole: Reads are never short.
        first: The lowest number of a descriptor.

    Attributes:
        open: Descriptors that are open, as (read from, written to).
    """

    def __init__(
        self, loop: VirtualLoop, random: Random, capacity: int, *, is_whole: bool, first: int = 3
    ) -> None:
        self._loop = loop
        self._draw = random.random
        self._is_whole = is_whole
        self._first = first
        self.capacity = capacity
        self.open: dict[int, tuple[Wire, Wire]] = {}

    def socket_pair(self) -> tuple[int, End]:
        """A descriptor for the supervisor, and the end of its peer."""
        incoming, outgoing = Wire(self), Wire(self)
        descriptor = self._first
        while descriptor in self.open:  # the lowest that is free, as kernels do: they are used again
            descriptor += 1
        self.open[descriptor] = (incoming, outgoing)
        return descriptor, End(outgoing, incoming)

    def call_late(self, callback: Callable[[], object]) -> None:
        """Call soon, or somewhat later."""
        late_s = LATENESS_S[int(self._draw() * len(LATENESS_S))]
        if late_s:
            self._loop.call_later(late_s, callback)
        else:
            self._loop.call_soon(callback)

    def piece_of(self, size: int) -> int:
        """How much of what is there a read gets."""
        if self._is_whole or self._draw() < 0.5:
            return size
        return 1 + int(self._draw() * size)

    # As `os`

    def read(self, descriptor: int, at_most: int) -> bytes:
        return self._wires(descriptor)[0].take(at_most)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        return self._wires(descriptor)[1].put(data)

    def close(self, descriptor: int) -> None:
        incoming, outgoing = self._wires(descriptor)
        del self.open[descriptor]
        incoming.end_reading()
        outgoing.end_writing()

    def set_blocking(self, descriptor: int, blocking: bool) -> None:
        self._wires(descriptor)

    # As an event loop

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._loop.call_soon(callback)

    def add_reader(self, descriptor: int, reader: Callable[[], object]) -> None:
        self._wires(descriptor)[0].listen(reader)

    def remove_reader(self, descriptor: int) -> None:
        self._wires(descriptor)[0].listen(None)

    def add_writer(self, descriptor: int, writer: Callable[[], object]) -> None:
        self._wires(descriptor)[1].await_room(writer)

    def remove_writer(self, descriptor: int) -> None:
        self._wires(descriptor)[1].await_room(None)

    def _wires(self, descriptor: int) -> tuple[Wire, Wire]:
        if descriptor not in self.open:
            raise WrongDescriptor(f"descriptor {descriptor} is not open")
        return self.open[descriptor]


class Kernels:
    """The `os` of links that belong to several kernels.

    Args:
        kernels: Whose descriptors are numbered apart.
        apart: By how much.
    """

    def __init__(self, kernels: Sequence[Kernel], apart: int) -> None:
        self._kernels = kernels
        self._apart = apart

    def _of(self, descriptor: int) -> Kernel:
        return self._kernels[descriptor // self._apart]

    def read(self, descriptor: int, at_most: int) -> bytes:
        return self._of(descriptor).read(descriptor, at_most)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        return self._of(descriptor).write(descriptor, data)

    def close(self, descriptor: int) -> None:
        self._of(descriptor).close(descriptor)

    def set_blocking(self, descriptor: int, blocking: bool) -> None:
        self._of(descriptor).set_blocking(descriptor, blocking)
