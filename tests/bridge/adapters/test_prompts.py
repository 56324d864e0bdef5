"""The prompts that `signature.describe` tells are those that a prediction sends."""

from __future__ import annotations

from typing import Any, Final

import pytest
from tests.support.hops import worker_here
from tests.support.scripted import MODEL, scripted_provider

SIGNATURE: Final = "question: str, k: int = 3 -> answer: str, score: float"
DEMO: Final[dict[str, object]] = {"question": "Who?", "k": 1, "answer": "Me.", "score": 0.5}
STATE: Final[dict[str, object]] = {"self": {"instructions": "Be terse.", "demos": [DEMO]}}
ANSWERS: Final = {
    "baml": '{"answer": "a", "score": 1}',
    "chat": "[[ ## answer ## ]]\na\n\n[[ ## score ## ]]\n1",
    "json": '{"answer": "a", "score": 1}',
    "xml": "<answer>a</answer><score>1</score>",
}


@pytest.mark.parametrize("adapter", sorted(ANSWERS))
async def test_the_messages_are_those_of_a_prediction(adapter: str) -> None:
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
        assert [{"predictor": "self", "messages": asked["messages"]}] == described["prompts"]
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


async def test_each_predictor_has_its_prompt() -> None:
    """Also where the program gives it its inputs, and with the tools that it offers."""
    weather = {"name": "weather", "desc": "Tells the weather.", "args": {"city": {"type": "string"}}}
    options = {"tools": [weather]}
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
