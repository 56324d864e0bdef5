"""A real server whose store fails in every way it can: what goes on, what fails, and how it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.database_servers import PostgresServer, RedisServer
from tests.support.proxy import Fault, Proxy, Trouble
from tests.support.servers import count, has_ready, serving, wait_for
from tests.support.state_load import PLAIN, StateLoad, comes_back, refusals_without_store

pytestmark = pytest.mark.slow

TROUBLES = {
    "down": Trouble(fault=Fault.REFUSE),
    "blackholed": Trouble(fault=Fault.SWALLOW, direction="down"),
    "stopped": Trouble(fault=Fault.HOLD),
    "slow": Trouble(fault=Fault.SLOW, amount=200),
    "cut in a question": Trouble(fault=Fault.CUT, after_bytes=700),
    "cut in an answer": Trouble(fault=Fault.CUT, direction="down", after_bytes=40),
}
TROUBLE_S = 1.2
"""Longer than a store is waited for, and than what was read of it counts as fresh."""
ROUNDS = count("outages", 1)
""""Of all of these troubles."""


class Net:
    """A network between a server and its store.

    Attributes:
        proxy: It.
        environment: Of a server that is to use the store through it.
    """

    def __init__(self, proxy: Proxy, url: str) -> None:
        self.proxy = proxy
        self.environment = {"DSPEX_STORE": url}


@pytest_asyncio.fixture
async def nets(redis_server: RedisServer, postgres_server: PostgresServer) -> AsyncIterator[list[Net]]:
    """One to each kind of store that is a server; they are empty. Most of these tests is waiting."""
    database = postgres_server.new_database()
    async with (
        Proxy(redis_server.port).running() as to_redis,
        Proxy(postgres_server.port).running() as to_postgres,
    ):
        yield [
            Net(to_redis, redis_server.url(redis_server.new_database(), port=to_redis.port)),
            Net(to_postgres, postgres_server.url(database, port=to_postgres.port)),
        ]
    postgres_server.give_back_database(database)


async def test_a_network_that_breaks(nets: list[Net], tmp_path: Path) -> None:
    """Predictions go on, writes fail in time, all is as before soon after, and nothing is lost."""
    log = tmp_path / "log"
    assert [[], []] == await asyncio.gather(*(found_wrong(net, log) for net in nets))
    assert "Traceback" not in log.read_text()


async def found_wrong(net: Net, log: Path) -> list[str]:
    """What is wrong with a server that has met all troubles."""
    limit_s = 60 + 30 * ROUNDS
    async with serving("--workers", "1", environment=net.environment, limit_s=limit_s, stderr=log) as client:
        await wait_for(client, has_ready(1))
        load = StateLoad(client)
        async with load.running():
            await load.more(3)
            for trouble in [*TROUBLES.values()] * ROUNDS:
                await net.proxy.arm(trouble)
                await asyncio.sleep(TROUBLE_S)
                await net.proxy.heal()
                await load.more(3)
        assert len(load.refusals) > len(TROUBLES) / 2
        return load.complaints() + await load.losses()


async def test_a_store_that_is_not_there_at_the_start(nets: list[Net]) -> None:
    """The server serves without it, says so of what needs it, and has it when it comes."""
    await asyncio.gather(*(begin_without(net) for net in nets))


async def begin_without(net: Net) -> None:
    await net.proxy.arm(Trouble(fault=Fault.REFUSE))
    async with serving("--workers", "1", environment=net.environment) as client:
        await refusals_without_store(client, "store_unavailable")
        await net.proxy.heal()
        await wait_for(client, has_ready(1))  # what is measured is the store's time, and not a boot's
        await comes_back(client, "program.create", {"spec": PLAIN}, program="p", write_id="w")
        assert await client.predict("p", {"question": "?"})
