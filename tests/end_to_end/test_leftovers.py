"""Threads, children and memory that calls leave in a worker: they harm nobody and end with it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from tests.support.anatomy import children, own_bytes, threads
from tests.support.servers import count, has_ready, outcome_code, serving, wait_for, worker_pids
from tests.support.survivors import alive_after

from dspex_pool.client import Client

LEAKING_CALLS = count("leaking_calls", 60)
MIB = 1 << 20

pytestmark = pytest.mark.slow


async def leak(client: Client, calls: int) -> list[int]:
    """Calls that leave a thread or a child each, eight at a time; the pids of the children."""
    pids: list[int] = []
    for begin in range(0, calls, 8):
        numbers = range(begin, min(begin + 8, calls))
        methods = ["misbehave.leak_thread" if n % 2 else "misbehave.spawn" for n in numbers]
        answers = await asyncio.gather(*(client.call(method, {}) for method in methods))
        pids += [
            pid
            for method, pid in zip(methods, answers, strict=True)
            if method == "misbehave.spawn" and isinstance(pid, int)
        ]
    return pids


async def test_leftovers_end_with_their_worker(client: Client) -> None:
    """Calls go on beside them; when the workers die, so do their children, and new ones begin anew."""
    before = await worker_pids(client)
    baseline = max(map(threads, before))
    pids = await leak(client, LEAKING_CALLS)
    assert LEAKING_CALLS // 2 == len(pids)
    assert LEAKING_CALLS // 2 <= sum(map(threads, before))
    assert 7 == await client.call("system.echo", 7)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    await wait_for(client, lambda now: now["worker_deaths"] == 2 and has_ready(2)(now))
    assert [] == alive_after(1.0, pids)
    assert baseline >= max(map(threads, await worker_pids(client)))


async def test_recycling_ends_what_calls_leave() -> None:
    """A worker that has served its number goes, and with it all that its calls left; none of them fails.

    It may go before the last of them: those run in its successor, and so do their children.
    """
    async with serving("--workers", "1", "--recycle-after-calls", "40") as client:
        snapshot = await wait_for(client, has_ready(1))
        baseline = threads(snapshot["workers"][0]["pid"])
        for replaced in range(1, 4):
            pids = await leak(client, 50)
            snapshot = await wait_for(
                client,
                lambda now, n=replaced: now["recycles"].get("calls") == n and len(now["workers"]) == 1,  # type: ignore[misc]
            )
            (worker,) = snapshot["workers"]
            assert set(alive_after(1.0, pids)) <= set(children(worker["pid"]))
            assert worker["served"] + baseline >= threads(worker["pid"])
        assert 0 == snapshot["worker_deaths"]


async def test_a_worker_that_has_grown_is_replaced() -> None:
    """After its reply, by one that is small again."""
    async with serving("--memory-soft-mb", "64") as client:
        await wait_for(client, has_ready(2))
        grown = await client.call("misbehave.allocate", {"megabytes": 128})
        snapshot = await wait_for(client, lambda now: grown not in {one["pid"] for one in now["workers"]})
        assert ({"memory": 1}, 0) == (snapshot["recycles"], snapshot["worker_deaths"])
        await wait_for(client, has_ready(2))
        assert 128 * MIB > max(map(own_bytes, await worker_pids(client)))


async def test_a_worker_that_grows_in_its_call_is_killed() -> None:
    """At the hard limit; its call is repeated once elsewhere, and then refused as a killer."""
    async with serving("--memory-soft-mb", "32", "--memory-hard-mb", "64") as client:
        await wait_for(client, has_ready(2))
        assert "poisoned" == await outcome_code(client, "misbehave.grow", {"megabytes": 128})
        snapshot = await wait_for(client, has_ready(2))
        assert 2 == snapshot["worker_deaths"]
        assert 7 == await client.call("system.echo", 7)
