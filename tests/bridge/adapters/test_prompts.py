"""The prompts that `signature.describe` tells are those that a prediction sends."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from tests.support.hops import worker_here
from tests.support.scripted import MODEL, Said, scripted_provider

SIGNATURE: Final = "question: str, k: int = 3 -> answer: str, score: float"
DEMO: Final[dict[str, object]] = {"question": "Who?", "k": 1, "answer": "Me.", "score": 0.5}
STATE: Final[dict[str, object]] = {"self": {"instructions": "Be terse.", "demos": [DEMO]}}
UNDER_THEIR_NAMES: Final = ("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format")
ANSWERS: Final = {
    "baml": '{"answer": "a", "score": 1}',
    "chat": "[[ ## answer ## ]]\na\n\n[[ ## score ## ]]\n1",
    "json": '{"answer": "a", "score": 1}',
    "xml": "<answer>a</answer><score>1</score>",
}


def sent(body: dict[str, Any]) -> dict[str, Any]:
    """What a provider got, as a prompt tells it."""
    config = {key: value for key, value in body.items() if key not in (*UNDER_THEIR_NAMES, "model")}
    parts = {key: body[key] for key in UNDER_THEIR_NAMES if key in body}
    return parts | ({"config": config} if config else {})


@pytest.mark.parametrize("adapter", sorted(ANSWERS))
async def test_the_requests_are_those_of_a_prediction(adapter: str) -> None:
    """With what the program has learned: of a signature, of a spec, and of a stored program."""
    spec = {"module": "Predict", "signature": SIGNATURE}
    inputs: dict[str, object] = {"question": "Why?", "k": 5}
    async with worker_here() as (hop, _):
        with scripted_provider(ANSWERS[adapter]) as provider:
            lm = {"model": MODEL, "api_base": provider.base, "api_key_secret": "key"}
            await hop.call("worker.configure", {"lms": {"default": lm}, "secrets": {"key": "sk-0123456789"}})
            record = await hop.call("program.build", {"spec": spec, "state": STATE})
            await hop.call("program.load", record, program="p", version=1)
            await hop.call("program.predict", {"inputs": inputs, "adapter": adapter}, program="p", version=1)
            (asked,) = provider.requests
        wish = {"adapter": adapter, "inputs": inputs}
        told = [
            await hop.call("signature.describe", {"signature": SIGNATURE, "state": STATE, **wish}),
            await hop.call("signature.describe", {"spec": spec, "state": STATE, **wish}),
            await hop.call("signature.describe", wish, program="p", version=1),
        ]
    for described in told:
        assert [{"predictor": "self", **sent(asked)}] == described["prompts"]
        assert ["answer", "score"] == [field["name"] for field in described["signature"]["outputs"]]


async def test_inputs_that_are_not_given_are_told_as_places() -> None:
    """But for those with a default."""
    async with worker_here() as (hop, _):
        described = await hop.call("signature.describe", {"signature": SIGNATURE, "adapter": "chat"})
    (prompt,) = described["prompts"]
    last = prompt["messages"][-1]
    assert "user" == last["role"]
    assert "[[ ## question ## ]]\n{question}\n" in last["content"]
    assert "[[ ## k ## ]]\n3\n" in last["content"]


WEATHER: Final[dict[str, object]] = {
    "name": "weather",
    "desc": "Tells the weather.",
    "args": {"city": {"type": "string"}},
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("structured", [True, False])
async def test_functions_schemas_and_settings_are_told_as_they_are_sent(
    native: bool, structured: bool
) -> None:
    """By the body that a provider got, with the provider's own means on and off."""
    options = {"use_native_function_calling": native, "structured_output": structured}
    wish = {
        "adapter": {"name": "json", "options": options | ({"parallel_tool_calls": True} if native else {})}
    }
    spec = {"module": "ReActV2", "signature": "question -> answer", "options": {"tools": [WEATHER]}}
    submit: dict[str, Any] = {"name": "submit", "args": {"answer": "rain"}}
    said = json.dumps({"next_thought": "t", "tool_calls": {"tool_calls": [submit]}})
    answer: Said = [(submit["name"], submit["args"])] if native else said
    async with worker_here() as (hop, _):
        with scripted_provider(answer) as provider:
            lm = {"model": MODEL, "api_base": provider.base, "api_key_secret": "key", "max_tokens": 99}
            offered = {"lms": {"default": lm}, "secrets": {"key": "sk-0123456789"}, "functions": ["weather"]}
            await hop.call("worker.configure", offered)
            payload = {"inputs": {"question": "Oslo?"}, "spec": spec, **wish}
            await hop.call("program.predict", payload)
            asked = provider.requests[0]
        described = await hop.call("signature.describe", payload)
    assert [{"predictor": "react", **sent(asked)}] == described["prompts"]
    assert native is ("tools" in asked)
    assert structured is ("response_format" in asked)
    assert 99 == described["prompts"][0]["config"]["max_completion_tokens"]


