"""What programs print and read never meets the wire."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.servers import PREDICT, count, worker_pids

from dspex_pool.client import Client

WRITES = count("writes", 600)
WAYS = ("print", "c", "child", "descriptor")


@pytest.mark.slow
async def test_stray_writes_harm_no_call(client: Client) -> None:
    """Text written to fd 1 in four ways during calls: every call gives what it should."""
    before = await worker_pids(client)
    room = asyncio.Semaphore(64)

    async def write(number: int) -> object:
        async with room:
            return await client.call("misbehave.write", {"how": WAYS[number % len(WAYS)]})

    async def echo(number: int) -> object:
        async with room:
            return await client.call("system.echo", number)

    written, echoed = await asyncio.gather(
        asyncio.gather(*map(write, range(WRITES))), asyncio.gather(*map(echo, range(WRITES)))
    )
    assert [WAYS[number % len(WAYS)] for number in range(WRITES)] == written
    assert list(range(WRITES)) == echoed
    assert before == await worker_pids(client)


async def test_programs_read_nothing_from_stdin(client: Client) -> None:
    """Fd 0 of a worker is at its end, for Python, for the system call, and for a child."""
    assert [b"", "", b""] == await client.call("misbehave.read_stdin", {})
    assert "still here" == await client.call("system.echo", "still here")


@pytest.mark.slow
async def test_a_flood_of_stderr_holds_nothing_up(client: Client) -> None:
    """Two workers write 50 MB each to stderr; calls beside them end, and so do theirs."""
    floods = [asyncio.create_task(client.call("misbehave.flood_stderr", {"megabytes": 50})) for _ in range(2)]
    answers = await asyncio.gather(*(client.predict(PREDICT, {"question": f"{n}"}) for n in range(200)))
    assert 200 == len([answer for answer in answers if answer["answer"]])
    assert [50 * 1024 * 1024] * 2 == await asyncio.gather(*floods)
