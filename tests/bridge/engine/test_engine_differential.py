"""Our engine against DSPy's own client: the same requests, answers, usage and errors, from one server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

import dspy
import pydantic
import pytest
from dspy.lm15 import FunctionTool, Message, Request
from dspy.utils.callback import BaseCallback
from tests.support.sim_http import Served, served

from dspex_bridge.engine import ChatLM
from dspex_bridge.failures import to_failure
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.lms.usage import counting
from dspex_bridge.streams.streaming import run_streaming
from dspex_protocol import LMConfig

# DSPy's own client says that dictionaries as messages, which its adapters send, will go.
pytestmark = [pytest.mark.asyncio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

MODEL = "gpt-4o-mini"  # DSPy's catalogue says that it calls functions and keeps to schemas
KEY = "sk-a-key-of-this-test-only"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi ünïcode \n"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks up.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string"}, "times": {"type": "integer"}},
            "required": ["word", "times"],
        },
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "out",
        "schema": {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]},
    },
}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}

Way = Literal["async", "sync"]


class Answer(pydantic.BaseModel):
    """What a schema is made of."""

    answer: str


@asynccontextmanager
async def both(seen: Served, **options: Any) -> AsyncGenerator[tuple[dspy.LM, dspy.LM]]:
    """Our LM, and DSPy's own, of one server."""
    lms = LanguageModels(HostFunctions())
    config = LMConfig(model=f"openai/{MODEL}", api_base=seen.base, api_key_secret="k", **options)
    lms.configure({"default": config}, {"k": KEY})
    ours = lms.get(None)
    assert isinstance(ours, ChatLM)
    dspys = dspy.LM(
        f"openai/{MODEL}",
        api_base=seen.base,
        api_key=KEY,
        cache=False,
        num_retries=0,
        temperature=options.get("temperature"),
        max_tokens=options.get("max_tokens"),
        **options.get("options", {}),
    )
    try:
        yield ours, dspys
    finally:
        await lms.aclose()
        await dspys.aclose()


async def asked(lm: dspy.LM, way: Way, kwargs: dict[str, Any], **settings: Any) -> Any:
    """What one call gives: its outputs, or the error; and what was counted."""
    usage = dspy.utils.usage_tracker.UsageTracker()
    settings = {"disable_history": True, "trace": None, "usage_tracker": usage, **settings}
    with dspy.context(**settings):
        try:
            outputs = await lm.acall(**kwargs) if way == "async" else await asyncio.to_thread(lm, **kwargs)
        except Exception as failure:  # whichever it is, both must have it
            outputs = described(failure)
    return plain(outputs), usage.get_total_tokens()


def described(failure: Exception) -> dict[str, Any]:
    """Class and figures of an error, and what a host gets of it."""
    names = ("code", "status", "provider_code", "request_id", "retry_after", "provider", "model")
    told = to_failure(failure)
    return {
        "class": type(failure).__name__,
        **{name: getattr(failure, name, None) for name in names},
        "told": (told.code, told.message, told.retry_after_ms, dict(told.details)),
    }


def plain(value: Any) -> Any:
    """Without DSPy's classes."""
    if isinstance(value, dict):
        return {key: plain(member) for key, member in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return value


REQUESTS: dict[str, dict[str, Any]] = {
    "text": {},
    "options": {"temperature": 0.3, "max_tokens": 9, "top_p": 0.5, "stop": ["x"], "seed": 4},
    "penalties": {"presence_penalty": 0.5, "frequency_penalty": 0.25, "user": "u"},
    "schema": {"response_format": SCHEMA},
    "class of a schema": {"response_format": Answer},
    "json": {"response_format": {"type": "json_object"}},
    "tools": {"tools": [TOOL]},
    "tool by name": {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "look_up"}},
        "parallel_tool_calls": False,
    },
    "no tool": {"tools": [TOOL], "tool_choice": "none"},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "several": {"n": 3},
    "several with tools": {"n": 2, "tools": [TOOL]},
    "reasoning": {"reasoning_effort": "low"},
    "repetition": {"rollout_id": 7, "temperature": 1.0},
}


@pytest.mark.parametrize("way", ["async", "sync"])
@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS.keys())
async def test_a_request_is_asked_answered_and_counted_alike(options: dict[str, Any], way: Way) -> None:
    """The bodies that reach the server are equal, and so is what comes of them."""
    async with served() as seen, both(seen) as (ours, dspys):
        first = await asked(ours, way, {"messages": MESSAGES, **options})
        half = len(seen.bodies)
        second = await asked(dspys, way, {"messages": MESSAGES, **options})
    assert first == second
    assert first[1]  # something was counted
    assert seen.bodies[:half] == seen.bodies[half:]
    assert set(seen.keys) == {f"Bearer {KEY}"}


