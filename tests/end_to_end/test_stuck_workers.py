"""Deadlines and cancel where nothing in the worker can answer: the caller gets its outcome."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.servers import has_ready, info, outcome_code, serving, wait_for, worker_pids

from dspex_pool.client import Client
from dspex_protocol import DSPexError

GRACE = ("--grace-s", "0.3")

# How it is stuck, and whether its worker has to be replaced.
STUCK = {
    "misbehave.spin_in_c": True,
    "misbehave.loop": True,
    "misbehave.sleep_on_loop": True,
    "misbehave.stop": True,
    "misbehave.ignore_cancel": True,
    "misbehave.sleep_in_thread": False,
}


async def whole_again(client: Client, deaths: int) -> None:
    """Wait until that many workers have been killed and replaced, and nothing is open."""
    snapshot = await wait_for(
        client,
        lambda now: (
            now["worker_deaths"] == deaths
            and has_ready(2)(now)
            and not any(worker["calls"] for worker in now["workers"])
        ),
    )
    assert (0, 0) == (snapshot["waiting"], snapshot["open_bytes"])


@pytest.mark.slow
@pytest.mark.parametrize("method", STUCK)
async def test_a_deadline_ends_a_stuck_call(method: str) -> None:
    """The caller gets `deadline`, the worker is replaced where it must be, others are repeated."""
    async with serving(*GRACE) as client:
        await wait_for(client, has_ready(2))
        before = await worker_pids(client)
        stuck = asyncio.ensure_future(outcome_code(client, method, {}, deadline_ms=100))
        others = [client.call("misbehave.nonce", {"nonce": n, "pause_ms": 5}) for n in range(20)]
        assert list(range(20)) == await asyncio.gather(*others)
        assert "deadline" == await stuck
        await whole_again(client, deaths=int(STUCK[method]))
        assert (2 - STUCK[method]) == len(before & await worker_pids(client))


@pytest.mark.slow
@pytest.mark.parametrize("method", STUCK)
async def test_a_cancel_ends_a_stuck_call(method: str) -> None:
    """The caller gets `cancelled` with the rung that was reached, and the pool is whole again."""
    async with serving(*GRACE) as client:
        await wait_for(client, has_ready(2))
        stream = client.stream_call(method, {})
        assert {"begun": True} == await anext(aiter(stream))
        stream.cancel()
        with pytest.raises(DSPexError) as failure:
            await stream.result()
        assert "cancelled" == failure.value.code
        assert ("left" if STUCK[method] else "asked") == failure.value.details["rung"]
        await whole_again(client, deaths=int(STUCK[method]))


async def test_a_cancel_in_the_queue_starts_nothing() -> None:
    """A call that waits is taken out, and its worker never hears of it."""
    async with serving("--workers", "1", "--calls-per-worker", "1") as client:
        first = asyncio.ensure_future(client.call("misbehave.nonce", {"nonce": 1, "pause_ms": 300}))
        await wait_for(client, lambda now: now["ready_workers"] == 1 and now["workers"][0]["calls"] == 1)
        waiting = client.stream_call("misbehave.exit", {})
        await wait_for(client, lambda now: now["waiting"] == 1)
        waiting.cancel()
        with pytest.raises(DSPexError) as failure:
            await waiting.result()
        assert {"rung": "queued"} == failure.value.details
        assert 1 == await first
        assert 0 == (await info(client))["worker_deaths"]


async def test_a_deadline_in_the_queue_starts_nothing() -> None:
    """A call whose time is over before its turn ends there."""
    async with serving("--workers", "1", "--calls-per-worker", "1") as client:
        first = asyncio.ensure_future(client.call("misbehave.nonce", {"nonce": 1, "pause_ms": 300}))
        await wait_for(client, lambda now: now["ready_workers"] == 1 and now["workers"][0]["calls"] == 1)
        with pytest.raises(DSPexError) as failure:
            await client.call("misbehave.exit", {}, deadline_ms=20)
        assert ("deadline", {"where": "queue"}) == (failure.value.code, failure.value.details)
        assert 1 == await first
        assert 0 == (await info(client))["worker_deaths"]


@pytest.mark.slow
async def test_a_stopped_worker_holds_nobody_up(client: Client) -> None:
    """One worker is stopped; calls with a deadline on it end, and the other does the rest."""
    stopped = asyncio.ensure_future(outcome_code(client, "misbehave.stop", {}, deadline_ms=300))
    codes = await asyncio.gather(
        *(outcome_code(client, "misbehave.nonce", {"nonce": n}, deadline_ms=600) for n in range(100))
    )
    assert "deadline" == await stopped
    assert {"ok", "deadline"} >= set(codes)
    assert codes.count("ok") >= 50
    assert 7 == await client.call("system.echo", 7)
