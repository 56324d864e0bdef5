"""Workers' memory is read often enough to see bloat, and seldom enough to cost nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool import memory
from dspex_pool.memory import (
    GROWTH_BYTES,
    UNCHANGED_S,
    MemoryWatch,
    Walk,
    is_due,
    read_private_bytes,
    read_resident_bytes,
)
from dspex_pool.processes import LINUX

MIB = 1024 * 1024
GROWN_BYTES = 100 * MIB

# Takes 100 MB for each line on its stdin, and says so.
GROWING = f"""
import sys
kept = []
print(flush=True)
for line in sys.stdin:
    kept.append(b"x" * {GROWN_BYTES})
    print(flush=True)
"""

# A fork of one that has 100 MB says what it has itself, and what it has with its parent.
FORKING = f"""
import os
from dspex_pool.memory import read_private_bytes, read_resident_bytes
kept = b"x" * {GROWN_BYTES}
if os.fork():
    os.wait()
else:
    print(read_private_bytes(os.getpid()), read_resident_bytes(os.getpid()), flush=True)
"""

linux = pytest.mark.skipif(not LINUX, reason="reads /proc")


class Child:
    """A process that grows when it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", GROWING], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self.process.pid
        self._heard()

    def grow(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        self._heard()

    def end(self, *, reap: bool = True) -> None:
        self.process.kill()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        if reap:
            self.process.communicate()

    def _heard(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.readline()


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.process.kill()
    child.process.communicate()


@linux
@pytest.mark.parametrize("reader", [read_private_bytes, read_resident_bytes])
def test_readers_see_what_a_process_takes(child: Child, reader: Callable[[int], int | None]) -> None:
    """All of it, and little else."""
    before = reader(child.pid)
    child.grow()
    after = reader(child.pid)
    assert before is not None
    assert after is not None
    assert GROWN_BYTES <= after - before <= GROWN_BYTES + 4 * MIB


@linux
def test_shared_pages_are_not_a_process_own() -> None:
    """A fork's memory is its parent's until one of them writes to it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    printed = subprocess.run(
        [sys.executable, "-c", FORKING], stdout=subprocess.PIPE, timeout=30, check=True, env=environment
    ).stdout
    own_bytes, resident_bytes = map(int, printed.split())
    assert own_bytes < GROWN_BYTES // 2 < GROWN_BYTES <= resident_bytes


@linux
@pytest.mark.parametrize("reader", [read_private_bytes, read_resident_bytes])
@pytest.mark.parametrize("reap", [False, True])
def test_a_process_that_has_ended_has_no_memory(
    child: Child, reader: Callable[[int], int | None], reap: bool
) -> None:
    """Whether somebody has asked for its exit code or not."""
    child.end(reap=reap)
    assert reader(child.pid) is None


@linux
@pytest.mark.parametrize("reader", [read_private_bytes, read_resident_bytes])
def test_a_process_may_end_before_its_open_file_is_read(
    child: Child, reader: Callable[[int], int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses the read then, or gives nothing."""
    really_open = os.open

    def open_and_end(path: str, flags: int) -> int:
        descriptor = really_open(path, flags)
        child.end()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_end)
    assert reader(child.pid) is None


@contextmanager
def no_descriptors() -> Generator[None]:
    """While it lasts, nothing can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@linux
def test_without_descriptors_nothing_is_read_and_nothing_breaks() -> None:
    """And none is lost: the next round reads again."""
    open_before = len(os.listdir("/proc/self/fd"))
    with no_descriptors():
        missed = [read_private_bytes(os.getpid()), read_resident_bytes(os.getpid())]
    assert [None, None] == missed
    assert read_private_bytes(os.getpid())
    assert read_resident_bytes(os.getpid())
    assert open_before == len(os.listdir("/proc/self/fd"))


@given(st.integers(0, 2**45), st.integers(-(2**45), 2**45), st.floats(0, 1e9), st.floats(0, 100))
def test_when_pages_are_walked_again(before: int, growth: int, at_s: float, later_s: float) -> None:
    """When the sum has grown by 8 MiB, or after 10 s; never seen before, at once."""
    now_s = at_s + later_s
    expected = growth >= GROWTH_BYTES or now_s - at_s >= UNCHANGED_S
    assert expected == is_due(Walk(before, at_s), before + growth, now_s)
    assert is_due(None, before, now_s)


class Machine:
    """Processes whose memory the test sets; counts how often their pages are walked.

    Attributes:
        resident: Bytes by pid; a pid that is missing is gone.
        walked: Pids, in order.
        delivered: What the watch told.
        rounds: What is to be run on the loop.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.resident: dict[int, int] = {}
        self.walked: list[int] = []
        self.delivered: list[dict[int, int]] = []
        self.rounds: list[Callable[[], None]] = []
        self.told = threading.Event()
        self.watch = MemoryWatch(
            self._call_soon,
            self.delivered.append,
            read_private=self._walk,
            read_resident=self.resident.get,
            clock=lambda: self.now_s,
        )

    def _call_soon(self, round_: Callable[[], None]) -> None:
        self.rounds.append(round_)
        self.told.set()

    def _walk(self, pid: int) -> int | None:
        self.walked.append(pid)
        return self.resident.get(pid)


def test_only_who_is_due_is_walked() -> None:
    """The others cost one short read in a round."""
    machine = Machine()
    machine.resident.update({71: 50 * MIB, 72: 60 * MIB})
    machine.watch.watch(1, 71)
    machine.watch.watch(2, 72)
    rounds = [machine.watch.look(), machine.watch.look()]
    machine.resident[72] += GROWTH_BYTES
    rounds.append(machine.watch.look())
    machine.now_s = UNCHANGED_S
    rounds.append(machine.watch.look())
    assert [{1: 50 * MIB, 2: 60 * MIB}, {}, {2: 68 * MIB}, {1: 50 * MIB, 2: 68 * MIB}] == rounds
    assert [71, 72, 72, 71, 72] == machine.walked


def test_who_vanishes_in_the_middle_of_a_round_is_left_out() -> None:
    """The others are read as always."""
    machine = Machine()
    machine.resident.update({72: 60 * MIB})
    machine.watch.watch(1, 71)
    machine.watch.watch(2, 72)
    assert {2: 60 * MIB} == machine.watch.look()


def test_a_walk_that_failed_is_tried_again_in_the_next_round() -> None:
    """With no descriptor left, a growing worker would go unseen for 10 s."""
    machine, failures = Machine(), [None, None]
    watch = MemoryWatch(
        machine.rounds.append,
        machine.delivered.append,
        read_private=lambda pid: failures.pop() if failures else 5 * MIB,
        read_resident=lambda pid: 5 * MIB,
        clock=lambda: 0.0,
    )
    watch.watch(1, 71)
    assert [{}, {}, {1: 5 * MIB}] == [watch.look() for _ in range(3)]


@linux
def test_who_is_forgotten_in_the_middle_of_a_round_is_not_told() -> None:
    """Its pid may be another process's by then."""
    machine = Machine()
    machine.resident.update({71: 50 * MIB, 72: 60 * MIB})
    machine.watch.watch(1, 71)
    machine.watch.watch(2, 72)
    machine.watch.start()
    assert machine.told.wait(10)
    machine.watch.forget(1)
    machine.rounds.pop(0)()
    assert [{2: 60 * MIB}] == machine.delivered
    machine.watch.close()


@linux
def test_a_worker_is_read_as_soon_as_it_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its baseline would otherwise be what it has grown to."""
    monkeypatch.setattr(memory, "ROUND_S", 3600.0)
    machine = Machine()
    machine.watch.start()
    for number in (1, 2):
        machine.told.clear()
        machine.resident[70 + number] = 50 * MIB
        machine.watch.watch(number, 70 + number)
        assert machine.told.wait(10)
    machine.watch.close()


def start(watch: MemoryWatch) -> threading.Thread:
    """Start a watch; returns its thread."""
    before = set(threading.enumerate())
    watch.start()
    (thread,) = set(threading.enumerate()) - before
    return thread


@linux
def test_the_thread_ends_with_its_watch() -> None:
    """And tells nothing after that."""
    machine = Machine()
    machine.resident[71] = 50 * MIB
    machine.watch.watch(1, 71)
    thread = start(machine.watch)
    assert machine.told.wait(10)
    machine.watch.close()
    thread.join(10)
    assert not thread.is_alive()
    for late in machine.rounds:
        late()
    assert [] == machine.delivered


@linux
def test_the_thread_ends_with_its_loop() -> None:
    """Quietly: a loop that is closed takes no more."""
    loop = asyncio.new_event_loop()
    loop.close()
    watch = MemoryWatch(loop.call_soon_threadsafe, lambda readings: None)
    thread = start(watch)
    watch.watch(1, os.getpid())
    thread.join(10)
    assert not thread.is_alive()


@linux
async def test_a_growing_process_is_seen_beside_one_that_vanished(child: Child) -> None:
    """Within rounds, on the loop, as much as it took."""
    readings, vanishing = asyncio.Queue[int](), Child()

    def take(figures: dict[int, int]) -> None:
        if 2 in figures:
            readings.put_nowait(figures[2])

    watch = MemoryWatch(asyncio.get_running_loop().call_soon_threadsafe, take)
    watch.start()
    watch.watch(1, vanishing.pid)
    watch.watch(2, child.pid)
    async with asyncio.timeout(UNCHANGED_S - 1):  # it is the growth that is seen, not the time
        first = await readings.get()
        vanishing.end()
        child.grow()
        latest = first
        while latest - first < GROWN_BYTES:
            latest = await readings.get()
    assert latest - first <= GROWN_BYTES + 4 * MIB
    watch.close()


@linux
def test_a_process_may_vanish_between_two_reads(child: Child) -> None:
    """Its round has no figure for it, and the next ones neither."""

    def end_it_and_read(pid: int) -> int | None:
        child.end()
        return read_private_bytes(pid)

    watch = MemoryWatch(lambda round_: None, lambda readings: None, read_private=end_it_and_read)
    watch.watch(1, child.pid)
    assert [{}, {}] == [watch.look(), watch.look()]
