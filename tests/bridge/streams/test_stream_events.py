"""Kinds of items: what is asked for comes, under the name of its predictor, and nothing else does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Collection
from typing import Any, Literal

import dspy
import pytest

from dspex_bridge.adapters.adapters import ADAPTERS
from dspex_bridge.lms.answering import Answer, AnsweringLM, Question
from dspex_bridge.modules.majority import Majority
from dspex_bridge.sim import SimModel, SimOptions, SimSource
from dspex_bridge.streams.streaming import run_streaming
from dspex_bridge.worker.mailbox import MAX_WAITING_CHARACTERS, MAX_WAITING_STATUS

EVERYTHING: tuple[str, ...] = ("token", "status", "tool_arguments", "value")


class Answers:
    """A source that gives its answers one after the other, in pieces of a size.

    Attributes:
        asked: How often it was asked.
        streaming: Set while an answer that never ends is being given.
    """

    def __init__(self, *answers: str, size: int = 1, endless: bool = False) -> None:
        self.answers = list(answers)
        self.size = size
        self.endless = endless
        self.asked = 0
        self.streaming = asyncio.Event()
        self.stopped = asyncio.Event()

    def _next(self) -> str:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]

    def ask(self, question: Question) -> Answer:
        return Answer(self._next())

    async def aask(self, question: Question) -> Answer:
        return Answer(self._next())

    def stream(self, question: Question) -> Any:
        text = self._next()
        yield from (*text, Answer(text))

    async def astream(self, question: Question) -> AsyncGenerator[str | Answer]:
        text = self._next()
        try:
            for at in range(0, len(text), self.size):
                await asyncio.sleep(0)
                yield text[at : at + self.size]
            while self.endless:
                self.streaming.set()
                await asyncio.sleep(0.001)
                yield "."
            yield Answer(text)
        finally:
            self.stopped.set()


def sections(**fields: object) -> str:
    """An answer for the chat adapter."""
    return "\n".join(f"[[ ## {name} ## ]]\n{value}\n" for name, value in fields.items())


def scripted(*answers: str, size: int = 1) -> AnsweringLM:
    """A model that gives these answers."""
    return AnsweringLM("sim/x", Answers(*answers, size=size))


async def streamed(
    program: dspy.Module,
    lm: dspy.LM,
    events: Collection[str] = EVERYTHING,
    adapter: str = "chat",
) -> tuple[dspy.Prediction, list[dict[str, Any]]]:
    """A prediction and its items."""
    items: list[dict[str, Any]] = []

    async def emit(item: dict[str, object]) -> None:
        items.append(dict(item))

    with dspy.context(lm=lm, adapter=ADAPTERS[adapter], disable_history=True, trace=[]):
        return await run_streaming(program, {"question": "why?"}, emit, events=events), items


def of_type(items: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Those of one kind."""
    return [item for item in items if item["type"] == kind]


AGENT_TURN = sections(next_thought="look", next_tool_name="lookup", next_tool_args='{"key": "k"}')
AGENT_END = sections(next_thought="done", next_tool_name="finish", next_tool_args="{}")
AGENT_ANSWER = sections(reasoning="seen", answer="yes")


def found(key: str) -> str:
    """A tool."""
    return "v"


def nothing(inputs: dict[str, Any], prediction: dspy.Prediction) -> float:
    """A reward that no attempt gets."""
    return 0.0


def agent(tool: Any) -> Any:
    """One that calls a tool."""
    made: Any = dspy.ReAct
    return made("question -> answer", [dspy.Tool(tool, name="lookup")])


# Kinds -------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("events", "kinds"),
    [
        ((), set()),
        (("token",), {"token"}),
        (("status",), {"status"}),
        (("tool",), {"tool"}),
        (("value",), {"value"}),
        (EVERYTHING, {"token", "status", "tool", "value"}),
    ],
)
async def test_what_is_asked_for_comes_and_nothing_else(events: tuple[str, ...], kinds: set[str]) -> None:
    """The prediction is the same with any of them."""
    lm = scripted(AGENT_TURN, AGENT_END, AGENT_ANSWER)
    prediction, items = await streamed(agent(found), lm, events)
    assert "yes" == prediction.answer
    assert kinds == {item["type"] for item in items}


