"""Modules whose `forward` is a function of the host, and the parts that it calls."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any, Final

import dspy
import pytest
from tests.support.servers import PREDICT, SIM, info, serving, wait_for, worker_pids
from tests.support.standing import Standing

from dspex_bridge.adapters.adapters import ADAPTERS
from dspex_bridge.lms.answering import AnsweringLM
from dspex_bridge.sim import SimModel, SimOptions, SimSource
from dspex_pool.client import Client
from dspex_protocol import DSPexError

PLAIN: Final = {
    "module": "Host",
    "signature": "question -> answer, n: int = 3",
    "options": {"forward": "forward"},
}
PARTS: Final = {
    "draft": {"module": "Predict", "signature": "question -> answer"},
    "check": {"module": "ChainOfThought", "signature": "answer -> good: bool, note"},
}
WITH_PARTS: Final = {
    "module": "Host",
    "signature": "question -> answer, note",
    "options": {"forward": "forward", "parts": PARTS},
}


class Forward:
    """A function of the host that drafts, has it checked, and gives both."""

    def __init__(self) -> None:
        self.client: Client
        self.between: Callable[[], Any] = lambda: None

    async def __call__(self, question: str) -> dict[str, object]:
        draft = await self.client.part("draft", {"question": question})
        told = self.between()
        if asyncio.iscoroutine(told):
            await told
        check = await self.client.part("check", {"answer": draft["answer"]})
        return {"answer": draft["answer"], "note": check["note"]}


async def outcome_of(client: Client, spec: object, **options: Any) -> Any:
    """The fields, or the code and message of the error."""
    try:
        return await client.predict(spec, {"question": "?"}, **options)  # type: ignore[arg-type]
    except DSPexError as failure:
        return failure.code, failure.message


@pytest.mark.slow
async def test_outputs_are_checked_against_the_signature(standing: Standing) -> None:
    """Each misfit is named; what may be left out has its default."""
    answers: list[object] = []

    def forward(question: str) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with standing.client(functions={"forward": forward}) as client:
        for answer, expected in (
            ({"answer": "a", "n": 4}, {"answer": "a", "n": 4}),
            ({"answer": "a"}, {"answer": "a", "n": 3}),
            ("a", "answer: expected a map of output field to value, got string 'a'"),
            ({}, "answer.answer: expected a value, got nothing"),
            ({"answer": 1}, "answer.answer: expected a valid string, got 1"),
            ({"answer": "a", "n": "4"}, "answer.n: expected a valid integer, got string '4'"),
            ({"answer": "a", "m": 4}, "answer: expected one of the fields answer, n, got unknown field 'm'"),
            (ValueError("the host's own mistake"), "the host's own mistake"),
        ):
            answers.append(answer)
            found = await outcome_of(client, PLAIN)
            if isinstance(expected, dict):
                assert expected == found
            else:
                assert "function_failed" == found[0]
                assert expected in found[1]


@pytest.mark.slow
async def test_a_forward_that_is_slow_or_not_offered(standing: Standing) -> None:
    """Typed, before or in time."""
    cancelled = asyncio.Event()

    async def forward(question: str) -> object:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()
        return {}

    async with standing.client(functions={"forward": forward}) as client:
        slow = {**PLAIN, "options": {"forward": {"function": "forward", "timeout_s": 0.05}}}
        assert "function_timeout" == (await outcome_of(client, slow))[0]
        await cancelled.wait()
        missing = {**PLAIN, "options": {"forward": "backward"}}
        code, message = await outcome_of(client, missing)
        assert "unknown_function" == code
        assert "spec.options.forward" in message


class Alone(dspy.Module):  # type: ignore[misc]
    """The same program in DSPy alone."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = dspy.Predict("question -> answer")
        self.check = dspy.ChainOfThought("answer -> good: bool, note")

    async def aforward(self, question: str) -> dspy.Prediction:
        draft = await self.draft.acall(question=question)
        check = await self.check.acall(answer=draft.answer)
        return dspy.Prediction(answer=draft.answer, note=check.note)


@pytest.mark.slow
async def test_a_program_of_the_hosts_is_that_of_dspy_alone(standing: Standing) -> None:
    """Fields, usage, trace and stream: its parts are predictors of the program, by name."""
    forward = Forward()
    async with standing.client(functions={"forward": forward}) as client:
        forward.client = client
        lm = AnsweringLM("sim/test", SimSource(SimModel(SimOptions(seed=7))))
        with dspy.context(lm=lm, adapter=ADAPTERS["chat"], disable_history=True, trace=None):
            alone = await Alone().acall(question="?")
        prediction = await client.prediction(WITH_PARTS, {"question": "?"}, trace=True)
        assert dict(alone.items()) == prediction.fields
        assert 2 == prediction.meta["lm_calls"]
        trace: Any = prediction.trace
        assert ["draft", "check.predict"] == [step["predictor"] for step in trace]
        stream = client.stream(WITH_PARTS, {"question": "?"}, events=["token", "value"])
        items: list[Any] = [item async for item in stream]
        await stream.result()
        texts = "".join(item["text"] for item in items if item["predictor"] == "draft")
        assert prediction.fields["answer"] == texts
        assert {"reasoning", "good", "note"} == {
            item["field"] for item in items if item["predictor"] == "check.predict"
        }


