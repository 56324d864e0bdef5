"""Modules with tools, rewards and parts, beside the same in DSPy alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.modules.running import run_module
from dspex_bridge.predicting import _inputs  # pyright: ignore[reportPrivateUsage]
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec, read_record
from dspex_bridge.signatures.signatures import build_signature
from dspex_protocol import DSPexError, decode_value, encode_value, error

CITY: Final[dict[str, object]] = {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}}
WEATHER: Final[dict[str, object]] = {"name": "weather", "desc": "Tells the weather.", "args": CITY}
PART: Final[dict[str, object]] = {"module": "Predict", "signature": "question -> answer"}
TURNS: Final[list[dict[str, object]]] = [
    {"next_thought": "look", "next_tool_name": "weather", "next_tool_args": {"city": "Oslo"}},
    {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}},
    {"reasoning": "seen", "answer": "rain"},
]


def builder(function: Callable[[str, Mapping[str, object]], object], *names: str) -> Builder:
    """With functions of a host that answers so."""

    async def call_host(name: str, args: Mapping[str, object]) -> object:
        await asyncio.sleep(0)
        return function(name, args)

    functions = HostFunctions(call_host, asyncio.get_running_loop())
    functions.configure(names)
    return Builder(functions=functions)


async def run(program: LiveProgram, answers: list[Any], **inputs: Any) -> dspy.Prediction:
    trace: list[Any] = []
    with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter(), trace=trace):
        return await run_module(program.for_one_call().module, inputs, is_async=program.template.runs_async)


def agent(made: Builder, **options: Any) -> LiveProgram:
    return made.build(
        Spec(module="ReAct", signature="question -> answer", options={"tools": [WEATHER], **options})
    )


async def test_an_agent_calls_tools_of_the_host_as_dspys_own() -> None:
    """The prompts, the trajectory and the answer are those of a function of Python."""
    calls: list[object] = []

    def forecast(name: str, args: Mapping[str, object]) -> object:
        calls.append((name, dict(args)))
        return "rain in Oslo"

    def weather(city: str, days: int = 1) -> str:
        """Tells the weather."""
        return "rain in Oslo"

    here = await run(agent(builder(forecast, "weather")), TURNS, question="Oslo?")
    with dspy.context(lm=DummyLM(TURNS), adapter=dspy.ChatAdapter()):
        plain = await dspy.ReAct(build_signature("question -> answer"), tools=[weather]).acall(
            question="Oslo?"
        )
    assert plain.toDict() == here.toDict()
    assert [("weather", {"city": "Oslo"})] == calls


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"town": "Oslo"}, "town is not in the tool's args"),
        ({"city": 3}, "Arg city is invalid"),
        ({"days": 2}, "missing arguments: city"),
        ({"city": "Oslo"}, "the host is out of order"),
    ],
)
async def test_a_tool_that_fails_is_an_observation(args: dict[str, object], told: str) -> None:
    """As in DSPy: the model is told, and may go on."""

    def failing(name: str, given: Mapping[str, object]) -> object:
        raise error("function_failed", "the host is out of order")

    turns = [{**TURNS[0], "next_tool_args": args}, *TURNS[1:]]
    prediction = await run(agent(builder(failing, "weather")), turns, question="Oslo?")
    observed = str(prediction.trajectory["observation_0"])
    assert observed.startswith("Execution error in weather")
    assert told in observed
    assert "rain" == prediction.answer


async def test_a_tool_has_its_own_time() -> None:
    """A host that does not answer costs an observation, not the call."""

    async def never(name: str, args: Mapping[str, object]) -> object:
        await asyncio.Event().wait()
        return None

    functions = HostFunctions(never, asyncio.get_running_loop())
    functions.configure(["weather"])
    program = agent(Builder(functions=functions), tools=[{**WEATHER, "timeout_s": 0.01}])
    prediction = await run(program, TURNS, question="Oslo?")
    assert "did not answer" in str(prediction.trajectory["observation_0"])


def score(name: str, args: Mapping[str, Any]) -> object:
    """Longer is better."""
    return len(args["prediction"].value["fields"]["answer"])


def plain_score(inputs: dict[str, Any], prediction: Any) -> float:
    """The same for DSPy alone."""
    return len(prediction.answer)


ANSWERS: Final[list[dict[str, object]]] = [{"answer": "a"}, {"answer": "abc"}, {"answer": "ab"}]


@pytest.mark.parametrize("module", ["BestOfN", "Refine"])
async def test_the_best_attempt_by_a_reward_of_the_host(module: str) -> None:
    """As with a function of Python, whether the best is the last or a threshold ends it."""
    options: dict[str, object] = {"module": PART, "N": 3, "reward_fn": "score", "threshold": 3.0}
    advice = {"discussion": "d", "advice": {"self": "longer"}}
    answers = [ANSWERS[0], advice, ANSWERS[1]] if module == "Refine" else ANSWERS
    made = builder(score, "score")
    program = made.build(Spec(module=module, options=options))
    here = await run(program, answers, question="?")
    with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter(), trace=[]):
        plain = getattr(dspy, module)(dspy.Predict("question -> answer"), 3, plain_score, 3.0)(question="?")
    assert {"answer": "abc"} == here.toDict() == plain.toDict()


async def test_a_reward_that_is_no_number_is_told() -> None:
    """DSPy takes it for a failed attempt, and raises when there were too many."""
    options: dict[str, object] = {"module": PART, "N": 3, "reward_fn": "score", "threshold": 1.0}
    made = builder(lambda name, args: "good", "score")
    with pytest.raises(DSPexError, match="gave no reward") as failed:
        await run(made.build(Spec(module="BestOfN", options=options)), ANSWERS, question="?")
    assert "function_failed" == failed.value.code


async def test_the_majority_of_a_modules_answers() -> None:
    """Texts are compared as `dspy.majority` does."""
    made = builder(score)
    program = made.build(Spec(module="Majority", options={"module": PART, "N": 3}))
    answers = [{"answer": "Paris"}, {"answer": "Rome"}, {"answer": "the paris"}]
    assert {"answer": "Paris"} == (await run(program, answers, question="?")).toDict()


@pytest.mark.filterwarnings("ignore:The 'prefix' argument")  # DSPy's own module uses it
async def test_attempts_are_compared() -> None:
    """MultiChainComparison takes them as an input beside those of its signature."""
    program = builder(score).build(
        Spec(module="MultiChainComparison", signature="question -> answer", options={"M": 2})
    )
    attempts: list[object] = [{"reasoning": "r", "answer": "a"}, {"rationale": "s", "answer": "b"}]
    inputs: dict[str, Any] = {"question": "?", "completions": attempts}
    answers = [{"rationale": "both", "answer": "a"}]
    here = await run(program, answers, **_inputs(program, inputs))
    with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter()):
        plain = dspy.MultiChainComparison("question -> answer", M=2)(attempts, question="?")
    assert {"rationale": "both", "answer": "a"} == here.toDict() == plain.toDict()
    for wrong, field in (
        ([], "inputs.completions"),
        (attempts[:1], "inputs.completions"),
        ([attempts[0], 3], "inputs.completions[1]"),
        ([attempts[0], {"answer": "b"}], "inputs.completions[1].reasoning"),
        ([attempts[0], {"reasoning": "b"}], "inputs.completions[1].answer"),
    ):
        with pytest.raises(DSPexError) as refused:
            _inputs(program, {"question": "?", "completions": wrong})
        assert field == refused.value.details["field"]
    with pytest.raises(DSPexError, match="completions"):
        _inputs(program, {"question": "?"})


async def test_a_program_with_parts_is_stored_and_comes_back() -> None:
    """Specs inside are in normal form, and what the part's predictor learned is in the state."""
    made = builder(score, "score")
    options: dict[str, object] = {"module": PART, "N": 2, "reward_fn": "score", "threshold": 1.0}
    state = {"module": {"instructions": "Learned."}}
    program = made.build(Spec(module="BestOfN", options=options), state)
    record: Any = decode_value(encode_value(program.record()))
    again = made.load(read_record(record))
    assert encode_value(record) == encode_value(again.record())
    assert "Learned." == record["state"]["module"]["instructions"]
    assert record["spec"]["signature"] == record["spec"]["options"]["module"]["signature"]