@pytest.mark.asyncio
async def test_a_model_is_asked_to_stream_only_where_fields_are_wanted() -> None:
    """Status and tools need no pieces of answers."""

    class NoStreams(Answers):
        def astream(self, question: Question) -> AsyncGenerator[str | Answer]:
            raise AssertionError("no field is wanted")

    lm = AnsweringLM("sim/x", NoStreams(sections(answer="yes")))
    prediction, items = await streamed(dspy.Predict("question -> answer"), lm, ("status", "tool"))
    assert ("yes", 4) == (prediction.answer, len(items))


# Values ------------------------------------------------------------------------------------


class Report(dspy.Signature):  # type: ignore[misc]
    """Report."""

    question: str = dspy.InputField()
    title: str = dspy.OutputField()
    numbers: list[int] = dspy.OutputField()
    mood: Literal["good", "goods"] = dspy.OutputField()
    count: int = dspy.OutputField()


REPORT = {"title": "T", "numbers": [1, 22, 333], "mood": "goods", "count": 12}


def written(adapter: str) -> str:
    """The report in an adapter's form."""
    if adapter == "json":
        return json.dumps(REPORT)
    return str(ADAPTERS[adapter].format_assistant_message_content(Report, REPORT))


@pytest.mark.asyncio
@pytest.mark.parametrize("adapter", ["chat", "json"])
async def test_a_list_grows_member_by_member(adapter: str) -> None:
    """Each step is a beginning of the next; the last one is the prediction's."""
    prediction, items = await streamed(dspy.Predict(Report), scripted(written(adapter)), adapter=adapter)
    values = of_type(items, "value")
    steps = [item["value"] for item in values if item["field"] == "numbers"]
    assert [[], [1], [1, 22], [1, 22, 333]] == [
        step for n, step in enumerate(steps) if steps[n - 1] != step or n == 0
    ]
    assert REPORT == dict(prediction.items())
    finals = {item["field"]: item["value"] for item in values if item["last"]}
    assert {"numbers": [1, 22, 333], "mood": "goods", "count": 12} == finals
    assert {"goods"} == {item["value"] for item in values if item["field"] == "mood"}
    assert "T" == "".join(item["text"] for item in of_type(items, "token"))


@pytest.mark.asyncio
async def test_nested_elements_come_when_their_field_is_complete() -> None:
    """The XML adapter has no JSON for a list: its value comes whole, at the predictor's end."""
    prediction, items = await streamed(dspy.Predict(Report), scripted(written("xml")), adapter="xml")
    finals = [item for item in of_type(items, "value") if item["field"] == "numbers"]
    assert [([1, 22, 333], True)] == [(item["value"], item["last"]) for item in finals]
    assert REPORT == dict(prediction.items())


@pytest.mark.asyncio
@pytest.mark.parametrize("adapter", ["chat", "json", "xml"])
async def test_the_last_value_is_that_of_the_prediction(adapter: str) -> None:
    """Whatever the offline model writes, and however its answer is cut."""
    for seed in range(6):
        lm = AnsweringLM("sim/x", SimSource(SimModel(SimOptions(seed=seed, token_chars=1 + seed))))
        signature = "question -> xs: list[str], n: int, m: dict[str, int], answer"
        prediction, items = await streamed(dspy.Predict(signature), lm, adapter=adapter)
        finals = {item["field"]: item["value"] for item in of_type(items, "value") if item["last"]}
        assert {name: prediction[name] for name in ("xs", "n", "m")} == finals


