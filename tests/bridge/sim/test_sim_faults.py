"""What the offline model's server does wrong on purpose, by itself."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from tests.support.sim_http import served

from dspex_bridge.sim.faults import KINDS, MAX_FAULTS, Fault, read_faults

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {
    "name": "f",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}


async def test_a_list_of_faults_is_read() -> None:
    """Words, statuses, and how long to wait, as seconds or as a date that is never too early."""
    read = read_faults(" 429:1.5, 503,429:date:2,,cut ")
    assert read == [
        Fault("status", 429, 1.5),
        Fault("status", 503),
        Fault("status", 429, 2, True),
        Fault("cut"),
    ]
    assert [fault.headers(NOW) for fault in read] == [
        {"Retry-After": "1.5"},
        {},
        {"Retry-After": "Fri, 02 Jan 2026 03:04:08 GMT"},
        {},
    ]


@pytest.mark.parametrize(
    "text",
    ["399", "600", "429:", "429:x", "429:-1", "429:nan", "cuts", "ok:1", "200", "ok," * (MAX_FAULTS + 1)],
)
async def test_what_is_no_fault_is_named(text: str) -> None:
    """With those that there are."""
    if text == "429:":
        assert read_faults(text) == [Fault("status", 429)]
        return
    with pytest.raises(ValueError, match=r"is no fault; there are ok, cut|more than"):
        read_faults(text)


async def test_each_fault_happens_once_and_in_turn() -> None:
    """To whole answers; then all is well."""
    async with served("429:3,garbage,empty,length,filter,cut") as seen, aiohttp.ClientSession() as session:
        outcomes: list[object] = []
        for _ in range(7):
            async with session.post(f"{seen.base}/chat/completions", json=ASKED) as response:
                try:
                    body = await response.text()
                except aiohttp.ClientPayloadError:
                    outcomes.append("cut")
                    continue
            outcomes.append(_told(response.status, body))
    assert outcomes[:2] == [429, "garbage"]
    assert outcomes[2:] == [
        ("stop", False),
        ("length", True),
        ("content_filter", True),
        "cut",
        ("stop", True),
    ]


def _told(status: int, body: str) -> object:
    if status != 200:
        return status
    try:
        choice = json.loads(body)["choices"][0]
    except ValueError:
        return "garbage"
    return choice["finish_reason"], bool(choice["message"]["content"])


async def test_tools_are_called_with_fitting_arguments_until_one_has_answered() -> None:
    """Natively, and in a stream in pieces that join to the same."""
    body = ASKED | {"tools": [{"type": "function", "function": TOOL}]}
    answered = [*ASKED["messages"], {"role": "tool", "tool_call_id": "c", "content": "7"}]
    async with served() as seen, aiohttp.ClientSession() as session:
        address = f"{seen.base}/chat/completions"
        async with session.post(address, json=body) as response:
            choice = (await response.json())["choices"][0]
        async with session.post(address, json=body | {"stream": True}) as response:
            chunks = [json.loads(line[6:]) async for line in response.content if line.startswith(b"data: {")]
        async with session.post(address, json=body | {"messages": answered}) as response:
            last = (await response.json())["choices"][0]
    function = choice["message"]["tool_calls"][0]["function"]
    assert choice["finish_reason"] == "tool_calls"
    assert function["name"] == "f"
    assert type(json.loads(function["arguments"])["n"]) is int
    deltas = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert "".join(call["function"]["arguments"] for call in deltas) == function["arguments"]
    assert last["finish_reason"] == "stop"
    assert last["message"]["content"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("stall", "drip", "endless")])
@pytest.mark.parametrize("stream", [False, True])
async def test_who_leaves_is_counted(kind: str, stream: bool) -> None:
    """Those answers have no end, so their clients leave before it."""
    async with served(kind) as seen, aiohttp.ClientSession() as session:
        reading = asyncio.ensure_future(_read_all(session, seen.base, ASKED | {"stream": stream}))
        async with asyncio.timeout(30):
            while not seen.peers:
                await asyncio.sleep(0.01)
            assert (set(), {reading}) == await asyncio.wait([reading], timeout=0.3)
            reading.cancel()
            while True:
                async with session.get(seen.base.removesuffix("/v1") + "/sim/stats") as response:
                    stats = await response.json()
                if stats["abandoned"]:
                    break
                await asyncio.sleep(0.01)
    assert stats == {"requests": 1, "abandoned": 1, "connections": 1}


async def _read_all(session: aiohttp.ClientSession, base: str, body: dict[str, Any]) -> None:
    async with session.post(f"{base}/chat/completions", json=body) as response:
        async for _ in response.content.iter_any():
            pass