async def test_each_predictor_has_its_prompt() -> None:
    """Also where the program gives it its inputs, and with the tools that it offers."""
    options = {"tools": [WEATHER]}
    async with worker_here() as (hop, _):
        await hop.call("worker.configure", {"functions": ["weather"]})
        told: dict[str, Any] = {}
        for module in ("ReAct", "ReActV2"):
            spec = {"module": module, "signature": "question -> answer", "options": options}
            described = await hop.call("signature.describe", {"spec": spec, "inputs": {"question": "Oslo?"}})
            told[module] = {prompt["predictor"]: prompt["messages"] for prompt in described["prompts"]}
    assert ["react", "extract.predict"] == list(told["ReAct"])
    assert "{trajectory}" in told["ReAct"]["react"][-1]["content"]
    (react,) = told["ReActV2"].values()
    assert "Oslo?" in react[-1]["content"]
    assert "Tells the weather." in react[-1]["content"]


async def test_a_bare_signature_has_no_prompts() -> None:
    """Nobody asked for them."""
    async with worker_here() as (hop, _):
        described = await hop.call("signature.describe", {"signature": SIGNATURE})
    assert {"signature", "json_schema"} == set(described)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "signature"),
        ({"signature": "a -> b", "spec": {"module": "Predict", "signature": "a -> b"}}, "signature"),
        ({"signature": "a -> b: nothing", "adapter": "chat"}, "signature"),
        ({"signature": "a -> b", "inputs": {"c": 1}}, "inputs.c"),
        ({"signature": "a: int -> b", "inputs": {"a": "x"}}, "inputs.a"),
        ({"signature": "a -> b", "adapter": "yaml"}, "adapter"),
        ({"signature": "a -> b", "state": {"other": {}}}, "state.other"),
        ({"spec": {"module": "Nope", "signature": "a -> b"}}, "spec.module"),
    ],
)
async def test_what_is_wrong_is_named(payload: dict[str, object], field: str) -> None:
    """By its path."""
    async with worker_here() as (hop, _):
        refused = await hop.failure("signature.describe", payload)
    assert ("invalid_argument", field) == (refused.code, refused.details["field"])


async def test_a_model_is_named_as_for_a_prediction() -> None:
    """What it can do decides; of predictors with a model of their own, that one. Nobody is asked."""
    spec = {"module": "ReActV2", "signature": "question -> answer", "options": {"tools": [WEATHER]}}
    calling = {"name": "json", "options": {"use_native_function_calling": True}}
    gone = {"model": MODEL, "api_base": "http://127.0.0.1:9/v1", "api_key_secret": "key"}
    lms = {"default": {"model": "sim/test"}, "able": gone}
    async with worker_here() as (hop, _):
        offered = {"lms": lms, "secrets": {"key": "sk-0123456789"}, "functions": ["weather"]}
        await hop.call("worker.configure", offered)

        async def offers_functions(**more: object) -> bool:
            described = await hop.call("signature.describe", {"spec": spec, "adapter": calling, **more})
            return "tools" in described["prompts"][0]

        assert not await offers_functions()
        assert await offers_functions(lm="able")
        assert await offers_functions(state={"react": {"lm": "able"}})
        refused = await hop.failure("signature.describe", {"signature": SIGNATURE, "lm": "nobody"})
        assert ("unknown_lm", "lm") == (refused.code, refused.details["field"])


async def test_an_option_of_the_provider_alone_is_told() -> None:
    """DSPy's canonical form has no place for it, and yet it is sent."""
    options = {"config": {"odd": {"deep": 1}, "temperature": 0.5}}
    spec = {"module": "Predict", "signature": SIGNATURE, "options": options}
    async with worker_here() as (hop, _):
        described = await hop.call("signature.describe", {"spec": spec})
    assert options["config"] == described["prompts"][0]["config"]


async def test_where_no_model_is_configured_all_is_said_in_words() -> None:
    """As for a model without a provider's own means."""
    async with worker_here() as (hop, _):
        await hop.call("worker.configure", {})
        described = await hop.call("signature.describe", {"signature": SIGNATURE, "adapter": "json"})
    assert {"predictor", "messages"} == set(described["prompts"][0])
