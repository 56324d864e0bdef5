"""Somebody sets the clock by a day, there and back: no deadline, age or lease takes notice.

libfaketime stands between a server with all its processes and the wall clock, which it
reads from a file. The monotonic clock stays real.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from tests.support.servers import SUPPORT, count, has_ready, info, outcome_code, serving, wait_for

from dspex_pool.client import Client

LIBRARIES: Final = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
STEPS: Final = ["+1d", "-1d"] * count("clock_steps", 1)
DAY_S: Final = 86_400
CALLERS: Final = 8

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed: scripts/setup-faketime"),
]


# libfaketime 0.9.10 takes the end of a sleep, which is of the monotonic clock, for a wall
# time and has the kernel refuse it. A wait without descriptors is the same and passes.
SLEEP: Final = "import select, sys, time\ntime.sleep = lambda s: select.select((), (), (), s) and None\n"
GO_BY_THE_WALL_CLOCK: Final = "if 'serve' in sys.orig_argv:\n    time.monotonic = time.time\n"


class WallClock:
    """The wall clock of one server.

    Args:
        folder: For its files.
        more: Lines that each Python of the server runs first.
    """

    def __init__(self, folder: Path, more: str = "") -> None:
        self._folder = folder
        self._file = folder / "clock"
        (folder / "sitecustomize.py").write_text(SLEEP + more)
        self.set("+0d")

    def set(self, offset: str) -> None:
        """Set it by so much off the real one, such as `+1d`."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.rename(self._file)  # who reads it now gets the one or the other

    @property
    def environment(self) -> dict[str, str]:
        """What makes processes go by it."""
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": os.pathsep.join(
                [str(self._folder), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
            ),
        }


@asynccontextmanager
async def serving_by(clock: WallClock, loop: str) -> AsyncGenerator[Client]:
    """A server whose wall clock can be set, with two workers ready."""
    async with serving(environment={"DSPEX_LOOP": loop, **clock.environment}) as client:
        snapshot = await wait_for(client, has_ready(2))
        assert "libfaketime" in Path(f"/proc/{snapshot['pid']}/maps").read_text()
        yield client


async def outcomes_across(client: Client, clock: WallClock, offset: str) -> list[list[str]]:
    """Set the clock while calls are open: how those end that have time, and those that have none."""
    method, calls = "misbehave.nonce", range(CALLERS)
    patient = [outcome_code(client, method, {"nonce": n, "pause_ms": 400}, deadline_ms=30_000) for n in calls]
    hasty = [outcome_code(client, method, {"nonce": n, "pause_ms": 30_000}, deadline_ms=300) for n in calls]
    groups = [asyncio.gather(*patient), asyncio.gather(*hasty)]
    await asyncio.sleep(0)
    before_s = await client.call("misbehave.wall_clock")  # and all calls have been taken
    clock.set(offset)
    after_s = await client.call("misbehave.wall_clock")
    assert isinstance(before_s, float)
    assert isinstance(after_s, float)
    assert abs(after_s - before_s) > DAY_S / 2  # or the test would show nothing
    return [await group for group in groups]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_step_of_the_wall_clock_changes_no_outcome(loop: str, tmp_path: Path) -> None:
    """Who has time ends well, who has none ends in time, and no worker is replaced for its age."""
    clock = WallClock(tmp_path)
    async with serving_by(clock, loop) as client:
        outcomes = [await outcomes_across(client, clock, step) for step in STEPS]
        assert [[["ok"] * CALLERS, ["deadline"] * CALLERS]] * len(STEPS) == outcomes
        snapshot = await info(client)
        assert (2, 0, 0) == (snapshot["ready_workers"], snapshot["restarts"], snapshot["worker_deaths"])


async def test_a_server_that_goes_by_the_wall_clock_is_found(tmp_path: Path) -> None:
    """The planted defect: in the supervisor the monotonic clock is the wall clock."""
    clock = WallClock(tmp_path, GO_BY_THE_WALL_CLOCK)
    async with serving_by(clock, "asyncio") as client:
        patient, _ = await outcomes_across(client, clock, "+1d")
        assert "deadline" in patient