@pytest.mark.parametrize("way", ["async", "sync"])
@pytest.mark.parametrize("long_way", [False, True], ids=["short way", "DSPy's way"])
async def test_conversations_pictures_and_tool_results_are_asked_alike(way: Way, long_way: bool) -> None:
    """All that a message may hold; and DSPy's own way around the engine asks the same."""
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"word": "a"}'}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "what is it"}, PICTURE]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
        {"role": "assistant", "content": "a word"},
        {"role": "user", "content": "again"},
    ]
    settings: dict[str, Any] = {"callbacks": [BaseCallback()]} if long_way else {}
    kwargs = {"messages": messages, "tools": [TOOL]}
    async with served() as seen, both(seen, temperature=0.2, max_tokens=50) as (ours, dspys):
        first = await asked(ours, way, kwargs, **settings)
        second = await asked(dspys, way, kwargs)
    assert first == second
    assert seen.bodies[0] == seen.bodies[1]


FAULTS = (
    *("empty", "length", "filter", "garbage", "shape", "cut"),
    *("400", "401", "403", "404", "408", "409", "413", "422", "429", "429:2.5", "429:date:20"),
    *("500", "502:7", "503", "529"),
)


@pytest.mark.parametrize("way", ["async", "sync"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_goes_wrong_is_told_alike(fault: str, way: Way) -> None:
    """Outputs of odd answers; class, figures and the code for the host of errors."""
    async with served(f"{fault},{fault}") as seen, both(seen) as (ours, dspys):
        first = await asked(ours, way, {"messages": MESSAGES})
        second = await asked(dspys, way, {"messages": MESSAGES})
    if fault == "429:date:20":  # counted from the moment of the reply, which differs
        for outcome in (first, second):
            assert 15 < outcome[0].pop("retry_after") <= 22
            outcome[0].pop("told")
    if fault == "shape":  # DSPy's own calls it unexpected and quotes it; the host gets the same code
        first, second = first[0]["told"][0], second[0]["told"][0]
    assert first == second
    assert len(seen.bodies) == 2


class QA(dspy.Signature):  # type: ignore[misc]
    """Answer."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Fields(dspy.Signature):  # type: ignore[misc]
    """Say something."""

    question: str = dspy.InputField()
    words: list[str] = dspy.OutputField()
    answer: str = dspy.OutputField()


def look_up(word: str, times: int) -> str:
    """Looks up."""
    return f"{word} {times}"


PROGRAMS: dict[str, Callable[[], Any]] = {
    "Predict": lambda: dspy.Predict(QA),
    "ChainOfThought": lambda: dspy.ChainOfThought(Fields),
    "several": lambda: dspy.Predict(QA, n=2, temperature=0.9),
    "ReAct": lambda: dspy.ReAct(QA, tools=[look_up], max_iters=2),
}
ADAPTERS: dict[str, Callable[[], Any]] = {
    "chat": dspy.ChatAdapter,
    "json": dspy.JSONAdapter,
    "xml": dspy.XMLAdapter,
    "native": lambda: dspy.ChatAdapter(use_native_function_calling=True),
}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("program", PROGRAMS)
async def test_programs_predict_alike(program: str, adapter: str) -> None:
    """Structured output and native calls included: what DSPy knows of the model holds for ours too."""
    async with served() as seen, both(seen) as (ours, dspys):
        outcomes: list[object] = []
        halves: list[int] = []
        for lm in (ours, dspys):
            with (
                dspy.context(lm=lm, adapter=ADAPTERS[adapter](), disable_history=True, trace=None),
                counting() as usage,
            ):
                module = PROGRAMS[program]()
                predicted = [
                    await module.acall(question="why?"),
                    await asyncio.to_thread(module, question="how?"),
                ]
            completions = [plain(one.completions._completions) for one in predicted if one.completions]
            outcomes.append(([one.toDict() for one in predicted], completions))
            halves.append(len(seen.bodies))
            assert lm is dspys or usage.lm_calls >= 2
    assert outcomes[0] == outcomes[1]
    assert seen.bodies[: halves[0]] == seen.bodies[halves[0] :]


@pytest.mark.parametrize("fault", ["ok", "length", "garbage", "shape", "cut", "429:1", "500", "401"])
@pytest.mark.parametrize("program", ["Predict", "ChainOfThought"])
async def test_streams_flow_and_end_alike(program: str, fault: str) -> None:
    """Each token, the prediction and its usage, or the error."""
    async with served(f"{fault},{fault},{fault},{fault}") as seen, both(seen) as (ours, dspys):
        outcomes = [await streamed(lm, PROGRAMS[program]()) for lm in (ours, dspys)]
    assert outcomes[0] == outcomes[1]


async def streamed(lm: dspy.LM, module: Any) -> object:
    """The items of a stream, and how it ended."""
    items: list[dict[str, object]] = []

    async def emit(item: dict[str, object]) -> None:
        if item["type"] == "token" and items and items[-1].get("field") == item["field"]:
            # How many pieces go together is a matter of who is faster.
            items[-1] |= {"text": f"{items[-1]['text']}{item['text']}", "last": item["last"]}
        else:
            items.append(item)

    with dspy.context(lm=lm, disable_history=True, trace=None):
        try:
            ended: object = (await run_streaming(module, {"question": "why?"}, emit)).toDict()
        except Exception as failure:  # whichever it is, both must have it
            ended = to_failure(failure).code
    return items, ended


@pytest.mark.parametrize("keep_history", [True, False])
async def test_a_typed_request_is_answered_alike(keep_history: bool) -> None:
    """DSPy's canonical requests go through the engine hook, with tools."""
    request = Request(
        model=f"openai/{MODEL}",
        messages=(Message.user("hi"),),
        tools=(FunctionTool(name="look_up", description="", parameters=TOOL["function"]["parameters"]),),  # type: ignore[index]  # pyright: ignore[reportArgumentType]
    )
    async with served() as seen, both(seen) as (ours, dspys):
        with dspy.context(disable_history=not keep_history):
            first, second = await ours.acall(request), await dspys.acall(request)
            third = await asyncio.to_thread(ours, request=request)
    assert first.tool_calls == second.tool_calls == third.tool_calls != ()
    assert (first.usage, first.finish_reason, first.model) == (
        second.usage,
        second.finish_reason,
        second.model,
    )
    assert seen.bodies[0] == seen.bodies[1] == seen.bodies[2]


async def test_history_is_kept_alike() -> None:
    """Where a program looks at it, the entries have the same messages, outputs and usage."""
    async with served() as seen, both(seen) as (ours, dspys):
        entries: list[list[object]] = []
        for lm in (ours, dspys):
            with dspy.context(disable_history=False):
                await lm.acall(messages=MESSAGES)
            entry = lm.history[-1]
            entries.append(
                [entry[name] for name in ("messages", "outputs", "usage", "model", "response_model", "cost")]
            )
    assert entries[0] == entries[1]


@pytest.mark.parametrize(
    "name", ["supports_function_calling", "supports_reasoning", "supports_response_schema"]
)
async def test_what_a_model_can_do_is_known_alike(name: str) -> None:
    """Adapters ask this before they use functions and schemas."""
    async with served() as seen, both(seen) as (ours, dspys):
        assert getattr(ours, name) == getattr(dspys, name)
        assert ours.supported_params == dspys.supported_params


@pytest.mark.parametrize("prefix", ["hosted_vllm", "ollama", "ollama_chat"])
async def test_local_servers_are_asked_alike(prefix: str) -> None:
    """VLLM and Ollama by their own names, without a key."""
    async with served() as seen:
        lms = LanguageModels(HostFunctions())
        lms.configure({"default": LMConfig(model=f"{prefix}/own", api_base=seen.base)}, {})
        ours = lms.get(None)
        assert isinstance(ours, ChatLM)
        dspys = dspy.LM(f"{prefix}/own", api_base=seen.base, cache=False, num_retries=0)
        options = {"temperature": 0.1, "max_tokens": 20, "stop": ["x"], "tools": [TOOL]}
        first = await asked(ours, "async", {"messages": MESSAGES, **options})
        second = await asked(dspys, "async", {"messages": MESSAGES, **options})
        await lms.aclose()
        await dspys.aclose()
    assert first == second
    assert seen.bodies[0] == seen.bodies[1]
    assert seen.keys[0] == seen.keys[1]


@pytest.mark.parametrize(
    "config",
    [
        LMConfig(model="anthropic/claude-x"),
        LMConfig(model="openai/gpt-4o", model_type="responses"),
        LMConfig(model="openai/gpt-4o", model_type="text"),
        LMConfig(model="openai/gpt-4o", engine="dspy"),
        LMConfig(model="openai/gpt-4o", options={"extra_headers": {"X-Team": "a"}}),
        LMConfig(model="groq/some"),
    ],
    ids=lambda config: f"{config.model} {config.model_type} {config.engine}",
)
async def test_everything_else_stays_with_dspy(config: LMConfig) -> None:
    """Ours is used only where it applies, and not where the host said so."""
    lms = LanguageModels(HostFunctions())
    lms.configure({"default": config}, {})
    assert not isinstance(lms.get(None), ChatLM)


async def test_an_address_in_the_environment_stays_with_dspy(monkeypatch: pytest.MonkeyPatch) -> None:
    """DSPy leaves such a gateway to LiteLLM; an address in the configuration goes before it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ambient-key-of-a-test")
    lms = LanguageModels(HostFunctions())
    lms.configure(
        {
            "listed": LMConfig(model="openai/gpt-4o"),
            "addressed": LMConfig(model="openai/gpt-4o", api_base="http://127.0.0.1:9/v1"),
        },
        {},
    )
    assert isinstance(lms.get("listed"), ChatLM)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    lms.configure({"again": LMConfig(model="openai/gpt-4o")}, {})
    assert not isinstance(lms.get("again"), ChatLM)
    lms.configure({"addressed": LMConfig(model="openai/gpt-4o", api_base="http://127.0.0.1:9/v1")}, {})
    assert isinstance(lms.get("addressed"), ChatLM)
