"""What is wrong with DSPy's own streaming, fault by fault, and that ours has none of it.

docs/streaming.md lists them. Where a test runs `dspy.streamify` too, it shows the fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from typing import Any

import dspy
import pytest
from dspy.streaming import StreamListener, StreamResponse
from tests.bridge.streams.test_stream_events import (
    AGENT_ANSWER,
    AGENT_END,
    AGENT_TURN,
    Answers,
    agent,
    found,
    of_type,
    scripted,
    sections,
    streamed,
)

from dspex_bridge.adapters.adapters import ADAPTERS
from dspex_bridge.lms.answering import Answer, AnsweringLM, Question
from dspex_bridge.sim import SimModel, SimOptions, SimSource
from dspex_bridge.streams.streaming import run_streaming
from dspex_protocol import DSPexError


async def by_dspy(
    program: dspy.Module, lm: dspy.LM, listeners: Collection[StreamListener], adapter: str = "chat"
) -> tuple[dspy.Prediction, list[StreamResponse]]:
    """The same program, streamed by DSPy alone."""
    streamify: Any = dspy.streamify
    stream = streamify(program, stream_listeners=list(listeners), is_async_program=True)
    with dspy.context(lm=lm, adapter=ADAPTERS[adapter], disable_history=True, trace=[]):
        items = [item async for item in stream(question="why?")]
    return items[-1], [item for item in items if isinstance(item, StreamResponse)]


def sim(**options: Any) -> AnsweringLM:
    """An offline model."""
    return AnsweringLM("sim/x", SimSource(SimModel(SimOptions(**options))))


def text_of(items: list[dict[str, Any]], field: str) -> str:
    """The joined tokens of a field."""
    return "".join(item["text"] for item in of_type(items, "token") if item["field"] == field)


@pytest.mark.asyncio
@pytest.mark.parametrize("adapter", ["chat", "json", "xml"])
async def test_the_prediction_is_that_of_dspy_alone(adapter: str) -> None:
    """And where DSPy streams text without a fault, so is the text."""
    program = dspy.ChainOfThought("question -> answer")
    listener = StreamListener("answer")
    theirs, pieces = await by_dspy(program, sim(seed=3, token_chars=4), [listener], adapter)
    ours, items = await streamed(program, sim(seed=3, token_chars=4), adapter=adapter)
    assert dict(theirs.items()) == dict(ours.items())
    if adapter != "json":
        assert "".join(piece.chunk for piece in pieces) == text_of(items, "answer")


@pytest.mark.asyncio
async def test_json_comes_without_its_quotes() -> None:
    """DSPy's listener passes quotes and escapes on."""
    answer = '{"answer": "one\\n\\"two\\""}'
    program = dspy.Predict("question -> answer")
    _, pieces = await by_dspy(program, scripted(answer), [StreamListener("answer")], "json")
    assert "\\n" in "".join(piece.chunk for piece in pieces)
    prediction, items = await streamed(program, scripted(answer), adapter="json")
    assert 'one\n"two"' == prediction.answer == text_of(items, "answer")


@pytest.mark.asyncio
async def test_headers_are_no_text() -> None:
    """DSPy's listener holds ten pieces back; of smaller ones a header has more, and is passed on."""
    answer = sections(answer="yes", completed="")
    program = dspy.Predict("question -> answer")
    _, pieces = await by_dspy(program, scripted(answer), [StreamListener("answer")])
    assert "[[ ##" in "".join(piece.chunk for piece in pieces)
    _, items = await streamed(program, scripted(answer))
    assert "yes" == text_of(items, "answer")


class InOnePiece(Answers):
    """A provider that sends the whole answer at once."""

    async def astream(self, question: Question) -> AsyncGenerator[str | Answer]:
        text = self._next()
        yield text
        yield Answer(text)


@pytest.mark.asyncio
async def test_an_answer_in_one_piece_is_streamed() -> None:
    """DSPy's listener takes it for one out of the cache, and gives nothing."""
    answer, program = sections(answer="yes", completed=""), dspy.Predict("question -> answer")
    _, pieces = await by_dspy(program, AnsweringLM("sim/x", InOnePiece(answer)), [StreamListener("answer")])
    assert [] == pieces
    _, items = await streamed(program, AnsweringLM("sim/x", InOnePiece(answer)))
    assert "yes" == text_of(items, "answer")


