"""More than the server takes: a typed refusal that says when to come back."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.servers import info, serving, wait_for

from dspex_protocol import DSPexError

PLACES, QUEUE, CALLS = 4, 20, 100


@pytest.mark.slow
async def test_a_full_queue_refuses_and_recovers() -> None:
    """What fits is done, the rest is `overloaded` with a time to come back, and then all is well."""
    flags = ("--workers", "1", "--calls-per-worker", str(PLACES), "--max-queue", str(QUEUE))
    async with serving(*flags) as client:
        await wait_for(client, lambda now: now["ready_workers"] == 1)
        outcomes = await asyncio.gather(
            *(client.call("misbehave.nonce", {"nonce": n, "pause_ms": 200}) for n in range(CALLS)),
            return_exceptions=True,
        )
        refused = [one for one in outcomes if isinstance(one, DSPexError)]
        assert list(range(PLACES + QUEUE)) == outcomes[: PLACES + QUEUE]
        assert [("overloaded", True)] * (CALLS - PLACES - QUEUE) == [(r.code, r.retryable) for r in refused]
        assert all(50 <= (refusal.retry_after_ms or 0) <= 10_000 for refusal in refused)
        assert list(range(20)) == await asyncio.gather(
            *(client.call("misbehave.nonce", {"nonce": n}) for n in range(20))
        )
        assert len(refused) == (await info(client))["overloaded"]


@pytest.mark.slow
async def test_payloads_are_bounded_in_bytes() -> None:
    """Few large calls fill the server as many small ones do; their end makes room again."""
    flags = ("--workers", "1", "--max-open-bytes", "1000000")
    async with serving(*flags) as client:
        await wait_for(client, lambda now: now["ready_workers"] == 1)
        filling = b"x" * 300_000
        outcomes = await asyncio.gather(
            *(client.call("misbehave.nonce", {"nonce": filling, "pause_ms": 200}) for _ in range(8)),
            return_exceptions=True,
        )
        codes = [one.code if isinstance(one, DSPexError) else one == filling for one in outcomes]
        assert [True] * 3 + ["overloaded"] * 5 == codes
        assert filling == await client.call("system.echo", filling)
        assert 0 == (await info(client))["open_bytes"]
