"""Language models behind HTTP, through the whole server: retries, time, and calls that end early."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from tests.support.servers import PREDICT, serving
from tests.support.sim_http import Served, served
from tests.support.standing import Standing

from dspex_protocol import DSPexError

SPEC = {"spec": dict(PREDICT), "inputs": {"question": "?"}}
LONG_S = 30.0


def at(seen: Served, **options: object) -> dict[str, object]:
    """The LMs of a server whose default is at that endpoint."""
    return {"default": {"model": "openai/own", "api_base": seen.base, **options}}


async def abandoned(seen: Served, count: int) -> None:
    """Wait until the endpoint has seen so many clients leave."""
    address = seen.base.removesuffix("/v1") + "/sim/stats"
    async with asyncio.timeout(LONG_S), aiohttp.ClientSession() as session:
        while True:
            async with session.get(address) as response:
                if (await response.json())["abandoned"] >= count:
                    return
            await asyncio.sleep(0.01)


async def test_a_refused_request_is_repeated_and_the_prediction_comes(standing: Standing) -> None:
    """Retry-After is honoured on the way; the caller sees one call and its usage."""
    async with (
        served("429:0.05,503") as seen,
        standing.client(lms=at(seen, num_retries=3)) as client,
    ):
        prediction: Any = await client.call("program.predict", SPEC)
    assert prediction.value["fields"]["answer"].startswith("sim: ")
    assert len(seen.bodies) == 3


async def test_a_refusal_says_when_to_come_back(standing: Standing) -> None:
    """Without retries the host gets the provider's own time."""
    async with served("429:7") as seen, standing.client(lms=at(seen)) as client:
        with pytest.raises(DSPexError) as refusal:
            await client.call("program.predict", SPEC)
    assert (refusal.value.code, refusal.value.retry_after_ms) == ("lm_rate_limited", 7000)
    assert refusal.value.retryable


async def test_no_wait_outlasts_the_calls_deadline(standing: Standing) -> None:
    """The worker knows what is left of the call's time, and tells at once."""
    async with served("429:20") as seen, standing.client(lms=at(seen, num_retries=5)) as client:
        with pytest.raises(DSPexError) as refusal:
            await client.call("program.predict", SPEC, deadline_ms=15_000)
    assert refusal.value.code == "lm_rate_limited"
    assert len(seen.bodies) == 1


async def test_a_deadline_cancels_the_request(standing: Standing) -> None:
    """The endpoint sees its client leave, and the worker lives on."""
    async with served("stall") as seen, standing.client(lms=at(seen)) as client:
        await client.call("system.echo", None)
        with pytest.raises(DSPexError) as late:
            await client.call("program.predict", SPEC, deadline_ms=500)
        assert late.value.code == "deadline"
        await abandoned(seen, 1)
        await client.call("program.predict", SPEC)


async def test_many_calls_share_few_connections() -> None:
    """Sixteen at once have at most sixteen, and those after them no more."""
    async with served() as seen, serving("--workers", "1", lms=at(seen)) as client:
        for _ in range(4):
            await asyncio.gather(*(client.call("program.predict", SPEC) for _ in range(16)))
    assert len(seen.bodies) == 64
    assert len(set(seen.peers)) <= 16
