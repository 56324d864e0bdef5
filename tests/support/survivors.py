"""Who is alive of what a test started: every process that carries the test's mark.

A mark is a variable in the environment of a server. All that it starts inherits it, and
no double fork, new session or adoption takes it away, so it finds what a walk through
children would miss.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

MARK: Final = "DSPEX_TEST_MARK"


def new_mark() -> str:
    """A mark that no other process has."""
    return uuid.uuid4().hex


def marked(mark: str) -> list[int]:
    """Pids that carry the mark and run. A zombie has no environment: it counts as gone."""
    wanted = f"{MARK}={mark}".encode()
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _carries(path, wanted)]


def _carries(path: Path, wanted: bytes) -> bool:
    try:
        return wanted in (path / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended meanwhile, or is another user's
        return False


def is_alive(pid: int) -> bool:
    """Whether a pid is a process that is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def alive_after(timeout_s: float, pids: list[int]) -> list[int]:
    """Wait until none of the pids is alive; those that still are when the time is over."""
    until = time.monotonic() + timeout_s
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < until:
        time.sleep(0.01)
    return alive


def end_marked(mark: str) -> list[int]:
    """Kill all that carry the mark; which they were."""
    found = marked(mark)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def describe(pid: int) -> str:
    """A process in one line, for messages."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"{pid} (gone)"
    return f"{pid} {b' '.join(words).decode(errors='replace')}"
