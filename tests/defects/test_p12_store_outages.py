"""P12, an outage of the store: predictions that fail of it, writes that hang, and losses are found."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest
from tests.support.database_servers import RedisServer
from tests.support.proxy import Fault, Proxy, Trouble
from tests.support.servers import has_ready, serving, wait_for
from tests.support.state_load import BACK_S, StateLoad

from .planting import planted

OUTAGE_S: Final = 0.7
LATE_S: Final = 3.5
"""Long enough that a write which waits for its store is late."""

FAILS_PREDICTIONS: Final = """
    from dspex_pool.fetching import Fetching
    def fail_all(self, wanted, failure):
        for call in self._waiting.pop(wanted, []):
            if call.caller is not None:
                self._failed(call, failure)
    Fetching._store_failed = fail_all
"""
WAITS_LONG: Final = """
    from dspex_pool import server
    open_store = server.open_store
    server.open_store = lambda url: open_store(url, timeout_s=30.0)
"""
TRIES_ONCE_A_MINUTE: Final = """
    from dspex_pool.store import connections
    connections.LEAST_PAUSE_S = connections.MOST_PAUSE_S = 60.0
"""
ACKNOWLEDGES_ANYWAY: Final = """
    from dspex_pool.store import Unavailable
    from dspex_pool.store.redis import RedisStore
    commit = RedisStore.commit
    async def hopeful(self, changes, fences=()):
        try:
            return await commit(self, changes, fences)
        except Unavailable:
            return [(getattr(change, "expect", 0) or 0) + 1 for change in changes]
    RedisStore.commit = hopeful
"""


DOWN: Final = Trouble(fault=Fault.REFUSE)
HUNG: Final = Trouble(fault=Fault.HOLD)


async def found_in_an_outage(
    server: RedisServer, trouble: Trouble, seconds: float, plant: dict[str, str]
) -> list[str]:
    """What is wrong with a server under load whose store is away for a while."""
    async with Proxy(server.port).running() as proxy:
        url = server.url(server.new_database(), port=proxy.port)
        async with serving(environment={"DSPEX_STORE": url, **plant}) as client:
            await wait_for(client, has_ready(2))
            load = StateLoad(client)
            try:
                async with load.running():
                    await load.more(2)
                    await proxy.arm(trouble)
                    await asyncio.sleep(seconds)
                    await proxy.heal()
                    await load.more(2, BACK_S / 2 if plant else BACK_S)
            except* TimeoutError:
                comes_back = False
            else:
                comes_back = True
            assert load.refusals or plant
            return load.complaints() + (await load.losses() if comes_back else ["it does not come back"])


@pytest.mark.slow
async def test_an_outage_costs_only_writes(redis_server: RedisServer) -> None:
    """Without a defect; `tests/end_to_end/test_store_faults.py` has more of them."""
    assert [] == await found_in_an_outage(redis_server, DOWN, OUTAGE_S, {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "trouble", "seconds", "what"),
    [
        (FAILS_PREDICTIONS, DOWN, OUTAGE_S, "predictions failed"),
        (WAITS_LONG, HUNG, LATE_S, "writes were late"),
        (TRIES_ONCE_A_MINUTE, DOWN, OUTAGE_S, "it does not come back"),
        (ACKNOWLEDGES_ANYWAY, DOWN, OUTAGE_S, "changes were lost"),
    ],
    ids=["fails predictions", "waits long", "tries once a minute", "acknowledges anyway"],
)
async def test_an_outage_that_costs_more_is_found(
    redis_server: RedisServer, tmp_path: Path, lines: str, trouble: Trouble, seconds: float, what: str
) -> None:
    """The planted defects."""
    plant = planted(tmp_path, "serve", lines)
    assert what in await found_in_an_outage(redis_server, trouble, seconds, plant)
