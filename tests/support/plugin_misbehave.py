"""A plug-in with operations that do what programs must not: each is one way to hurt a worker.

Loaded into workers by the setting `plugins`; the tests of tests/end_to_end call them.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from dspex_bridge.rows import Nothing, Operation, Worker
from dspex_bridge.worker.calls import RunningCall

_kept: list[object] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Nonce:
    """Something to be given back after a pause."""

    nonce: object
    pause_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How long."""

    seconds: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Stray text."""

    how: Literal["print", "c", "child", "descriptor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Megabytes:
    """How much."""

    megabytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A stream."""

    count: int
    size_bytes: int = 0


async def _nonce(worker: Worker, call: RunningCall, what: Nonce) -> object:
    await asyncio.sleep(what.pause_ms / 1000)
    return what.nonce


async def _announce(call: RunningCall) -> None:
    """Tell a caller that takes items that it begins now."""
    if call.wants_items:
        await call.emit({"begun": True})
        await asyncio.sleep(0)  # it is written before the loop comes back here


async def _spin_in_c(worker: Worker, call: RunningCall, nothing: Nothing) -> None:
    await _announce(call)
    # Exponential backtracking in C, which never lets go of the interpreter's lock.
    re.match(r"(a+)+$", "a" * 64 + "b")


async def _loop(worker: Worker, call: RunningCall, nothing: Nothing) -> None:
    await _announce(call)
    while True:
        pass


async def _sleep_on_loop(worker: Worker, call: RunningCall, what: Duration) -> None:
    await _announce(call)
    time.sleep(what.seconds)


async def _sleep_in_thread(worker: Worker, call: RunningCall, what: Duration) -> None:
    await _announce(call)
    # Such as a module without an async form: cancelling the task does not stop the thread.
    await asyncio.shield(asyncio.get_running_loop().run_in_executor(worker.threads, time.sleep, what.seconds))


async def _ignore_cancel(worker: Worker, call: RunningCall, what: Duration) -> None:
    await _announce(call)
    until = time.monotonic() + what.seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(what.seconds)
        except asyncio.CancelledError:
            continue


async def _stop(worker: Worker, call: RunningCall, nothing: Nothing) -> None:
    await _announce(call)
    os.kill(os.getpid(), 19)  # SIGSTOP


# Stray text on the standard descriptors


def _write_c() -> None:
    library = ctypes.CDLL(None)
    library.puts(b"stray text of C")
    library.fflush(None)


_WRITERS: dict[str, Callable[[], object]] = {
    "print": lambda: print("stray text of print", flush=True),
    "c": _write_c,
    "child": lambda: subprocess.run(["echo", "stray text of a child"], check=True),
    "descriptor": lambda: os.write(1, b"\x00\x00\x00\x05stray bytes like a frame"),
}


async def _write(worker: Worker, call: RunningCall, what: Writing) -> str:
    _WRITERS[what.how]()
    return what.how


async def _read_stdin(worker: Worker, call: RunningCall, nothing: Nothing) -> object:
    child = subprocess.run(["cat"], capture_output=True, check=True, timeout=10)
    return [os.read(0, 1), sys.stdin.read(), child.stdout]


async def _flood_stderr(worker: Worker, call: RunningCall, what: Megabytes) -> int:
    def flood() -> int:
        line = b"x" * 1023 + b"\n"
        return sum(os.write(2, line) for _ in range(what.megabytes * 1024))

    return await asyncio.get_running_loop().run_in_executor(worker.threads, flood)


# Processes, threads, memory


async def _spawn(worker: Worker, call: RunningCall, nothing: Nothing) -> int:
    """A child that sleeps; its pid."""
    child = subprocess.Popen(["sleep", "3600"])
    _kept.append(child)
    return child.pid


async def _spawn_detached(worker: Worker, call: RunningCall, nothing: Nothing) -> int:
    """A daemon: forked twice, in a session of its own, so no child and not of our group; its pid."""
    read_end, write_end = os.pipe()
    if (middle := os.fork()) == 0:
        os.setsid()
        if (daemon := os.fork()) != 0:
            os.write(write_end, daemon.to_bytes(4, "big"))
            os._exit(0)
        os.execvp("sleep", ["sleep", "3600"])
    os.close(write_end)
    pid = int.from_bytes(os.read(read_end, 4), "big")
    os.close(read_end)
    os.waitpid(middle, 0)
    return pid


async def _exit(worker: Worker, call: RunningCall, nothing: Nothing) -> None:
    os._exit(7)


async def _crash(worker: Worker, call: RunningCall, nothing: Nothing) -> None:
    ctypes.string_at(0)


async def _allocate(worker: Worker, call: RunningCall, what: Megabytes) -> int:
    _kept.append(bytearray(what.megabytes * 1024 * 1024))
    return os.getpid()


async def _grow(worker: Worker, call: RunningCall, what: Megabytes) -> None:
    _kept.append(bytearray(what.megabytes * 1024 * 1024))
    await asyncio.sleep(3600)


async def _leak_thread(worker: Worker, call: RunningCall, nothing: Nothing) -> int:
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return threading.active_count()


async def _wall_clock(worker: Worker, call: RunningCall, nothing: Nothing) -> float:
    return time.time()  # noqa: TID251 -- to see that a test has moved it


async def _stream(worker: Worker, call: RunningCall, what: Items) -> int:
    for number in range(what.count):
        await call.emit({"number": number, "filling": b"x" * what.size_bytes})
        await asyncio.sleep(0)  # so that each item goes out by itself
    return what.count


async def _blob(worker: Worker, call: RunningCall, what: Items) -> bytes:
    return b"x" * what.size_bytes


def _row(method: str, parameters: type, run: Callable[[Any, RunningCall, Any], Any], doc: str) -> Operation:
    return Operation(method=f"misbehave.{method}", parameters=parameters, run=run, doc=doc)


OPERATIONS = [
    _row("nonce", Nonce, _nonce, "Gives back a nonce after a pause."),
    _row("spin_in_c", Nothing, _spin_in_c, "Holds the interpreter's lock in C for ever."),
    _row("loop", Nothing, _loop, "Loops in Python on the event loop for ever."),
    _row("sleep_on_loop", Duration, _sleep_on_loop, "Blocks the event loop."),
    _row("sleep_in_thread", Duration, _sleep_in_thread, "Blocks a thread."),
    _row("ignore_cancel", Duration, _ignore_cancel, "Does not end when asked."),
    _row("stop", Nothing, _stop, "Stops its process."),
    _row("write", Writing, _write, "Writes to fd 1."),
    _row("read_stdin", Nothing, _read_stdin, "Reads fd 0, and lets a child do so."),
    _row("flood_stderr", Megabytes, _flood_stderr, "Writes to fd 2."),
    _row("spawn", Nothing, _spawn, "Leaves a child."),
    _row("spawn_detached", Nothing, _spawn_detached, "Leaves a daemon."),
    _row("exit", Nothing, _exit, "Ends its process."),
    _row("crash", Nothing, _crash, "Ends its process by a segmentation fault."),
    _row("allocate", Megabytes, _allocate, "Keeps memory."),
    _row("grow", Megabytes, _grow, "Keeps memory, and does not end."),
    _row("leak_thread", Nothing, _leak_thread, "Leaves a thread."),
    _row("wall_clock", Nothing, _wall_clock, "Tells the wall clock, in seconds."),
    _row("stream", Items, _stream, "Sends items."),
    _row("blob", Items, _blob, "Answers many bytes."),
]
