"""A client that stops reading: the server's memory is bounded, and nobody else pays."""

from __future__ import annotations

import asyncio

import psutil
import pytest
from tests.support.servers import info, serving, wait_for, workers

from dspex_pool.client import Client

MEGABYTE = 1024 * 1024
BLOB_BYTES = MEGABYTE
BLOBS = 300
# What a session may leave unread, what workers had under way by then, and slack.
MAX_GROWTH_BYTES = 160 * MEGABYTE


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    return int(psutil.Process(pid).memory_info().rss)


async def settled(pid: int) -> int:
    """The memory of a process once it has stopped growing."""
    last, now = -1, resident_bytes(pid)
    while now > last:
        await asyncio.sleep(0.3)
        last, now = now, resident_bytes(pid)
    return now


@pytest.mark.slow
async def test_unread_replies_are_bounded() -> None:
    """300 MB of results that nobody reads cost a part of that, and all come once they are read."""
    async with serving("--calls-per-worker", "8") as client:
        await wait_for(client, lambda now: now["ready_workers"] == 2)
        pid = (await info(client))["pid"]
        before = resident_bytes(pid)
        client.link.pause()
        blob = {"count": 0, "size_bytes": BLOB_BYTES}
        calls = [asyncio.ensure_future(client.call("misbehave.blob", blob)) for _ in range(BLOBS)]
        await asyncio.sleep(0)
        grown = await settled(pid) - before
        client.link.start()
        sizes = [len(one) for one in await asyncio.gather(*calls) if isinstance(one, bytes)]
        assert [BLOB_BYTES] * BLOBS == sizes
        assert grown < MAX_GROWTH_BYTES, f"{grown / MEGABYTE:.0f} MB"


@pytest.mark.slow
async def test_a_stream_without_credit_waits_and_others_go_on(client: Client) -> None:
    """A stream whose reader takes nothing stops at its credit; beside it all goes on."""
    items, size = 1000, 10_000
    stalled = client.stream_call("misbehave.stream", {"count": items, "size_bytes": size})
    assert list(range(200)) == await asyncio.gather(
        *(client.call("misbehave.nonce", {"nonce": n}) for n in range(200))
    )
    flowing = client.stream_call("misbehave.stream", {"count": 200})
    assert list(range(200)) == [item["number"] async for item in flowing]  # type: ignore[index]
    assert 200 == (await flowing.result()).value
    assert 1 == sum(worker["calls"] for worker in await workers(client))
    assert 32 == stalled._pending.next_seq
    assert list(range(items)) == [item["number"] async for item in stalled]  # type: ignore[index]
    assert items == (await stalled.result()).value


@pytest.mark.slow
async def test_requests_of_a_client_that_does_not_read_are_bounded() -> None:
    """Pings with large values and no reading: the server stops listening, then serves them all."""
    async with serving() as client:
        pid = (await info(client))["pid"]
        before = resident_bytes(pid)
        client.link.pause()
        filling = b"x" * MEGABYTE
        pings = [asyncio.ensure_future(client.call("system.ping", filling)) for _ in range(BLOBS)]
        await asyncio.sleep(0)
        grown = await settled(pid) - before
        client.link.start()
        assert [True] * BLOBS == [one == filling for one in await asyncio.gather(*pings)]
        assert grown < MAX_GROWTH_BYTES, f"{grown / MEGABYTE:.0f} MB"
