"""Kill after kill under load: no call is lost, doubled or crossed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from itertools import count as numbers
from random import Random

import pytest
from tests.support.reference import Reference
from tests.support.servers import PREDICT, count, has_ready, info, serving, wait_for, workers
from tests.support.survivors import is_alive

from dspex_pool.client import Client

KILLS = count("kills", 300)
ZYGOTE_KILLS = count("zygote_kills", 20)
CALLERS = 8
QUESTIONS = [f"question {number}" for number in range(40)]


class Traffic:
    """Callers that call on and on, each call with a nonce of its own.

    Attributes:
        right: Calls that gave what they should.
        wrong: What else came.
    """

    def __init__(self, client: Client, expected: list[object]) -> None:
        self._client = client
        self._expected = expected
        self._nonces = numbers()
        self._progress = asyncio.Condition()
        self.right = 0
        self.wrong: list[object] = []

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Callers are at work inside; afterwards each has ended its last call."""
        self._going = True
        callers = [asyncio.create_task(self._call_on()) for _ in range(CALLERS)]
        try:
            yield
        finally:
            self._going = False
            await asyncio.gather(*callers)

    async def more(self, number: int) -> None:
        """Wait until that many further calls have ended."""
        wanted = self.right + len(self.wrong) + number
        async with self._progress:
            await self._progress.wait_for(lambda: self.right + len(self.wrong) >= wanted)

    async def _call_on(self) -> None:
        while self._going:
            await self._note(self._one(next(self._nonces)))

    async def _note(self, call: Awaitable[tuple[object, object]]) -> None:
        try:
            expected, given = await call
        except Exception as reason:
            self.wrong.append(reason)
        else:
            if expected == given:
                self.right += 1
            else:
                self.wrong.append((expected, given))
        async with self._progress:
            self._progress.notify_all()

    async def _one(self, nonce: int) -> tuple[object, object]:
        match nonce % 3:
            case 0:
                return nonce, await self._client.call("system.echo", nonce)
            case 1:
                return nonce, await self._client.call(
                    "misbehave.nonce", {"nonce": nonce, "pause_ms": nonce % 4}
                )
            case _:
                at = nonce % len(QUESTIONS)
                fields = await self._client.predict(PREDICT, {"question": QUESTIONS[at]})
                return self._expected[at], fields["answer"]


@pytest.fixture(scope="module")
def expected() -> list[object]:
    """The right answer to each question."""
    calls = [("Predict", str(PREDICT["signature"]), {"question": question}) for question in QUESTIONS]
    return [fields["answer"] for fields in Reference().predict_all(calls)]


async def kill_random_worker(client: Client, random: Random) -> None:
    """SIGKILL for one of the workers that are there."""
    victim = random.choice(await workers(client))
    with suppress(ProcessLookupError):
        os.kill(victim["pid"], signal.SIGKILL)


@pytest.mark.slow
async def test_random_kills_of_workers_lose_nothing(expected: list[object]) -> None:
    """Workers die at random moments, ready or starting; every call gives its own right result.

    A kill waits for calls, not for time: three deaths under one call are `poisoned`, which
    is right but would say nothing here.
    """
    random = Random(1)
    async with serving(limit_s=600) as client:
        await wait_for(client, has_ready(2))
        traffic = Traffic(client, expected)
        async with traffic.running():
            for _ in range(KILLS):
                await kill_random_worker(client, random)
                await traffic.more(random.randint(2 * CALLERS, 5 * CALLERS))
        assert [] == traffic.wrong
        assert KILLS * 2 * CALLERS <= traffic.right
        snapshot = await wait_for(client, has_ready(2))
        assert KILLS * 0.9 <= snapshot["worker_deaths"] <= KILLS  # a victim may have been dead already
        assert (0, 0) == (snapshot["waiting"], snapshot["open_bytes"])
        assert 0 == client.strays


@pytest.mark.slow
async def test_kills_of_the_zygote_harm_nobody(expected: list[object]) -> None:
    """Zygotes die under load, each with a worker to replace: calls go on, and the next zygote replaces it."""
    async with serving(limit_s=600) as client:
        await wait_for(client, has_ready(2))
        traffic = Traffic(client, expected)
        async with traffic.running():
            for number in range(ZYGOTE_KILLS):
                (zygote,) = await zygotes(client)
                os.kill(zygote, signal.SIGKILL)
                await kill_random_worker(client, Random(number))
                await traffic.more(2 * CALLERS)
                # Only a zygote that is ready can have replaced the worker.
                await wait_for(client, lambda now, n=number: now["restarts"] > n and has_ready(2)(now))  # type: ignore[misc]
        assert [] == traffic.wrong
        assert "zygote" == (await wait_for(client, has_ready(2)))["spawning"]


async def zygotes(client: Client) -> list[int]:
    """The supervisor's children that are no workers."""
    snapshot = await info(client)
    own = {worker["pid"] for worker in snapshot["workers"]}
    path = f"/proc/{snapshot['pid']}/task/{snapshot['pid']}/children"
    with open(path) as listed:
        return [pid for pid in map(int, listed.read().split()) if pid not in own and is_zygote(pid)]


def is_zygote(pid: int) -> bool:
    """Whether a process was started as one and is alive."""
    with suppress(OSError), open(f"/proc/{pid}/cmdline") as line:
        return "zygote" in line.read() and is_alive(pid)
    return False


@pytest.mark.slow
async def test_replacing_workers_leaks_no_descriptor(expected: list[object]) -> None:
    """After many replacements the supervisor has as many descriptors and threads as before."""
    random = Random(2)
    async with serving() as client:
        await wait_for(client, has_ready(2))
        await kill_random_worker(client, random)
        await wait_for(client, lambda snapshot: snapshot["restarts"] == 1 and has_ready(2)(snapshot))
        before = await resources(client)
        for restarts in range(2, count("replacements", 50) + 2):
            await kill_random_worker(client, random)
            await wait_for(client, lambda now, n=restarts: now["restarts"] == n and has_ready(2)(now))  # type: ignore[misc]
        assert before == await resources(client)


async def resources(client: Client) -> tuple[int, int, int]:
    """Descriptors, threads and children of the supervisor."""
    pid = (await info(client))["pid"]
    with open(f"/proc/{pid}/task/{pid}/children") as listed:
        children = len(listed.read().split())
    return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), children
