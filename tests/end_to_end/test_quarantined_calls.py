"""A call that kills workers is refused, shown without what it said, and let out when somebody says so."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.support.servers import info, outcome_code, serving

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow


async def quarantine(client: Client) -> list[dict[str, Any]]:
    """What is in it."""
    return cast("list[dict[str, Any]]", await client.call("pool.quarantine", {}))


async def deaths(client: Client) -> int:
    """Workers that have died so far."""
    died: int = (await info(client))["worker_deaths"]
    return died


async def test_a_killer_costs_two_workers_and_then_none() -> None:
    """It is refused without being run; whoever looks sees why, and other calls go on."""
    async with serving("--workers", "1") as client:
        assert "poisoned" == await outcome_code(client, "misbehave.crash")
        assert 2 == await deaths(client)
        with pytest.raises(DSPexError) as refusal:
            await client.call("misbehave.crash")
        (repro,) = await quarantine(client)
        assert refusal.value.details["fingerprint"] == repro["fingerprint"]
        assert "misbehave.crash" == repro["method"]
        assert ["SIGSEGV", "SIGSEGV"] == [death["reason"] for death in repro["deaths"]]
        assert 1 == await client.call("misbehave.nonce", {"nonce": 1})
        assert 2 == await deaths(client)


async def test_a_call_that_is_released_runs_again() -> None:
    """And is back as soon as it has killed again."""
    async with serving("--workers", "1") as client:
        await outcome_code(client, "misbehave.crash")
        (repro,) = await quarantine(client)
        released = await client.call("pool.release", {"fingerprint": repro["fingerprint"]})
        assert ({"released": 1}, []) == (released, await quarantine(client))
        assert "poisoned" == await outcome_code(client, "misbehave.crash")
        assert (4, 1) == (await deaths(client), len(await quarantine(client)))
        assert {"released": 1} == await client.call("pool.release", {})
