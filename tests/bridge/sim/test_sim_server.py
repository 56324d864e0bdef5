"""The offline model over HTTP, through DSPy's real client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import aiohttp
import dspy
import pytest
from dspy.utils.exceptions import LMRateLimitError

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.lms.usage import counting
from dspex_bridge.sim.model import SimModel, SimOptions
from dspex_bridge.streams.streaming import run_streaming
from dspex_protocol import LMConfig

pytestmark = pytest.mark.asyncio


class QA(dspy.Signature):  # type: ignore[misc]
    """Answer."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


@contextmanager
def sim_lm(*options: str) -> Generator[str]:
    """A server process; gives its api_base."""
    command = [sys.executable, "-m", "dspex_bridge", "sim-lm", "--until-eof", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["api_base"]
        finally:
            process.stdin.close()
            assert process.wait(timeout=10) == 0


@pytest.fixture(scope="module")
def api_base() -> Iterator[str]:
    """A server for the tests that need nothing special."""
    with sim_lm("--seed", "3", "--token-chars", "5") as base:
        yield base


def expected_answer() -> str:
    """What the model itself answers."""
    messages = dspy.ChatAdapter().format(QA, [], {"question": "hi"})
    text = SimModel(SimOptions(seed=3)).answer([(entry["role"], entry["content"]) for entry in messages]).text
    return str(dspy.ChatAdapter().parse(QA, text)["answer"])


async def test_dspys_client_gets_the_models_answer_both_ways(api_base: str) -> None:
    """Sync and async, the answer is the one without HTTP."""
    lm = dspy.LM("openai/sim", api_base=api_base, api_key="none", cache=False, num_retries=0)
    with dspy.context(lm=lm):
        answers = [
            dspy.Predict(QA)(question="hi").answer,
            (await dspy.Predict(QA).acall(question="hi")).answer,
        ]
    await lm.aclose()
    assert answers == [expected_answer()] * 2


async def test_a_self_hosted_model_streams_and_is_counted(api_base: str) -> None:
    """An LM by configuration: tokens joined are the answer, usage comes with the stream."""
    lms = LanguageModels(HostFunctions())
    lms.configure({"default": LMConfig(model="openai/sim", api_base=api_base)}, {})
    items: list[dict[str, object]] = []

    async def emit(item: dict[str, object]) -> None:
        items.append(item)

    lm = lms.get(None)
    with dspy.context(lm=lm, disable_history=True, trace=None), counting() as usage:
        prediction = await run_streaming(dspy.Predict(QA), {"question": "hi"}, emit)
    await lms.aclose()
    assert "".join(str(item["text"]) for item in items if item["type"] == "token") == prediction.answer
    assert prediction.answer == expected_answer()
    assert usage.lm_calls == 1
    assert usage.tokens_in > 100
    assert usage.tokens_out > 5


async def test_beyond_the_rate_limit_dspy_sees_429_and_when_to_come_back() -> None:
    """The bucket holds one request; the second is refused."""
    with sim_lm("--rate-limit-per-s", "0.1") as base:
        lm = dspy.LM("openai/sim", api_base=base, api_key="none", cache=False, num_retries=0)
        with dspy.context(lm=lm):
            await dspy.Predict(QA).acall(question="hi")
            with pytest.raises(LMRateLimitError) as refusal:
                await dspy.Predict(QA).acall(question="hi")
        await lm.aclose()
    assert refusal.value.status == 429
    assert refusal.value.retry_after is not None
    assert 5 < refusal.value.retry_after <= 10


async def test_embeddings_are_unit_vectors_that_repeat(api_base: str) -> None:
    """The same text has the same vector, another text another one."""
    async with aiohttp.ClientSession() as session:
        body = {"model": "sim", "input": ["a", "a", "b"]}
        async with session.post(f"{api_base}/embeddings", json=body) as response:
            first, second, third = [row["embedding"] for row in (await response.json())["data"]]
    assert sum(value * value for value in first) == pytest.approx(1)
    assert first == second
    assert first != third


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"messages": []}', b'{"messages": ["x"]}'])
async def test_a_bad_request_is_told_so(api_base: str, body: bytes) -> None:
    """Nothing that a client sends brings the server down or gets a 500."""
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{api_base}/chat/completions", data=body) as response:
            assert response.status == 400
            assert (await response.json())["error"]["message"].startswith("sim: ")
        async with session.get(f"{api_base}/models") as response:
            assert response.status == 200