@pytest.mark.parametrize(
    ("module", "signature", "options", "field"),
    [
        ("ReAct", "q -> a", {}, "spec.options.tools"),
        ("ReAct", "q -> a", {"tools": []}, "spec.options.tools"),
        ("ReAct", "q -> a", {"tools": ["weather"]}, "spec.options.tools[0]"),
        ("ReAct", "q -> a", {"tools": [{}]}, "spec.options.tools[0].name"),
        ("ReAct", "q -> a", {"tools": [{"name": "a b"}]}, "spec.options.tools[0].name"),
        ("ReAct", "q -> a", {"tools": [WEATHER, WEATHER]}, "spec.options.tools[1].name"),
        ("ReAct", "q -> a", {"tools": [{"name": "storm"}]}, "spec.options.tools[0].function"),
        ("ReAct", "q -> a", {"tools": [{**WEATHER, "args": {"a": 1}}]}, "spec.options.tools[0].args.a"),
        (
            "ReAct",
            "q -> a",
            {"tools": [{**WEATHER, "args": {"a": {"type": "text"}}}]},
            "spec.options.tools[0].args.a.type",
        ),
        (
            "ReAct",
            "q -> a",
            {"tools": [{**WEATHER, "args": {"a": {"$ref": "http://x"}}}]},
            "spec.options.tools[0].args.a",
        ),
        ("ReAct", "q -> a", {"tools": [WEATHER], "max_iters": 0}, "spec.options.max_iters"),
        ("ReAct", "trajectory -> a", {"tools": [WEATHER]}, "spec.signature"),
        ("ReAct", None, {"tools": [WEATHER]}, "spec.signature"),
        ("BestOfN", None, {"N": 2, "reward_fn": "weather", "threshold": 1.0}, "spec.options.module"),
        (
            "BestOfN",
            "q -> b",
            {"module": PART, "N": 2, "reward_fn": "weather", "threshold": 1.0},
            "spec.signature",
        ),
        (
            "BestOfN",
            None,
            {"module": PART, "N": 2, "reward_fn": 3, "threshold": 1.0},
            "spec.options.reward_fn",
        ),
        (
            "Majority",
            None,
            {"module": {"module": "Predict", "signature": "q -> "}, "N": 2},
            "spec.options.module.signature.outputs",
        ),
        ("Flex", "q -> a", {"max_predictor_calls": 0}, "spec.options.max_predictor_calls"),
    ],
)
async def test_a_bad_part_is_refused_by_its_path(
    module: str, signature: object, options: dict[str, object], field: str
) -> None:
    """However deep it stands."""
    with pytest.raises(DSPexError) as refused:
        builder(score, "weather").build(Spec(module=module, signature=signature, options=options))
    assert field == refused.value.details["field"]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_retriever_of_the_host_gives_what_dspys_own_gives(is_async: bool) -> None:
    """On the event loop and in a thread; the function is asked for as many as the program wants."""
    asked: list[object] = []

    def find(name: str, args: Mapping[str, object]) -> object:
        asked.append(args)
        return ["one", {"long_text": "two"}]

    made = builder(find, "find")
    options: dict[str, object] = {"function": "find", "k": 2}
    program = made.build(Spec(module="Retrieve", signature=None, options=options))
    found = await run_module(program.module, {"query": "pipes"}, is_async=is_async)

    def alone(query: str, k: int) -> list[dspy.Example]:
        return [dspy.Example(long_text=text) for text in ("one", "two")]

    with dspy.context(rm=alone):
        retrieve: Any = dspy.Retrieve(k=2)
        assert retrieve("pipes").passages == found.passages
    assert [{"query": "pipes", "k": 2}] == asked
