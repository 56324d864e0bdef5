"""Kinds of items through a whole server: chosen by call, refused by name, held by credit, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.servers import PREDICT, info
from tests.support.standing import Standing

from dspex_pool.client import Client
from dspex_pool.replies import END, fields_of
from dspex_protocol import DSPexError

LIST = {"module": "Predict", "signature": "question -> tags: list[str], count: int"}
SLOW = {"default": {"model": "sim/x", "options": {"latency_ms": 1, "tokens_per_s": 50}}}


async def items_of(client: Client, spec: Mapping[str, object], **options: Any) -> list[Any]:
    """The items of a stream."""
    stream = client.stream(spec, {"question": "?"}, **options)
    items = [item async for item in stream]
    await stream.result()
    return items


@pytest.mark.slow
async def test_a_call_says_what_it_wants(standing: Standing) -> None:
    """Nothing said is as it always was; of each name that is none, its place is told."""
    async with standing.client() as client:
        assert {"status"} == {item["type"] for item in await items_of(client, LIST)}
        assert {"token", "status"} == {item["type"] for item in await items_of(client, PREDICT)}
        assert {"value"} == {item["type"] for item in await items_of(client, LIST, events=["value"])}
        assert [] == await items_of(client, LIST, events=["token", "tool"])
        assert [] == await items_of(client, LIST, events=[])
        with pytest.raises(DSPexError, match=r"events\[1\]: expected one of 'token'"):
            await items_of(client, LIST, events=["value", "values"])
        with pytest.raises(DSPexError, match="no credit") as refused:
            await client.predict(LIST, {"question": "?"}, events=["value"])
        assert "events" == refused.value.details["field"]


@pytest.mark.slow
async def test_a_halted_stream_of_values_ends_its_call(standing: Standing) -> None:
    """The worker is idle soon after, long before the answer would have been complete."""
    async with standing.client(lms=SLOW) as client:
        stream = client.stream(LIST, {"question": "?"}, events=["value", "tool"])
        first: Any = await anext(aiter(stream))
        assert "value" == first["type"]
        stream.cancel()
        with pytest.raises(DSPexError) as failure:
            await stream.result()
        assert "cancelled" == failure.value.code
        assert {"answer"} == set(await client.predict(PREDICT, {"question": "?"}))
        assert 0 == (await info(client))["worker_deaths"]


@pytest.mark.slow
async def test_a_slow_reader_gets_the_whole_value_in_the_end(standing: Standing) -> None:
    """With credit for one item at a time: fewer items, and the same end."""
    async with standing.client() as client:
        call = {"spec": LIST, "inputs": {"question": "?"}, "events": ["value"]}
        call_id, pending = client.open("program.predict", call, {"credit": 1}, items=asyncio.Queue())
        assert pending.items is not None
        seen: list[Any] = []
        while (item := await asyncio.wait_for(pending.items.get(), 30)) is not END:
            seen.append(item)
            client.credit(call_id, 1)
        outcome = await pending.answer
        finals = {item["field"]: item["value"] for item in seen if item["last"]}
        assert fields_of(outcome.value) == finals
