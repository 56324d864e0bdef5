"""A host function as a language model, whose answer comes in pieces: joined, streamed, and refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import dspy
import pytest

from dspex_bridge.host_functions import HostFunctions, Returned
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.lms.streaming import ask_streaming
from dspex_bridge.lms.usage import counting
from dspex_bridge.streams.streaming import run_streaming
from dspex_protocol import DSPexError, LMConfig, error

pytestmark = pytest.mark.asyncio

ANSWER = ["[[ ## ans", "wer ## ]]\n", "forty", "-two", "\n\n[[ ## completed ## ]]"]


class Host:
    """A function that sends pieces and returns something, or raises it.

    Attributes:
        sent: How many pieces were taken.
        is_ended: Whether it has returned, or was told to stop.
    """

    def __init__(self, *pieces: object, returns: object = None, pause_s: float = 0.0) -> None:
        self._pieces = pieces
        self._returns = returns
        self._pause_s = pause_s
        self.sent = 0
        self.is_ended = False
        self.is_silent = asyncio.Event()

    async def stream(self, name: str, args: Mapping[str, object]) -> AsyncGenerator[object]:
        try:
            for piece in self._pieces:
                if piece is SILENCE:
                    self.is_silent.set()
                    await asyncio.Event().wait()
                await asyncio.sleep(self._pause_s)
                yield piece
                self.sent += 1
            if isinstance(self._returns, Exception):
                raise self._returns
            yield Returned(self._returns)
        finally:
            self.is_ended = True


SILENCE = object()


def lm_of(host: Host, **config: Any) -> dspy.LM:
    async def call_host(name: str, args: Mapping[str, object]) -> object:
        raise AssertionError("it is not asked to stream")

    functions = HostFunctions(call_host, asyncio.get_running_loop(), host.stream)
    functions.configure(["ask"])
    made = LanguageModels(functions)
    made.configure({"default": LMConfig(model="host/ask", **config)}, {})
    return made.get(None)


async def predict(host: Host, signature: str = "question -> answer", **config: Any) -> tuple[Any, list[Any]]:
    """A streamed prediction by a host's model: what came of it, and its items."""
    items: list[Any] = []

    async def emit(item: Mapping[str, object]) -> None:
        items.append(dict(item))

    with dspy.context(lm=lm_of(host, **config), adapter=dspy.ChatAdapter()):
        prediction = await run_streaming(dspy.Predict(signature), {"question": "?"}, emit, events=["token"])
    return prediction, items


async def failure(host: Host, **config: Any) -> DSPexError:
    with pytest.raises(DSPexError) as raised:
        await predict(host, **config)
    assert host.is_ended
    return raised.value


def texts(items: list[Any]) -> list[str]:
    return [item["text"] for item in items]


async def test_pieces_are_tokens() -> None:
    """They come while the function runs, and together they are the prediction."""
    host = Host(*ANSWER, pause_s=0.001)
    prediction, items = await predict(host)
    assert "forty-two" == prediction.answer
    assert "forty-two" == "".join(texts(items))
    assert 2 <= len(items)


async def test_a_token_is_there_before_the_next_piece() -> None:
    """Nothing waits for the function to return."""
    host = Host(*ANSWER[:3], " and more than a header has", SILENCE)
    came: asyncio.Queue[object] = asyncio.Queue()

    async def run() -> None:
        with dspy.context(lm=lm_of(host), adapter=dspy.ChatAdapter()):
            await run_streaming(
                dspy.Predict("question -> answer"), {"question": "?"}, came.put, events=["token"]
            )

    running = asyncio.ensure_future(run())
    item: Any = await came.get()
    assert item["text"].startswith("forty")
    assert not host.is_ended
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert host.is_ended


@pytest.mark.parametrize(
    "returns",
    [
        None,
        {"tokens_in": 7, "tokens_out": 3},
        "".join(ANSWER),
        {"text": "".join(ANSWER), "tokens_in": 7, "tokens_out": 3},
    ],
)
async def test_what_it_returns_may_say_the_same_or_nothing(returns: object) -> None:
    """Tokens are counted where it tells them."""
    host = Host(*ANSWER, returns=returns)
    with counting() as usage:
        prediction, items = await predict(host)
    assert ("forty-two", "forty-two") == (prediction.answer, "".join(texts(items)))
    assert (7 if isinstance(returns, dict) else 0) == usage.tokens_in


