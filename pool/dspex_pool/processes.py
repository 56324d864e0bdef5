"""Descendants of this process: who they are, and how to be rid of them.

Linux does the hard part: a subreaper becomes the parent of every descendant whose own
parent died, so nothing that was started below this process can get out of reach.
Elsewhere the functions do what they can.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
LINUX: Final = sys.platform == "linux"


def become_subreaper() -> None:
    """Adopt orphaned descendants from now on."""
    if LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def signal_on_parent_death(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends."""
    if LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def children(pid: int) -> list[int]:
    """The pids whose parent is `pid`, zombies included."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as listed:
            return [int(child) for child in listed.read().split()]
    except OSError:
        return [child for child, parent in _all_processes() if parent == pid]


def _all_processes() -> Iterator[tuple[int, int]]:
    """Every process with its parent, where the kernel keeps no lists of children."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as line:
                    yield int(name), int(line.read().rpartition(")")[2].split()[1])
            except OSError:
                continue


def kill_group(pid: int) -> None:
    """Kill a process and all that share its group. No error when they are gone."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def kill_children(spare: Collection[int] = (), spare_groups: Collection[int] = ()) -> int:
    """Kill and reap the children of this process, once round.

    Args:
        spare: Pids that stay.
        spare_groups: Process groups whose members stay; they are reaped when they have ended.

    Returns:
        How many there were; call again until it is 0, since a killed child's own
        children become ours.
    """
    found = 0
    for pid in children(os.getpid()):
        if pid in spare:
            continue
        try:
            if spare_groups and os.getpgid(pid) in spare_groups:
                os.waitpid(pid, os.WNOHANG)
                continue
        except (ProcessLookupError, ChildProcessError):
            continue
        found += 1
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)
        except (ProcessLookupError, PermissionError, ChildProcessError):
            continue
    return found


def kill_descendants(timeout_s: float) -> bool:
    """Kill all descendants, however deep, and wait for them.

    Returns:
        Whether none is left. A process in an uninterruptible wait of the kernel may
        outlast any time.
    """
    until = time.monotonic() + timeout_s
    while kill_children():
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True
