"""Workers are replaced while they work, and nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.support.servers import PREDICT, count, info, serving, wait_for

from dspex_pool.client import Client
from dspex_protocol import DSPexError

RECYCLES = count("recycles", 60)
CALLERS = 8


async def load_until(
    client: Client, is_enough: Callable[[], Awaitable[bool]]
) -> tuple[int, list[DSPexError]]:
    """Predict from several callers at once; returns how often, and what failed."""
    done = 0
    failures: list[DSPexError] = []
    enough = asyncio.Event()

    async def call_on() -> None:
        nonlocal done
        while not enough.is_set():
            inputs = {"question": f"question {done}"}
            try:
                await client.call("program.predict", {"spec": PREDICT, "inputs": inputs})
            except DSPexError as failure:
                failures.append(failure)
            done += 1

    callers = [asyncio.create_task(call_on()) for _ in range(CALLERS)]
    while not await is_enough():
        await asyncio.sleep(0.1)
    enough.set()
    await asyncio.gather(*callers)
    return done, failures


@pytest.mark.slow
async def test_recycling_under_load_fails_no_call() -> None:
    """Hundreds of replacements, each with its reason, and not one call lost, late or repeated."""
    async with serving("--workers", "2", "--recycle-after-calls", "20", limit_s=300) as client:

        async def enough() -> bool:
            recycles: dict[str, int] = (await info(client))["recycles"]
            return recycles.get("calls", 0) >= RECYCLES

        done, failures = await load_until(client, enough)
        assert [] == failures
        assert done >= RECYCLES * 18
        now = await info(client)
        assert (0, 0, 0) == (now["worker_deaths"], now["repeated"], now["restarts"])
        await wait_for(client, lambda now: len(now["workers"]) == 2 and now["scale"]["starting"] == 0)


@pytest.mark.slow
async def test_a_call_that_is_running_ends_in_the_worker_that_is_replaced() -> None:
    """It is given the time of the drain; new calls go to the successor meanwhile."""
    async with serving("--workers", "1") as client:
        await wait_for(client, lambda now: now["ready_workers"] == 1)
        slow = asyncio.create_task(client.outcome("misbehave.nonce", {"nonce": 1, "pause_ms": 1500}))
        await wait_for(client, lambda now: now["workers"][0]["calls"] == 1)
        old = (await info(client))["workers"][0]["worker"]
        assert {"workers": [old]} == await client.call("pool.recycle", {})
        await wait_for(client, lambda now: [w["state"] for w in now["workers"]] == ["draining", "ready"])
        quick = await client.outcome("misbehave.nonce", {"nonce": 2})
        assert (old + 1, old) == (quick.meta["worker"], (await slow).meta["worker"])
        await wait_for(client, lambda now: [w["worker"] for w in now["workers"]] == [old + 1])
        assert {"asked": 1} == (await info(client))["recycles"]


@pytest.mark.slow
async def test_a_drain_has_an_end() -> None:
    """A call that outlasts it is repeated elsewhere, as after a crash."""
    async with serving("--workers", "1", "--drain-s", "0.3") as client:
        await wait_for(client, lambda now: now["ready_workers"] == 1)
        slow = asyncio.create_task(client.outcome("misbehave.nonce", {"nonce": 1, "pause_ms": 1500}))
        await wait_for(client, lambda now: now["workers"][0]["calls"] == 1)
        await client.call("pool.recycle", {"worker": 1})
        outcome = await slow
        assert (1, 2, 2) == (outcome.value, outcome.meta["worker"], outcome.meta["attempt"])


@pytest.mark.slow
async def test_a_worker_that_grows_is_replaced_and_one_that_bloats_is_killed() -> None:
    """Softly after its calls have ended; hard in the middle of one, which is then poisoned."""
    flags = ("--workers", "1", "--memory-soft-mb", "40", "--memory-hard-mb", "200")
    async with serving(*flags, environment={"DSPEX_PLUGINS": "plugin_nonces"}) as client:
        await wait_for(
            client, lambda now: now["ready_workers"] == 1 and now["workers"][0]["memory_bytes"] > 0
        )
        await client.call("nonces.swell", {"nonce": "a", "megabytes": 80, "hold_ms": 500})
        await wait_for(client, lambda now: now["recycles"].get("memory") == 1)
        with pytest.raises(DSPexError) as poisoned:
            await client.call("nonces.swell", {"nonce": "b", "megabytes": 400, "hold_ms": 3000})
        assert "poisoned" == poisoned.value.code
        assert 2 == (await info(client))["bloated"]


@pytest.mark.slow
async def test_age_recycles_too() -> None:
    """Even a worker with nothing to do."""
    async with serving("--workers", "1", "--recycle-after-s", "0.5") as client:
        await wait_for(client, lambda now: now["recycles"].get("age", 0) >= 2)


@pytest.mark.slow
async def test_an_unknown_worker_is_not_recycled() -> None:
    """The error names the ones that are there."""
    async with serving("--workers", "1") as client:
        await wait_for(client, lambda now: now["ready_workers"] == 1)
        with pytest.raises(DSPexError) as refusal:
            await client.call("pool.recycle", {"worker": 7})
        assert ("invalid_argument", "worker", "7") == (
            refusal.value.code,
            refusal.value.details["field"],
            refusal.value.details["got"],
        )
