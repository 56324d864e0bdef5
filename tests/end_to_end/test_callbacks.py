"""The host is called back, and calls again from there, as deep as the protocol allows."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tests.support.servers import PREDICT, count, info, serving, wait_for

from dspex_pool.client import Client
from dspex_protocol import DSPexError

LMS = {"default": {"model": "host/answer"}}


class Nesting:
    """A host's model that asks the server again, so deep as the question says."""

    def __init__(self) -> None:
        self.ask: Callable[[str], Awaitable[dict[str, object]]]
        self.refusals: list[DSPexError] = []

    async def answer(self, model: str, messages: list[dict[str, str]], config: object) -> str:
        """Answer `3` with what `2` gives and one more."""
        question = messages[-1]["content"].partition("[[ ## question ## ]]")[2].split()[0]
        depth = 0
        if question != "0":
            try:
                depth = 1 + int(str((await self.ask(str(int(question) - 1)))["answer"]))
            except DSPexError as refusal:
                self.refusals.append(refusal)
                raise
        return f"[[ ## answer ## ]]\n{depth}\n\n[[ ## completed ## ]]"

    def bind(self, client: Client) -> None:
        """Ask through that client."""
        self.ask = lambda question: client.predict(PREDICT, {"question": question})


ONE_PLACE = ("--workers", "1", "--calls-per-worker", "1")


@pytest.mark.slow
async def test_callbacks_nest_eight_deep_in_one_place() -> None:
    """With one worker of one place nothing waits for itself, several chains at once included."""
    nesting = Nesting()
    async with serving(*ONE_PLACE, functions={"answer": nesting.answer}, lms=LMS) as client:
        nesting.bind(client)
        chains = await asyncio.gather(*(client.predict(PREDICT, {"question": "8"}) for _ in range(10)))
        assert [{"answer": "8"}] * 10 == chains
        assert [] == nesting.refusals


@pytest.mark.slow
async def test_the_ninth_level_is_refused() -> None:
    """The call that would be nested nine deep gets `callback_too_deep`, and its parents fail by it."""
    nesting = Nesting()
    async with serving(*ONE_PLACE, functions={"answer": nesting.answer}, lms=LMS) as client:
        nesting.bind(client)
        with pytest.raises(DSPexError):
            await client.predict(PREDICT, {"question": "9"})
        assert "callback_too_deep" == nesting.refusals[0].code
        assert {"answer": "1"} == await client.predict(PREDICT, {"question": "1"})
        snapshot = await info(client)
        assert (0, 0) == (snapshot["waiting"], snapshot["open_bytes"])


@pytest.mark.slow
async def test_the_end_of_a_call_cancels_its_callback() -> None:
    """The deadline of the outer call reaches the host's function."""
    cancelled = asyncio.Event()

    async def answer(model: str, messages: object, config: object) -> str:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()
        return ""

    async with serving(functions={"answer": answer}, lms=LMS) as client:
        await wait_for(client, lambda now: now["ready_workers"] > 0)
        with pytest.raises(DSPexError) as failure:
            await client.predict(PREDICT, {"question": "?"}, deadline_ms=2000)
        assert "deadline" == failure.value.code
        await cancelled.wait()


@pytest.mark.slow
async def test_a_function_that_raises_fails_the_prediction() -> None:
    """The host's own error comes back to the caller, typed, and the worker goes on."""

    def answer(model: str, messages: object, config: object) -> str:
        raise KeyError("the host's own mistake")

    async with serving(functions={"answer": answer}, lms=LMS) as client:
        with pytest.raises(DSPexError) as failure:
            await client.predict(PREDICT, {"question": "?"})
        assert "function_failed" == failure.value.code
        assert 0 == (await info(client))["worker_deaths"]


ROUNDS = count("nested_rounds", 3)
ONCE = {
    "module": "BestOfN",
    "options": {"module": PREDICT, "N": 1, "reward_fn": "reward", "threshold": 1.0},
}


