"""P4, nothing is left of a server: what no longer dies with it is found by the check."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.support.servers import info, server_environment
from tests.support.survivors import alive_after, describe, end_marked, marked, new_mark

from dspex_pool.client import Client
from dspex_protocol import DSPexError

from .planting import Process, planted

# The guardian kills no orphan; workers are not told of the supervisor's death.
DEFECTS: dict[str, tuple[Process, str]] = {
    "no_sweep": ("serve", "import dspex_pool.processes as p; p.kill_descendants = lambda timeout_s: True"),
    "no_parent_death_signal": (
        "zygote",
        "import dspex_bridge.worker.zygote as z; z._PR_SET_PDEATHSIG = 3  # PR_GET_DUMPABLE: no effect",
    ),
}


@asynccontextmanager
async def marked_server(environment: dict[str, str]) -> AsyncGenerator[tuple[Client, str]]:
    """A server that is killed inside; what is left of it is ended afterwards."""
    mark = new_mark()
    try:
        with suppress(DSPexError):
            async with Client.start(environment=server_environment(mark, environment)) as client:
                yield client, mark
    finally:
        end_marked(mark)


async def left_of_killed_supervisor(environment: dict[str, str]) -> list[str]:
    """What processes are left when a supervisor is killed that had a daemon below it."""
    async with marked_server(environment) as (client, mark):
        await client.call("misbehave.spawn_detached", {})
        os.kill((await info(client))["pid"], signal.SIGKILL)
        return [describe(pid) for pid in alive_after(1.0, marked(mark))]
    raise AssertionError


async def left_of_killed_guardian(environment: dict[str, str]) -> list[str]:
    """What is left when guardian and supervisor are killed in one instant, and a worker is stuck in C."""
    async with marked_server(environment) as (client, mark):
        await anext(aiter(client.stream_call("misbehave.spin_in_c", {})))
        supervisor = (await info(client))["pid"]
        guardian = int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(guardian, signal.SIGSTOP)  # so that it cannot help
        os.kill(supervisor, signal.SIGKILL)
        os.kill(guardian, signal.SIGKILL)
        return [describe(pid) for pid in alive_after(1.0, marked(mark))]
    raise AssertionError


@pytest.mark.slow
async def test_a_daemon_that_nobody_sweeps_is_found(tmp_path: Path) -> None:
    """The guardian is the last that could have done it."""
    assert [] == await left_of_killed_supervisor({})
    assert [] != await left_of_killed_supervisor(planted(tmp_path, *DEFECTS["no_sweep"]))


@pytest.mark.slow
async def test_a_worker_that_is_not_bound_to_its_supervisor_is_found(tmp_path: Path) -> None:
    """Stuck in C it notices nothing by itself."""
    assert [] == await left_of_killed_guardian({})
    assert [] != await left_of_killed_guardian(planted(tmp_path, *DEFECTS["no_parent_death_signal"]))
