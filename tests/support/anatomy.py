"""What a running server consists of, seen from outside: its processes, and what each holds."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Final

import psutil

from dspex_pool.client import Client

from .servers import info
from .survivors import is_alive

MOMENTARY: Final = re.compile(r"/proc/\d+/(statm|smaps_rollup)")


def children(pid: int) -> list[int]:
    """Pids of the children of a process, zombies included."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zombies(pid: int) -> int:
    """How many children of a process have ended and were not waited for."""
    return sum(not is_alive(child) for child in children(pid))


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors(pid: int) -> dict[int, str]:
    """What each descriptor is that a process keeps open.

    Not those of the thread that reads the workers' memory: it has a file open for a moment
    now and then, so that two looks at a process that leaks nothing would differ.
    """
    held: dict[int, str] = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            held[int(path.name)] = str(path.readlink())
    return {number: target for number, target in held.items() if not MOMENTARY.fullmatch(target)}


@contextmanager
def few_descriptors(pid: int, free: int) -> Generator[None]:
    """Inside, a process can open so many further descriptors and not one more."""
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = descriptors(pid)
    unused = (number for number in count() if number not in used)
    lowest = next(islice(unused, free, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, limit[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


def own_bytes(pid: int) -> int:
    """Memory that would be free again if the process ended (USS)."""
    return int(psutil.Process(pid).memory_full_info().uss)


def resident_bytes(pid: int) -> int:
    """Memory of a process, what it shares included; cheap to ask."""
    return int(psutil.Process(pid).memory_info().rss)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What must be the same before and after, to the last one."""

    descriptors: int
    threads: int
    children: int
    zombies: int


def holdings(pid: int) -> Holdings:
    """Count what a process holds."""
    return Holdings(
        descriptors=len(descriptors(pid)),
        threads=threads(pid),
        children=len(children(pid)),
        zombies=zombies(pid),
    )


async def zygotes(client: Client) -> list[int]:
    """The supervisor's children that were started as zygotes and are alive; none while one is replaced."""
    snapshot = await info(client)
    own = {worker["pid"] for worker in snapshot["workers"]}
    return [pid for pid in children(snapshot["pid"]) if pid not in own and _is_zygote(pid)]


def _is_zygote(pid: int) -> bool:
    with suppress(OSError):
        return b"zygote" in Path(f"/proc/{pid}/cmdline").read_bytes() and is_alive(pid)
    return False