@pytest.mark.slow
async def test_what_its_parts_have_learned_is_state_of_the_program(standing: Standing) -> None:
    """Kept, changed by name, and used by the host's own calls."""
    forward = Forward()
    seen: list[str] = []

    def model(model: str, messages: list[dict[str, str]], config: object) -> str:
        seen.append(messages[0]["content"])
        return "\n".join(f"[[ ## {name} ## ]]\n{text}\n" for name, text in FIELDS.items())

    functions: dict[str, Callable[..., Any]] = {"forward": forward, "model": model}
    lms = {"default": {"model": "host/model"}}
    async with standing.client(functions=functions, lms=lms) as client:
        forward.client = client
        state = {"draft": {"instructions": "Draft like a pirate."}}
        created: Any = await client.call("program.create", {"spec": WITH_PARTS, "state": state})
        assert {"answer": "a", "note": "n"} == await client.predict(created["program"], {"question": "?"})
        assert "Draft like a pirate." in seen[0]
        assert "Draft like a pirate." not in seen[1]
        whole: Any = await client.call("program.get", {}, program=created["program"])
        assert {"draft", "check.predict"} == set(whole["state"])


FIELDS: Final = {"answer": "a", "reasoning": "r", "good": "True", "note": "n", "completed": ""}


@pytest.mark.slow
async def test_parts_are_called_only_from_their_forward(standing: Standing) -> None:
    """Elsewhere there are none; each refusal says what there is."""
    refusals: list[DSPexError] = []

    async def forward(question: str) -> dict[str, object]:
        for part, inputs, meta in (
            ("drafts", {"question": "?"}, {}),
            ("draft", {"query": "?"}, {}),
            ("draft", {"question": 3}, {}),
            ("draft", {"question": "?"}, {"program": "p"}),
        ):
            with pytest.raises(DSPexError) as refused:
                await client.part(part, inputs, **meta)
            refusals.append(refused.value)
        return {"answer": "a", "note": "n"}

    async def model(model: str, messages: object, config: object) -> str:
        await client.part("draft", {"question": "?"})
        return ""

    functions: dict[str, Callable[..., Any]] = {"forward": forward, "model": model}
    lms = {**SIM, "asks": {"model": "host/model"}}
    async with standing.client(functions=functions, lms=lms) as client:
        assert {"answer": "a", "note": "n"} == await client.predict(WITH_PARTS, {"question": "?"})
        assert [
            "part: expected one of the parts: draft, check, got string 'drafts'",
            "inputs.query: expected one of the fields question, got unknown field 'query'",
            "inputs.question: expected a valid string, got 3",
            "meta.program: expected nothing: a part is of the program that runs, got string 'p'",
        ] == [refusal.message for refusal in refusals]
        with pytest.raises(DSPexError, match=r"meta\.parent"):
            await client.part("draft", {"question": "?"})
        with pytest.raises(DSPexError, match="no module with parts calls this function"):
            await client.predict(PREDICT, {"question": "?"}, lm="asks")
        taken = {"forward": "forward", "parts": {"forward": PREDICT}}
        with pytest.raises(DSPexError, match=r"spec.options.parts.forward: .*that no module has"):
            await client.predict({**WITH_PARTS, "options": taken}, {"question": "?"})


def reward(inputs: dict[str, object], prediction: object) -> float:
    """Too little for any attempt."""
    return 0.0


@pytest.mark.slow
async def test_a_program_of_the_hosts_within_another_module(standing: Standing) -> None:
    """In a thread, several times; its parts stream there too."""
    forward = Forward()
    functions: dict[str, Callable[..., Any]] = {
        "forward": forward,
        "reward": reward,
    }
    best = {
        "module": "BestOfN",
        "options": {"module": WITH_PARTS, "N": 2, "reward_fn": "reward", "threshold": 1.0},
    }
    async with standing.client(functions=functions) as client:
        forward.client = client
        assert {"answer", "note"} == set(await client.predict(best, {"question": "?"}))
        stream = client.stream(best, {"question": "?"}, events=["token"])
        items: list[Any] = [item async for item in stream]
        await stream.result()
        assert {("module.draft", 1), ("module.draft", 2)} <= {
            (item["predictor"], item["run"]) for item in items
        }


@pytest.mark.slow
async def test_parts_of_a_worker_that_drains_run_there() -> None:
    """It takes no more calls, but for what it has."""
    forward = Forward()
    async with serving("--workers", "1", functions={"forward": forward}) as client:
        forward.client = client
        await wait_for(client, lambda now: now["ready_workers"] > 0)
        forward.between = lambda: client.call("pool.recycle", {})
        expected = await client.predict(WITH_PARTS, {"question": "?"})
        assert {"answer", "note"} == set(expected)
        assert 0 == (await info(client))["worker_deaths"]


@pytest.mark.slow
async def test_a_worker_that_dies_ends_the_program_and_its_part() -> None:
    """Typed, and neither is made again elsewhere."""

    async def forward(question: str) -> dict[str, object]:
        part = asyncio.ensure_future(client.part("draft", {"question": question}))
        await asyncio.sleep(0.2)
        for pid in await worker_pids(client):
            os.kill(pid, signal.SIGKILL)
        return await part

    slow = {"default": {"model": "sim/x", "options": {"latency_ms": 5000}}}
    async with serving("--workers", "1", functions={"forward": forward}, lms=slow) as client:
        with pytest.raises(DSPexError) as ended:
            await client.predict(WITH_PARTS, {"question": "?"})
        assert ("worker_died", True) == (ended.value.code, ended.value.maybe_executed)