async def test_what_it_returns_may_be_more() -> None:
    """The rest is a last piece."""
    host = Host(*ANSWER[:3], returns="".join(ANSWER))
    prediction, items = await predict(host)
    assert ("forty-two", "forty-two") == (prediction.answer, "".join(texts(items)))


async def test_without_pieces_what_it_returns_is_all() -> None:
    """As a function that knows nothing of streams."""
    prediction, items = await predict(Host(returns="".join(ANSWER)))
    assert ("forty-two", "forty-two") == (prediction.answer, "".join(texts(items)))


@pytest.mark.parametrize("returns", ["something else", {"text": "[[ ## answer ## ]]\nforty"}])
async def test_what_it_returns_must_not_contradict_its_pieces(returns: object) -> None:
    """Somebody may have read them already."""
    refused = await failure(Host(*ANSWER, returns=returns))
    assert "function_failed" == refused.code
    assert "does not begin with what it had sent" in refused.message


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        (7, "items[1]: expected a string or a map with text or reasoning, got 7"),
        (None, "items[1]: expected a string or a map"),
        ({"txt": "x"}, "items[1].txt"),
        ({"text": 7}, "items[1].text"),
        (["x"], "items[1]: expected a string or a map"),
    ],
)
async def test_a_piece_that_is_none_is_named(piece: object, said: str) -> None:
    """By its number; the function is told to stop."""
    refused = await failure(Host(ANSWER[0], piece, *ANSWER))
    assert "function_failed" == refused.code
    assert said in refused.message


async def test_a_function_that_raises_in_the_middle_fails_with_its_own_code() -> None:
    """After the pieces that came, and it is not asked again: they may have been shown."""
    host = Host(*ANSWER[:4], returns=error("lm_unavailable", "gone"))
    assert "lm_unavailable" == (await failure(host, num_retries=3)).code
    assert 4 == host.sent


async def test_the_time_is_that_to_the_next_piece() -> None:
    """A function that goes on is not late; one that stops in the middle is."""
    slow = Host(*ANSWER, *["\n"] * 20, pause_s=0.02)
    prediction, _ = await predict(slow, timeout_s=0.3)
    assert "forty-two" == prediction.answer
    assert "function_timeout" == (await failure(Host(*ANSWER[:3], SILENCE), timeout_s=0.05)).code


@pytest.mark.parametrize("returns", [None, {"reasoning": "think hard", "text": "done"}])
async def test_reasoning_comes_as_reasoning(returns: object) -> None:
    """In the stream, and in the answer."""
    host = Host(
        {"reasoning": "think "}, {"reasoning": "hard", "text": ""}, {"text": "do"}, "ne", returns=returns
    )
    items: list[Any] = []

    async def emit(item: Mapping[str, object]) -> None:
        items.append(dict(item))

    lm: Any = lm_of(host)
    (answer,) = await ask_streaming(lambda: lm.acall("?"), emit)
    assert {"text": "done", "reasoning_content": "think hard"} == answer
    for field, said in (("reasoning", "think hard"), ("text", "done")):
        assert said == "".join(item["text"] for item in items if item["field"] == field)


async def test_a_program_in_a_thread_streams_too() -> None:
    """Its pieces cross from the loop to its thread, and its items back."""
    items: list[Any] = []

    async def emit(item: Mapping[str, object]) -> None:
        items.append(dict(item))

    host = Host(*ANSWER)
    with dspy.context(lm=lm_of(host), adapter=dspy.ChatAdapter()):
        prediction = await run_streaming(
            dspy.Predict("question -> answer"), {"question": "?"}, emit, events=["token"], is_async=False
        )
    assert ("forty-two", "forty-two") == (prediction.answer, "".join(texts(items)))
    assert host.is_ended


async def test_a_slow_reader_holds_the_function_up() -> None:
    """Not all of a long answer is taken for somebody who reads none of it."""
    host = Host(ANSWER[0], ANSWER[1], *["x" * 1_000] * 1_000, ANSWER[-1])
    first = asyncio.Event()

    async def emit(item: Mapping[str, object]) -> None:
        first.set()
        await asyncio.Event().wait()

    async def run() -> None:
        with dspy.context(lm=lm_of(host), adapter=dspy.ChatAdapter()):
            await run_streaming(dspy.Predict("question -> answer"), {"question": "?"}, emit, events=["token"])

    running = asyncio.ensure_future(run())
    await first.wait()
    before = -1
    while before != host.sent:  # until it stands still
        before = host.sent
        for _ in range(200):
            await asyncio.sleep(0)
    assert host.sent < 100
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert host.is_ended
