"""How much memory each worker has to itself, read while its calls run.

One thread reads, and the event loop gets the figures. Read on the loop they would hold up
every call: the kernel walks all pages of a process to say which are its own. Measured on Linux
6.18, median: 0.7 ms at 50 MB, 1.3 ms for a real worker of as much, 2.3 ms at 200 MB, 6 ms at
500 MB, 15 ms (at most 22) at 1 GB; and as long the worker cannot map or unmap memory. The sum
of its pages, shared with the zygote or not, takes 0.01 ms at any size. So the sum is read in
each round, and the walk is made only when the sum has grown, or after a while: a worker that
writes to pages it shared grows without changing the sum.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from .processes import LINUX

ROUND_S: Final = 0.25
"""Between rounds: a worker that grows by 1 GB/s is seen with 250 MB more than its limit."""

GROWTH_BYTES: Final = 8 * 1024 * 1024
"""Growth after which a worker's pages are walked again: a thirtieth of the soft limit."""

UNCHANGED_S: Final = 10.0
"""A worker that has not grown is walked this often: 0.01 % of a core."""

MAX_FILE_BYTES: Final = 4096
"""More than either file holds; the kernel gives it in one read."""

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

Reader = Callable[[int], int | None]
"""From a pid to bytes; None where there is nothing to read."""


def read_private_bytes(pid: int) -> int | None:
    """The memory that a process shares with nobody (its USS), in bytes.

    Blocks for milliseconds, by the size of the process; see above. Memory that was swapped
    out is not in it.

    Returns:
        None when the process is gone or ending, and where there is no such figure.
    """
    text = _read(f"/proc/{pid}/smaps_rollup")
    kibibytes = [int(line.split()[1]) for line in text.splitlines() if line.startswith(b"Private_")]
    return sum(kibibytes) * 1024 if kibibytes else None


def read_resident_bytes(pid: int) -> int | None:
    """The memory of a process that is no file's, shared with other processes or not, in bytes.

    Returns:
        As `read_private_bytes`.
    """
    fields = _read(f"/proc/{pid}/statm").split()
    if not fields:
        return None
    pages = int(fields[1]) - int(fields[2])
    return pages * PAGE_BYTES or None  # one that has ended and was not reaped has zeros


def _read(path: str) -> bytes:
    """A small file's content; empty where it cannot be read, be it for want of descriptors.

    Not `open()`: beside a busy loop each call into the kernel may cost a turn of 5 ms at the
    interpreter's lock, and that makes six of them.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, MAX_FILE_BYTES)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Walk:
    """What was known when a worker's pages were last walked.

    Attributes:
        resident_bytes: The sum of its pages then.
        at_s: When.
    """

    resident_bytes: int
    at_s: float


def is_due(last: Walk | None, resident_bytes: int, now_s: float) -> bool:
    """Whether a worker's pages should be walked (again)."""
    return (
        last is None
        or resident_bytes - last.resident_bytes >= GROWTH_BYTES
        or now_s - last.at_s >= UNCHANGED_S
    )


class MemoryWatch:
    """Reads the workers' memory in a thread of its own; elsewhere than on Linux it does nothing.

    All methods but `look` are for the loop's thread. A worker is to be forgotten before its
    process is reaped: its pid may be another's after that. Numbers are never used twice, so
    whatever was being read of it in that moment is dropped.

    Args:
        call_soon_threadsafe: That of the loop.
        on_readings: Is called on the loop with the new figures of a round, USS in bytes by
            worker's number; not when there are none.
        read_private: A process's USS.
        read_resident: The sum of its pages.
        clock: Seconds, from whatever start.
    """

    def __init__(
        self,
        call_soon_threadsafe: Callable[[Callable[[], None]], object],
        on_readings: Callable[[dict[int, int]], None],
        *,
        read_private: Reader = read_private_bytes,
        read_resident: Reader = read_resident_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call_soon_threadsafe = call_soon_threadsafe
        self._on_readings = on_readings
        self._read_private = read_private
        self._read_resident = read_resident
        self._clock = clock
        self._pids: dict[int, int] = {}  # by number; replaced, never changed: the thread reads it too
        self._walks: dict[int, Walk] = {}  # the thread's own
        self._wake = threading.Event()
        self._closed = False

    def start(self) -> None:
        """Start the thread. It ends with `close`, with the loop, or with the process."""
        if LINUX:
            threading.Thread(target=self._run, name="memory", daemon=True).start()

    def watch(self, number: int, pid: int) -> None:
        """Read a worker's memory from now on, first of all at once: before it has grown."""
        self._pids = {**self._pids, number: pid}
        self._wake.set()

    def forget(self, number: int) -> None:
        """Hear no more of a worker. No error when it was not watched."""
        self._pids = {other: pid for other, pid in self._pids.items() if other != number}

    def close(self) -> None:
        """Hear no more at all. Does not wait for the thread, which may be in the middle of a walk."""
        self._closed = True
        self._pids = {}
        self._wake.set()

    def look(self) -> dict[int, int]:
        """One round, in the calling thread: USS in bytes by worker's number, of those that were due."""
        pids = self._pids
        self._walks = {number: walk for number, walk in self._walks.items() if number in pids}
        readings = {number: self._walk_if_due(number, pid) for number, pid in pids.items()}
        return {number: uss_bytes for number, uss_bytes in readings.items() if uss_bytes is not None}

    def _walk_if_due(self, number: int, pid: int) -> int | None:
        resident_bytes, now_s = self._read_resident(pid), self._clock()
        if resident_bytes is None or not is_due(self._walks.get(number), resident_bytes, now_s):
            return None
        uss_bytes = self._read_private(pid)
        if uss_bytes is not None:
            self._walks[number] = Walk(resident_bytes, now_s)
        return uss_bytes

    def _run(self) -> None:
        while not self._closed:
            readings = self.look()
            if readings:
                try:
                    self._call_soon_threadsafe(partial(self._deliver, readings))
                except RuntimeError:  # the loop has been closed
                    return
            self._wake.wait(ROUND_S)
            self._wake.clear()

    def _deliver(self, readings: dict[int, int]) -> None:
        current = {number: uss_bytes for number, uss_bytes in readings.items() if number in self._pids}
        if current:
            self._on_readings(current)
