"""Servers at a socket for tests: bounded in time, and gone afterwards whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from .servers import server_environment
from .survivors import alive_after, describe, end_marked, marked, new_mark


@dataclass(slots=True)
class Shared:
    """A server that listens and has no client of its own.

    Attributes:
        address: `unix:PATH`.
        mark: What its processes carry.
        process: Its guardian.
    """

    address: str
    mark: str
    process: asyncio.subprocess.Process

    @property
    def path(self) -> Path:
        """Where its socket is."""
        return Path(self.address.removeprefix("unix:"))

    async def end(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@contextlib.asynccontextmanager
async def sharing(path: Path, *flags: str, limit_s: float = 60.0) -> AsyncGenerator[Shared]:
    """A server that listens at a path; ended by SIGTERM where the test has not.

    Args:
        path: Where its socket is to be.
        flags: Settings.
        limit_s: The body is cancelled when it takes longer.

    Raises:
        TimeoutError: after `limit_s`.
        AssertionError: when something of the server is alive after its end.
    """
    mark = new_mark()
    try:
        async with asyncio.timeout(limit_s):
            shared = Shared(f"unix:{path}", mark, await _start(path, mark, flags))
            yield shared
            if shared.process.returncode is None:
                await shared.end()
        assert [] == [describe(pid) for pid in alive_after(1.0, marked(mark))]
    finally:
        end_marked(mark)


async def _start(path: Path, mark: str, flags: tuple[str, ...]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex_pool", "serve", "--listen", f"unix:{path}", *flags),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | server_environment(mark),
    )
    assert process.stderr is not None
    line = await process.stderr.readline()
    assert f"dspex.listening address=unix:{path}" in line.decode(), line
    return process


async def start_guest(address: str, calls: int) -> asyncio.subprocess.Process:
    """Another process that joins and has so many calls open; to be killed."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.guest_program", address, str(calls)),
        cwd=Path(__file__).parents[2],
    )