@pytest.mark.asyncio
async def test_a_slow_caller_gets_the_newest_value_only() -> None:
    """What waits is replaced; and the model is held back as with tokens."""
    text = sections(numbers=json.dumps(list(range(60_000))))
    credit, items = asyncio.Event(), list[dict[str, Any]]()
    source = Answers(text)
    lm = AnsweringLM("sim/x", source)
    fed = 0

    async def astream(question: Question) -> AsyncGenerator[str | Answer]:
        nonlocal fed
        for at in range(0, len(text), 500):
            await asyncio.sleep(0)
            fed += 500
            yield text[at : at + 500]
        yield Answer(text)

    source.astream = astream  # type: ignore[method-assign]

    async def emit(item: dict[str, object]) -> None:
        await credit.wait()
        items.append(dict(item))

    with dspy.context(lm=lm, adapter=ADAPTERS["chat"], disable_history=True, trace=None):
        program = dspy.Predict("question -> numbers: list[int]")
        running = asyncio.ensure_future(run_streaming(program, {"question": "?"}, emit, events=("value",)))
        for _ in range(3000):
            await asyncio.sleep(0)
        assert MAX_WAITING_CHARACTERS <= fed <= 2 * MAX_WAITING_CHARACTERS
        credit.set()
        await running
    assert list(range(60_000)) == items[-1]["value"]
    assert len(items) < 200


# Tools -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_tool_events_have_name_outcome_and_on_demand_arguments() -> None:
    """Start and end of a call have its number; what the tool gave is not told."""
    lm = scripted(AGENT_TURN, AGENT_END, AGENT_ANSWER)
    _, items = await streamed(agent(found), lm, ("tool_arguments",))
    told = {"type": "tool", "name": "lookup", "call": 1}
    assert [
        {**told, "event": "start", "arguments": {"key": "k"}},
        {**told, "event": "end", "outcome": "ok"},
    ] == items[:2]
    lm = scripted(AGENT_TURN, AGENT_END, AGENT_ANSWER)
    _, items = await streamed(agent(found), lm, ("tool",))
    assert "arguments" not in items[0]


@pytest.mark.asyncio
async def test_a_tool_that_fails_says_how() -> None:
    """By code, and without the words of the failure."""

    def broken(key: str) -> str:
        raise KeyError("the secret of k")

    lm = scripted(AGENT_TURN, AGENT_END, AGENT_ANSWER)
    prediction, items = await streamed(agent(broken), lm, ("tool",))
    assert ("error", "program_failed") == (items[1]["outcome"], items[1]["code"])
    assert "secret" not in str(items)
    assert "yes" == prediction.answer


# Names -------------------------------------------------------------------------------------


def best_of(module: dspy.Module) -> dspy.Module:
    """Two attempts."""
    return dspy.BestOfN(module, N=2, reward_fn=nothing, threshold=1.0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("program", "paths"),
    [
        (dspy.Predict("question -> answer"), {"self"}),
        (dspy.ChainOfThought("question -> answer"), {"predict"}),
        (best_of(dspy.Predict("question -> answer")), {"module"}),
        (best_of(dspy.ChainOfThought("question -> answer")), {"module.predict"}),
        (Majority(dspy.Predict("question -> answer"), N=2), {"module"}),
        (Majority(best_of(dspy.ChainOfThought("question -> answer")), N=2), {"module.module.predict"}),
    ],
)
async def test_wrapped_predictors_have_their_paths(program: dspy.Module, paths: set[str]) -> None:
    """As DSPy names them, though wrappers run copies; each run has its number and its own text."""
    lm = AnsweringLM("sim/x", SimSource(SimModel(SimOptions(token_chars=3))))
    _, items = await streamed(program, lm)
    assert paths == {name for name, _ in program.named_predictors()}
    assert paths == {item["predictor"] for item in of_type(items, "token")}
    runs = sorted({item["run"] for item in of_type(items, "token")})
    assert list(range(1, len(runs) + 1)) == runs
    for run in runs:
        ends = [item for item in of_type(items, "token") if (item["run"], item["field"]) == (run, "answer")]
        assert [True] == [item["last"] for item in ends if item["last"]]