class TwoSteps(dspy.Module):  # type: ignore[misc]
    """Two predictors with a field of the same name."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict("question -> answer")
        self.second = dspy.Predict("question -> answer")

    async def aforward(self, question: str) -> dspy.Prediction:
        first = await self.first.acall(question=question)
        return await self.second.acall(question=first.answer)


@pytest.mark.asyncio
async def test_a_field_that_several_predictors_have() -> None:
    """DSPy refuses a listener for it that does not name one."""
    with pytest.raises(ValueError, match="not unique"):
        dspy.streamify(TwoSteps(), stream_listeners=[StreamListener("answer")])
    _, items = await streamed(TwoSteps(), scripted(sections(answer="a"), sections(answer="b")))
    texts = {item["predictor"]: item["text"] for item in of_type(items, "token") if item["text"]}
    assert {"first": "a", "second": "b"} == texts


@pytest.mark.asyncio
async def test_each_turn_of_an_agent_is_streamed() -> None:
    """DSPy's listener is done after the first."""
    program = agent(found)
    lm = scripted(AGENT_TURN, AGENT_END, AGENT_ANSWER, size=9)
    _, pieces = await by_dspy(program, lm, [StreamListener("next_thought")])
    assert "look" == "".join(piece.chunk for piece in pieces)
    _, items = await streamed(program, scripted(AGENT_TURN, AGENT_END, AGENT_ANSWER))
    assert "lookdone" == text_of(items, "next_thought")


@pytest.mark.asyncio
async def test_copies_of_a_predictor_are_streamed() -> None:
    """DSPy's listeners know a predictor by identity; wrappers run copies of theirs."""

    class Wrapper(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = dspy.Predict("question -> answer")

        async def aforward(self, question: str) -> dspy.Prediction:
            return await self.module.deepcopy().acall(question=question)

    _, pieces = await by_dspy(Wrapper(), scripted(sections(answer="yes")), [StreamListener("answer")])
    assert [] == pieces
    _, items = await streamed(Wrapper(), scripted(sections(answer="yes")))
    assert "yes" == text_of(items, "answer")
    assert {"module"} == {item["predictor"] for item in of_type(items, "token")}


def completed(key: str) -> str:
    """A tool that says what DSPy's `finish` says."""
    return "Completed."


@pytest.mark.asyncio
async def test_every_tool_is_told() -> None:
    """DSPy's provider says nothing of `finish`, nor of the end of a tool that gives `Completed.`."""
    lm = scripted(AGENT_TURN, AGENT_END, AGENT_ANSWER)
    _, items = await streamed(agent(completed), lm)
    told = [(item["name"], item["event"]) for item in of_type(items, "tool")]
    assert [("lookup", "start"), ("lookup", "end"), ("finish", "start"), ("finish", "end")] == told


@pytest.mark.asyncio
async def test_each_of_several_completions_is_streamed() -> None:
    """DSPy's pieces do not say which completion they are of: each item but the first one's does."""

    class Several(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        async def aforward(self, question: str) -> dspy.Prediction:
            return await self.predict.acall(question=question, config={"n": 2, "temperature": 1.0})

    lm = scripted(sections(answer="first"), sections(answer="second"))
    prediction, items = await streamed(Several(), lm)
    completions: Any = prediction.completions
    assert ["first", "second"] == completions.answer
    for number, text in enumerate(completions.answer):
        of_it = [item for item in items if item["type"] == "token" and item.get("completion", 0) == number]
        assert text == text_of(of_it, "answer")
        assert [True] == [item["last"] for item in of_it if item["last"]]
        assert all(("completion" in item) is (number > 0) for item in of_it)


@pytest.mark.asyncio
async def test_an_adapter_that_cannot_be_streamed_is_refused_by_name() -> None:
    """Where no field is wanted, it may run."""
    program, lm = dspy.Predict("question -> answer"), sim()

    async def emit(item: dict[str, object]) -> None:
        items.append(item)

    items: list[dict[str, object]] = []
    with dspy.context(lm=lm, adapter=dspy.TwoStepAdapter(lm), disable_history=True, trace=None):
        with pytest.raises(DSPexError) as refused:
            await run_streaming(program, {"question": "?"}, emit, events=("value",))
        assert "adapter" == refused.value.details["field"]
        await run_streaming(program, {"question": "?"}, emit, events=("status",))
    assert items


@pytest.mark.asyncio
async def test_status_does_not_stop_the_event_loop() -> None:
    """DSPy's status waits in another thread for the loop on which it is called, until somebody reads."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def emit(item: dict[str, object]) -> None:
        seen.append(ticks)
        await asyncio.sleep(0)

    seen: list[int] = []
    ticking = asyncio.ensure_future(tick())
    with dspy.context(lm=sim(), adapter=ADAPTERS["chat"], disable_history=True, trace=None):
        program = dspy.Predict("question -> answer")
        await run_streaming(program, {"question": "?"}, emit, events=("status",))
    ticking.cancel()
    assert 4 == len(seen)
    assert seen[-1] > seen[0]


@pytest.mark.asyncio
async def test_the_error_is_the_programs_own() -> None:
    """And not a group around it."""

    class Breaks(dspy.Module):  # type: ignore[misc]
        async def aforward(self, question: str) -> dspy.Prediction:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await streamed(Breaks(), sim())
