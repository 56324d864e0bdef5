"""A language model of the host that writes piece by piece, through the whole of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.servers import PREDICT, has_ready, info, serving, wait_for
from tests.support.standing import Standing

from dspex_pool.client import Client
from dspex_pool.client_functions import calling_id
from dspex_pool.function_streams import Reply
from dspex_protocol import ITEM, DSPexError, Tagged, encode, encode_value
from dspex_protocol.limits import MAX_CALLBACK_ITEM_BYTES

pytestmark = pytest.mark.slow

LMS = {"default": {"model": "host/write"}}
ONE = ("--workers", "1")
BEGINNING = "[[ ## answer ## ]]\n"
END = "\n\n[[ ## completed ## ]]"
WORDS = ["The ", "answer ", "is ", "forty-", "two."]


class Writer:
    """A model of the host.

    Args:
        words: What it writes.
        holds_after: After so many words it waits until `goes_on` is set.

    Attributes:
        written: How many words it was asked for.
        goes_on: It writes on.
        ended: Set when it has ended, however.
    """

    def __init__(self, words: list[str] = WORDS, holds_after: int | None = None) -> None:
        self._words = words
        self._holds_after = holds_after
        self.written = 0
        self.goes_on = asyncio.Event()
        self.ended = asyncio.Event()

    async def write(self, model: str, messages: object, config: object) -> AsyncGenerator[object]:
        try:
            yield BEGINNING
            for number, word in enumerate(self._words):
                if number == self._holds_after:
                    await self.goes_on.wait()
                self.written += 1
                yield word
            yield END
            yield Reply(tokens_in=5, tokens_out=len(self._words))
        finally:
            self.ended.set()


async def texts_of(stream: Any) -> list[str]:
    return [item["text"] async for item in stream if item["type"] == "token"]


def fields_of(value: object) -> dict[str, object]:
    assert isinstance(value, Tagged)
    return value.value["fields"]  # type: ignore[index, no-any-return]


async def nothing_left(client: Client) -> None:
    """No call is open, no worker has died, and the next prediction works."""
    snapshot = await wait_for(client, lambda now: not any(row["calls"] for row in now["workers"]))
    assert (0, 0) == (snapshot["waiting"], snapshot["open_bytes"])


async def test_words_come_as_the_host_writes_them(standing: Standing) -> None:
    """Each before the next is written; the prediction has them all, and their tokens are counted."""
    writer = Writer(["a beginning that is long enough to be sent ", "and its ", "end"], holds_after=1)
    async with standing.client(functions={"write": writer.write}, lms=LMS) as client:
        stream = client.stream(PREDICT, {"question": "?"}, events=["token"])
        first: Any = await anext(aiter(stream))
        assert first["text"].startswith("a beginning")
        assert not writer.ended.is_set()
        writer.goes_on.set()
        rest = await texts_of(stream)
        outcome = await stream.result()
        assert "a beginning that is long enough to be sent and its end" == first["text"] + "".join(rest)
        assert first["text"] + "".join(rest) == fields_of(outcome.value)["answer"]
        assert (5, 3) == (outcome.meta["tokens_in"], outcome.meta["tokens_out"])
        await nothing_left(client)


async def test_the_same_function_serves_who_wants_no_stream(standing: Standing) -> None:
    """Its pieces are joined; and a model that is asked without a program streams as well."""
    async with standing.client(functions={"write": Writer().write}, lms=LMS) as client:
        prediction = await client.prediction(PREDICT, {"question": "?"})
        assert "".join(WORDS) == prediction.fields["answer"]
        assert (5, 5) == (prediction.meta["tokens_in"], prediction.meta["tokens_out"])
        stream = client.stream_call("lm.generate", {"prompt": "?"})
        assert BEGINNING + "".join(WORDS) + END == "".join(await texts_of(stream))
        assert 0 == client.strays


def reward(inputs: dict[str, object], prediction: object) -> float:
    """Enough of one."""
    return 1.0


async def test_a_module_that_runs_in_a_thread_streams_too(standing: Standing) -> None:
    """BestOfN has no async form."""
    spec = {
        "module": "BestOfN",
        "options": {"module": PREDICT, "N": 1, "reward_fn": "reward", "threshold": 0.5},
    }
    functions: dict[str, Callable[..., Any]] = {
        "write": Writer().write,
        "reward": reward,
    }
    async with standing.client(functions=functions, lms=LMS) as client:
        stream = client.stream(spec, {"question": "?"}, events=["token"])
        assert "".join(WORDS) == "".join(await texts_of(stream))
        await stream.result()
        await nothing_left(client)


async def test_a_halted_stream_ends_the_function(standing: Standing) -> None:
    """CANCEL goes all the way to the host."""
    writer = Writer(["word " * 10] * 10_000)
    async with standing.client(functions={"write": writer.write}, lms=LMS) as client:
        stream = client.stream(PREDICT, {"question": "?"}, events=["token"])
        await anext(aiter(stream))
        stream.cancel()
        await asyncio.wait_for(writer.ended.wait(), 10)
        with pytest.raises(DSPexError) as failure:
            await stream.result()
        assert "cancelled" == failure.value.code
        assert writer.written < 10_000
        await nothing_left(client)


async def test_a_reader_that_takes_nothing_stops_the_function(standing: Standing) -> None:
    """What may wait is bounded, however much the host could write."""
    writer = Writer(["word " * 200] * 10_000)
    async with standing.client(functions={"write": writer.write}, lms=LMS) as client:
        stream = client.stream_call(
            "program.predict", {"spec": PREDICT, "inputs": {"question": "?"}}, credit=1
        )
        written = -1
        while not writer.written or written != writer.written:
            written = writer.written
            await asyncio.sleep(0.3)
        assert writer.written < 1_000
        stream.cancel()
        await asyncio.wait_for(writer.ended.wait(), 10)


async def test_a_function_that_raises_in_the_middle_fails_the_prediction(standing: Standing) -> None:
    """Once, with its code, after what had been shown."""

    async def write(model: str, messages: object, config: object) -> AsyncGenerator[str]:
        yield BEGINNING + "a beginning that is long enough to be sent"
        raise KeyError("the host's own mistake")

    async with standing.client(functions={"write": write}, lms=LMS) as client:
        stream = client.stream(PREDICT, {"question": "?"}, events=["token"])
        await texts_of(stream)
        with pytest.raises(DSPexError) as failure:
            await stream.result()
        assert "function_failed" == failure.value.code
        await nothing_left(client)


async def test_a_function_that_stops_in_the_middle_is_late(standing: Standing) -> None:
    """By `timeout_s` of the model, which is the time to each next piece."""
    writer = Writer(holds_after=2)
    lms = {"default": {"model": "host/write", "timeout_s": 0.5}}
    async with standing.client(functions={"write": writer.write}, lms=lms) as client:
        stream = client.stream(PREDICT, {"question": "?"}, events=["token"])
        with pytest.raises(DSPexError) as failure:
            await stream.result()
        assert "function_timeout" == failure.value.code
        await asyncio.wait_for(writer.ended.wait(), 10)
        await nothing_left(client)


HOSTILE: list[tuple[list[tuple[int, object]], str]] = [
    ([(1, "x")], "credit_exceeded"),
    ([(seq, "x") for seq in range(1_000)], "credit_exceeded"),
    ([(0, "x" * MAX_CALLBACK_ITEM_BYTES)], "function_failed"),
    ([(0, 7)], "function_failed"),
]
"""Items, and the code of what comes of them: out of turn, beyond the credit, too long, no text."""


async def test_a_host_that_breaks_the_rules_fails_its_prediction(standing: Standing) -> None:
    """And nothing else: the connection and the worker go on, and the function is told to stop."""
    stopped = 0

    async def write(model: str, messages: object, config: object) -> AsyncGenerator[str]:
        nonlocal stopped
        call_id = calling_id()
        assert call_id is not None
        try:
            for seq, value in HOSTILE[stopped][0]:
                client.send_raw(encode(ITEM, call_id, None, {"seq": seq}, encode_value(value)))
            await asyncio.Event().wait()
            yield ""
        finally:
            stopped += 1

    async with standing.client(functions={"write": write}, lms=LMS) as client:
        for number, (_, code) in enumerate(HOSTILE):
            stream = client.stream(PREDICT, {"question": "?"}, events=["token"])
            with pytest.raises(DSPexError) as failure:
                await stream.result()
            assert code == failure.value.code
            await nothing_left(client)
            assert number + 1 == stopped
        assert ["credit_exceeded"] * 2 + ["function_failed"] == [
            fault["code"]  # type: ignore[index]
            for method, fault in client.notes
            if method == "system.fault"
        ]
        assert 0 == (await info(client))["worker_deaths"]


async def test_a_worker_that_dies_in_the_middle_ends_the_function(tmp_path: Path) -> None:
    """The prediction ends once, as one that had effects; the function is told to stop."""
    writer = Writer(["word "] * 10_000)
    armed = {
        "DSPEX_FAILPOINT": "callback.item:9:kill",
        "DSPEX_FAILPOINT_ONCE": str(tmp_path / "fired"),
    }
    async with serving(*ONE, environment=armed, functions={"write": writer.write}, lms=LMS) as client:
        stream = client.stream(PREDICT, {"question": "?"}, events=["token"])
        with pytest.raises(DSPexError) as failure:
            await stream.result()
        assert ("worker_died", True) == (failure.value.code, failure.value.maybe_executed)
        await asyncio.wait_for(writer.ended.wait(), 10)
        await wait_for(client, has_ready(1))
        assert 0 == client.strays
        await nothing_left(client)


async def test_a_host_that_goes_leaves_nothing(tmp_path: Path) -> None:
    """Another client of the server goes on, and its worker is free."""
    address = f"unix:{tmp_path}/dspex.sock"
    writer = Writer(["word "] * 100_000)
    async with serving(*ONE, "--listen", f"stdio,{address}") as first:
        lms = {"written": {"model": "host/write"}}
        async with Client.connect(address, functions={"write": writer.write}, lms=lms) as second:
            stream = second.stream(PREDICT, {"question": "?"}, lm="written", events=["token"])
            await anext(aiter(stream))
        await nothing_left(first)
        assert 0 == (await info(first))["worker_deaths"]