def reward(inputs: dict[str, object], prediction: object) -> float:
    """Enough of one for any attempt."""
    return 1.0


@pytest.mark.slow
@pytest.mark.parametrize("places", ["1", "16"])
async def test_64_chains_three_deep_on_four_workers(places: str) -> None:
    """None is stuck, on the event loop or in a thread, with more places than chains or fewer.

    `DSPEX_TEST_NESTED_ROUNDS` says how many rounds.
    """
    nesting = Nesting()
    specs: Iterator[Any] = itertools.cycle((PREDICT, ONCE))
    functions: dict[str, Callable[..., object]] = {
        "answer": nesting.answer,
        "reward": reward,
    }
    flags = ("--workers", "4", "--calls-per-worker", places)
    async with serving(*flags, functions=functions, lms=LMS, limit_s=60 + 20 * ROUNDS) as client:
        nesting.ask = lambda question: client.predict(next(specs), {"question": question})
        for _ in range(ROUNDS):
            chains = await asyncio.gather(*(nesting.ask("3") for _ in range(64)))
            assert [{"answer": "3"}] * 64 == chains
        assert [] == nesting.refusals
        snapshot = await info(client)
        assert (0, 0, 0) == (snapshot["waiting"], snapshot["open_bytes"], snapshot["worker_deaths"])


AGENT = {
    "module": "ReAct",
    "signature": "question -> answer",
    "options": {"tools": [{"name": "lookup", "args": {"key": {"type": "string"}}}], "max_iters": 3},
}
BEST = {
    "module": "BestOfN",
    "options": {"module": PREDICT, "N": 3, "reward_fn": "reward", "threshold": 2.0},
}


@pytest.mark.slow
async def test_tools_and_rewards_are_functions_of_the_host() -> None:
    """Many at once, on the event loop and in threads; each call has its own answers."""
    seen: list[str] = []
    model = {"default": {"model": "host/model"}}

    async def lookup(key: str) -> str:
        seen.append(key)
        await asyncio.sleep(0.001)
        return f"value of {key}"

    async def reward(inputs: dict[str, object], prediction: object) -> float:
        await asyncio.sleep(0.001)
        return 1.0

    async def answer(model: str, messages: list[dict[str, str]], config: object) -> str:
        prompt = messages[-1]["content"]
        if "next_tool_name" not in messages[0]["content"]:
            return "[[ ## reasoning ## ]]\nseen\n\n[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"
        done = "value of k" in prompt
        name, args = ("finish", "{}") if done else ("lookup", '{"key": "k"}')
        return (
            f"[[ ## next_thought ## ]]\nt\n\n[[ ## next_tool_name ## ]]\n{name}\n\n"
            f"[[ ## next_tool_args ## ]]\n{args}\n\n[[ ## completed ## ]]"
        )

    functions: dict[str, Callable[..., object]] = {"lookup": lookup, "reward": reward, "model": answer}
    async with serving("--workers", "2", functions=functions, lms=model) as client:
        agents = [client.predict(AGENT, {"question": "?"}) for _ in range(20)]
        best = [client.predict(BEST, {"question": "?"}) for _ in range(20)]
        predictions = await asyncio.gather(*agents, *best)
    assert ["yes"] * 40 == [prediction["answer"] for prediction in predictions]
    assert ["k"] * 20 == seen


@pytest.mark.slow
async def test_a_function_that_the_host_does_not_offer_is_named() -> None:
    """Before anything runs, with those that it does offer."""
    functions: dict[str, Callable[..., object]] = {"other": str}
    async with serving("--workers", "1", functions=functions, lms=LMS) as client:
        with pytest.raises(DSPexError, match="'lookup'") as refused:
            await client.predict(AGENT, {"question": "?"})
    assert "unknown_function" == refused.value.code
    assert "one of: other" == refused.value.details["expected"]
