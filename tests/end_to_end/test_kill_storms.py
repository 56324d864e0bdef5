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
from tests.support.anatomy import holdings, zygotes
from tests.support.reference import Reference
from tests.support.servers import PREDICT, count, has_ready, info, serving, wait_for, workers

from dspex_pool.client import Client
from dspex_protocol import DSPexError

KILLS = count("kills", 60)
ZYGOTE_KILLS = count("zygote_kills", 9)
CALLERS = 8
QUESTIONS = [f"question {number}" for number in range(40)]


class Traffic:
    """Callers that call on and on, each call with a nonce of its own.

    Attributes:
        right: Calls that gave what they should.
        poisoned: Calls that were refused since two or three workers had died under them.
        wrong: What else came.
    """

    def __init__(self, client: Client, expected: list[object]) -> None:
        self._client = client
        self._expected = expected
        self._nonces = numbers()
        self._progress = asyncio.Condition()
        self.right = 0
        self.poisoned = 0
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
        wanted = self._ended + number
        async with self._progress:
            await self._progress.wait_for(lambda: self._ended >= wanted)

    @property
    def _ended(self) -> int:
        return self.right + self.poisoned + len(self.wrong)

    async def _call_on(self) -> None:
        while self._going:
            await self._note(self._one(next(self._nonces)))

    async def _note(self, call: Awaitable[tuple[object, object]]) -> None:
        try:
            expected, given = await call
        except Exception as reason:
            if isinstance(reason, DSPexError) and reason.code == "poisoned":
                self.poisoned += 1
            else:
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

    A kill waits for calls, not for time: two deaths under one call are `poisoned`, which is
    right, and now and then cannot be avoided, but must not be the rule.
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
        assert traffic.poisoned <= KILLS / 20
        assert KILLS * 2 * CALLERS <= traffic.right
        snapshot = await wait_for(client, has_ready(2))
        # A victim may have been dead already, or not ready yet, which is no death of a worker.
        assert KILLS * 0.6 <= snapshot["worker_deaths"] <= KILLS
        assert (0, 0) == (snapshot["waiting"], snapshot["open_bytes"])
        assert 0 == client.strays


@pytest.mark.slow
async def test_kills_of_the_zygote_harm_nobody(expected: list[object]) -> None:
    """Zygotes die under load, ready or starting, and workers with them: the next one replaces both.

    Three in a row that were not ready would be given up, so of three kills two meet a zygote
    that starts. That is also three times as fast: getting ready takes a second.
    """
    random = Random(3)
    async with serving(limit_s=600) as client:
        await wait_for(client, has_ready(2))
        traffic = Traffic(client, expected)
        async with traffic.running():
            victim = 0
            for kill in range(ZYGOTE_KILLS):
                victim = await next_zygote(client, victim)
                if kill % 3 != 0:
                    await asyncio.sleep(random.uniform(0, 0.1))  # somewhere in its imports
                os.kill(victim, signal.SIGKILL)
                if kill % 3 == 0:
                    await kill_random_worker(client, random)
                if kill % 3 == 2:  # only a zygote that is ready can replace the worker
                    await wait_for(client, lambda now, n=kill // 3: now["restarts"] > n and has_ready(2)(now))  # type: ignore[misc]
                await traffic.more(CALLERS)
        assert [] == traffic.wrong
        snapshot = await wait_for(client, has_ready(2))
        assert ("zygote", (ZYGOTE_KILLS + 2) // 3) == (snapshot["spawning"], snapshot["worker_deaths"])


async def next_zygote(client: Client, last: int) -> int:
    """The pid of the zygote that follows the last one."""
    while last in (found := await zygotes(client)) or not found:
        await asyncio.sleep(0.01)
    return found[0]


@pytest.mark.slow
async def test_replacing_workers_leaks_no_descriptor(expected: list[object]) -> None:
    """After many replacements the supervisor has as many descriptors and threads as before."""
    random = Random(2)
    async with serving() as client:
        await wait_for(client, has_ready(2))
        await kill_random_worker(client, random)
        await wait_for(client, lambda snapshot: snapshot["restarts"] == 1 and has_ready(2)(snapshot))
        supervisor = (await info(client))["pid"]
        before = holdings(supervisor)
        for restarts in range(2, count("replacements", 12) + 2):
            await kill_random_worker(client, random)
            await wait_for(client, lambda now, n=restarts: now["restarts"] == n and has_ready(2)(now))  # type: ignore[misc]
        assert before == holdings(supervisor)