@pytest.mark.asyncio
async def test_the_turns_of_an_agent_are_told_apart() -> None:
    """The same predictor, several times: joined by run, the text of each turn."""
    lm = scripted(AGENT_TURN, AGENT_END, AGENT_ANSWER)
    _, items = await streamed(agent(found), lm)
    texts: dict[tuple[str, int], str] = {}
    for item in of_type(items, "token"):
        if item["field"] in ("next_thought", "answer"):
            key = item["predictor"], item["run"]
            texts[key] = texts.get(key, "") + item["text"]
    assert {("react", 1): "look", ("react", 2): "done", ("extract.predict", 1): "yes"} == texts


@pytest.mark.asyncio
async def test_a_predictor_that_is_none_of_the_programs_has_no_name() -> None:
    """As in a trace."""

    class Makes(dspy.Module):  # type: ignore[misc]
        async def aforward(self, question: str) -> dspy.Prediction:
            return await dspy.Predict("question -> answer").acall(question=question)

    _, items = await streamed(Makes(), scripted(sections(answer="yes")))
    assert {None} == {item["predictor"] for item in of_type(items, "token")}


# Nobody there ------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_status_that_nobody_reads_holds_nothing_up() -> None:
    """More of it than may wait: the program goes on to its end."""

    class Busy(dspy.Module):  # type: ignore[misc]
        async def aforward(self, question: str) -> dspy.Prediction:
            for _ in range(MAX_WAITING_STATUS):
                await dspy.Predict("question -> answer").acall(question=question)
            ended.set()
            return dspy.Prediction(answer="yes")

    ended, credit = asyncio.Event(), asyncio.Event()

    async def emit(item: dict[str, object]) -> None:
        await credit.wait()

    lm = scripted(sections(answer="yes"))
    with dspy.context(lm=lm, adapter=ADAPTERS["chat"], disable_history=True, trace=None):
        running = asyncio.ensure_future(run_streaming(Busy(), {"question": "?"}, emit, events=("status",)))
        await ended.wait()
        assert not running.done()
        credit.set()
        await running


@pytest.mark.asyncio
@pytest.mark.parametrize("events", [("token",), ("value",), ("tool", "token")])
async def test_a_halted_stream_ends_the_request_to_the_model(events: tuple[str, ...]) -> None:
    """Whatever kinds of items were asked for."""
    source = Answers(sections(answer="yes"), endless=True)
    lm = AnsweringLM("sim/x", source)
    with dspy.context(lm=lm, adapter=ADAPTERS["chat"], disable_history=True, trace=None):
        running = asyncio.ensure_future(
            run_streaming(dspy.Predict("question -> answer"), {"question": "?"}, _ignore, events=events)
        )
    await source.streaming.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert source.stopped.is_set()


async def _ignore(item: dict[str, object]) -> None:
    """Takes everything."""


@pytest.mark.asyncio
async def test_a_halted_program_in_a_thread_ends_at_its_next_piece() -> None:
    """DSPy leaves such a thread running; and an attempt that failed would be followed by the next."""
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class InThread(Answers):
        def stream(self, question: Question) -> Any:
            self.asked += 1
            loop.call_soon_threadsafe(begun.set)
            try:
                yield "[[ ## answer ## ]]\ny"
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
                yield from ("more",) * 1000
                yield Answer("never")
            finally:
                loop.call_soon_threadsafe(ended.set)

    source = InThread("")
    lm = AnsweringLM("sim/x", source)
    with dspy.context(lm=lm, adapter=ADAPTERS["chat"], disable_history=True, trace=[]):
        program = dspy.BestOfN(dspy.Predict("question -> answer"), 5, nothing, 1.0)
        running = asyncio.ensure_future(run_streaming(program, {"question": "?"}, _ignore))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go_on.set()
    await ended.wait()
    for _ in range(100):  # a second attempt would begin now
        await asyncio.sleep(0.001)
    assert 1 == source.asked
