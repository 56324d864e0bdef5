"""As many workers as there is work for; going down takes half a minute and is simulated."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.servers import PREDICT, info, outcome_code, serving, wait_for, workers

pytestmark = pytest.mark.slow


async def test_the_first_call_starts_the_first_worker() -> None:
    """Before that there is none, and afterwards no more than that one."""
    async with serving("--workers", "2", "--min-workers", "0") as client:
        assert [] == await workers(client)
        assert {"answer"} == set(await client.predict(PREDICT, {"question": "?"}))
        now = await info(client)
        assert (1, 1) == (len(now["workers"]), now["scale"]["target"])


async def test_a_burst_adds_workers_until_there_are_as_many_as_there_may_be() -> None:
    """All of its calls succeed, and each worker has its part of them."""
    flags = ("--workers", "3", "--min-workers", "1", "--calls-per-worker", "2")
    async with serving(*flags) as client:
        await wait_for(client, lambda now: now["ready_workers"] == 1)
        payloads = [{"nonce": number, "pause_ms": 300} for number in range(24)]
        burst = [asyncio.ensure_future(client.outcome("misbehave.nonce", payload)) for payload in payloads]
        await wait_for(client, lambda now: now["scale"]["ready"] == 3)
        outcomes = await asyncio.gather(*burst)
        assert list(range(24)) == [outcome.value for outcome in outcomes]
        assert {1, 2, 3} == {outcome.meta["worker"] for outcome in outcomes}


async def test_after_a_crash_at_no_load_the_pool_is_as_it_was() -> None:
    """The one worker that is wanted comes back, without a call that asks for it."""
    async with serving("--workers", "2", "--min-workers", "1") as client:
        await client.call("misbehave.nonce", {"nonce": 1})
        assert "poisoned" == await outcome_code(client, "misbehave.crash")
        await wait_for(client, lambda now: [worker["state"] for worker in now["workers"]] == ["ready"])
