"""A supervisor that cannot open anything: what is open goes on, and later all is well again."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.support.anatomy import few_descriptors
from tests.support.servers import has_ready, info, serving, wait_for, worker_pids

from dspex_pool.client import Client

pytestmark = pytest.mark.slow


async def test_a_worker_dies_while_nothing_can_be_opened() -> None:
    """Its calls are repeated by the other one, and it is replaced as soon as it can be."""
    async with serving() as client:
        snapshot = await wait_for(client, has_ready(2))
        with few_descriptors(snapshot["pid"], free=0):
            calls = [client.call("misbehave.nonce", {"nonce": n, "pause_ms": 50}) for n in range(50)]
            together = asyncio.gather(*calls)
            await wait_for(client, lambda now: all(worker["calls"] for worker in now["workers"]))
            os.kill(min(await worker_pids(client)), signal.SIGKILL)
            assert list(range(50)) == await together
            await wait_for(client, lambda now: now["worker_deaths"] == 1)
            assert 1 == (await info(client))["ready_workers"]
        await wait_for(client, has_ready(2))


async def test_a_client_that_takes_the_last_descriptor_is_greeted(tmp_path: Path) -> None:
    """To answer hello the server opens nothing."""
    address = f"unix:{tmp_path}/pool"
    async with serving("--listen", f"stdio,{address}") as client:
        snapshot = await wait_for(client, has_ready(2))
        with few_descriptors(snapshot["pid"], free=1):
            async with Client.connect(address) as guest:
                assert 7 == await guest.call("system.echo", 7)
