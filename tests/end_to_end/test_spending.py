"""What language models have cost, added up by a real server over its whole life."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.servers import PREDICT, serving

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

LMS: dict[str, dict[str, Any]] = {
    "default": {"model": "sim/test", "usd_per_million_in": 1.0, "usd_per_million_out": 2.0},
    "second": {"model": "sim/test", "options": {"seed": 2}, "usd_per_million_in": 10.0},
    "slow": {"model": "sim/test", "options": {"latency_ms": 2_000}},
    "failing": {"model": "sim/test", "options": {"error_rate": 1.0}},
}
ASKED = {"inputs": {"question": "Why?"}}


async def spent(client: Client, table: str) -> dict[Any, dict[str, Any]]:
    """The rows of a table by name."""
    told: Any = await client.call("lm.usage", {})
    return {row[table.rstrip("s")]: row for row in told[table]}


async def total(client: Client) -> dict[str, Any]:
    """All of it."""
    told: Any = await client.call("lm.usage", {})
    return dict(told["total"])


async def test_the_totals_are_what_the_answers_said() -> None:
    """Of predictions, conversations, vectors, and of requests that failed."""
    async with serving("--workers", "2", lms=LMS) as client:
        said = [
            (await client.outcome("program.predict", {**ASKED, "spec": PREDICT}, tenant="acme")).meta,
            (await client.outcome("lm.generate", {"prompt": "Why?"}, tenant="acme")).meta,
            (await client.outcome("lm.embed", {"texts": ["a", "b"], "lm": "second"})).meta,
        ]
        with pytest.raises(DSPexError):
            await client.call("lm.generate", {"prompt": "Why?", "lm": "failing"})
        told = await total(client)
        assert told["lm_calls"] == len(said) + 1
        for key in ("tokens_in", "tokens_out", "cost_usd"):
            assert told[key] == pytest.approx(sum(meta.get(key, 0) for meta in said))  # type: ignore[misc]
        by_lm = await spent(client, "lms")
        assert {name: row["lm_calls"] for name, row in by_lm.items()} == {
            "default": 2,
            "second": 1,
            "failing": 1,
        }
        by_tenant = await spent(client, "tenants")
        assert by_tenant["acme"]["cost_usd"] == pytest.approx(said[0]["cost_usd"] + said[1]["cost_usd"])  # type: ignore[operator]
        snapshot: Any = await client.call("system.info", {})
        assert snapshot["spent"] == told


async def test_a_program_that_asks_two_models_is_told_apart_by_model(tmp_path: Path) -> None:
    """And is one program; what each model cost adds up to what the answer said."""
    spec = {"module": "ReAct", "signature": "question -> answer", "options": {"tools": [{"name": "look"}]}}
    environment = {"DSPEX_STORE": f"sqlite:{tmp_path / 'store'}"}
    functions = {"look": lambda: "seen"}
    async with serving("--workers", "1", lms=LMS, functions=functions, environment=environment) as client:
        payload = {"spec": spec, "state": {"extract.predict": {"lm": "second"}}}
        await client.call("program.create", payload, program="p")
        meta = (await client.outcome("program.predict", ASKED, program="p")).meta
        assert "lm" not in meta
        by_lm = await spent(client, "lms")
        assert by_lm.keys() == {"default", "second"}
        assert by_lm["second"]["lm_calls"] == 1
        assert sum(row["lm_calls"] for row in by_lm.values()) == meta["lm_calls"]
        assert sum(row["cost_usd"] for row in by_lm.values()) == pytest.approx(meta["cost_usd"])
        assert (await spent(client, "programs"))["p"]["lm_calls"] == meta["lm_calls"]


async def test_what_was_given_up_has_cost_all_the_same() -> None:
    """The caller has its deadline; the request was made."""
    async with serving("--workers", "1", lms=LMS) as client:
        await client.call("system.echo", None)
        with pytest.raises(DSPexError) as late:
            await client.call("lm.generate", {"prompt": "Why?", "lm": "slow"}, deadline_ms=400)
        assert late.value.code == "deadline"
        while (await total(client))["lm_calls"] < 1:  # the worker says so when it has stopped
            await asyncio.sleep(0.02)
        assert (await spent(client, "lms")).keys() == {"slow"}


async def test_a_list_says_who_offers_what() -> None:
    """The client that is connected, or the server's own settings."""
    async with serving(
        "--workers", "1", "--lm", "sim/of-the-server", lms={"mine": {"model": "sim/x"}}
    ) as client:
        told: Any = await client.call("lm.list", {})
        rows = {row["name"]: row for row in told}
        assert (rows["default"]["settings"], rows["default"]["clients"]) == (True, [])
        assert (rows["mine"]["settings"], rows["mine"]["clients"]) == (False, [1])
