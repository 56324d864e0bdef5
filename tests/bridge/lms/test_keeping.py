"""What is kept of a call's requests to language models: what was asked for, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import dspy
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY
from tests.bridge.sim.test_sim_server import sim_lm
from tests.support.hops import Hop, worker_here, worker_process

from dspex_bridge.lms import keeping
from dspex_bridge.lms.keeping import level_of
from dspex_bridge.worker.serve import WorkerProcess

LMS: Final[dict[str, Any]] = {"default": {"model": "sim/one", "options": {"seed": 1}}}
BROKEN: Final[dict[str, Any]] = {"default": {"model": "sim/none", "options": {"error_rate": 1.0}}}
SPEC: Final = {"module": "ChainOfThought", "signature": "question -> answer"}
MARK: Final = "CANARY-5c1f"


@pytest.fixture(autouse=True)
def nothing_of_other_tests() -> None:
    """Who runs DSPy by itself in this process fills its list."""
    GLOBAL_HISTORY.clear()


async def predicted(hop: Hop, question: str = "x", **more: Any) -> dict[str, Any]:
    prediction = await hop.call("program.predict", {"inputs": {"question": question}, "spec": SPEC, **more})
    parts: dict[str, Any] = prediction.value
    return parts


def kept(hop: Hop) -> list[Any]:
    """The requests of each call that the worker told of."""
    return [note.value for note in hop.notes("call.history")]


def keeping_as(worker: WorkerProcess, level: keeping.Level) -> None:
    worker.history = level


async def test_nothing_is_told_of_a_call_unless_it_is_wanted() -> None:
    """Nor with its prediction, nor in any list of DSPy's."""
    async with worker_here(LMS) as (hop, worker):
        assert "requests" not in await predicted(hop)
        assert "requests" not in await predicted(hop, history=False)
        assert [] == kept(hop) == GLOBAL_HISTORY == worker.lms.get(None).history


async def test_a_call_may_ask_for_its_own_requests() -> None:
    """Then they come with the prediction, and the supervisor is told; without texts."""
    async with worker_here(LMS) as (hop, worker):
        parts = await predicted(hop, MARK, history=True)
        (request,) = parts["requests"]
        assert [parts["requests"]] == kept(hop)
        assert ("predict", "default", "sim/one") == (
            request["predictor"],
            request["lm"],
            request["model"],
        )
        assert (["question"], ["reasoning", "answer"]) == (request["inputs"], request["outputs"])
        assert ["system", "user"] == [message["role"] for message in request["messages"]]
        assert all({"role", "characters"} == message.keys() for message in request["messages"])
        assert request["messages"][1]["characters"] > len(MARK)
        assert [{"characters"}] == [set(answer) for answer in request["answers"]]
        assert "stop" == request["finish_reason"]
        assert (parts["usage"]["tokens_in"], parts["usage"]["tokens_out"]) == (
            request["tokens_in"],
            request["tokens_out"],
        )
        assert request["ms"] >= 0
        assert request["error"] is None
        assert [] == GLOBAL_HISTORY == worker.lms.get(None).history
        assert [{"call": 2, "outcome": "ok"}] == [note.meta for note in hop.notes("call.history")]


async def test_texts_are_those_that_dspy_sends_and_gets() -> None:
    """To the letter, where the server was started so; but for keys."""
    adapter = dspy.ChatAdapter()
    alone: Any = dspy.ChainOfThought("question -> answer")
    written = adapter.format(alone.predict.signature, [], {"question": "?"})
    async with worker_here(LMS) as (hop, worker):
        keeping_as(worker, "texts")
        parts = await predicted(hop, "?")
        assert "requests" not in parts
        ((request,),) = kept(hop)
        assert [(message["role"], message["content"]) for message in written] == [
            (message["role"], message["text"]) for message in request["messages"]
        ]
        (answer,) = request["answers"]
        assert len(answer["text"]) == answer["characters"]
        assert str(parts["fields"]["answer"]) in answer["text"]
        await predicted(hop, "sk-" + "a" * 24)
        assert "sk-" + "a" * 24 not in str(kept(hop)[1])


async def test_to_be_watched_changes_nothing() -> None:
    """The same prediction and the same figures, with an item as without."""
    async with worker_here(LMS) as (hop, worker):
        plain = await predicted(hop)
        streamed = await hop.call("program.predict", {"inputs": {"question": "x"}, "spec": SPEC}, credit=1000)
        keeping_as(worker, "texts")
        watched = await predicted(hop)
        call = await hop.start(
            "program.predict", {"inputs": {"question": "x"}, "spec": SPEC, "history": True}, credit=1000
        )
        watched_stream = await hop.end(call)
        assert hop.items(call)
    assert plain["fields"] == watched["fields"] == watched_stream.value["fields"] == streamed.value["fields"]
    assert [1] == [len(watched_stream.value["requests"])]
    counts = ("lm_calls", "tokens_in", "tokens_out")
    assert [plain["usage"][name] for name in counts] == [watched["usage"][name] for name in counts]


async def test_a_call_that_fails_is_told_too() -> None:
    """With the code of each request's error and of its own; one that may be left out is left out."""
    async with worker_here(BROKEN) as (hop, worker):
        keeping_as(worker, "redacted")
        failure = await hop.failure("program.predict", {"inputs": {"question": MARK}, "spec": SPEC})
        (note,) = hop.notes("call.history")
        assert failure.code == note.meta["outcome"]
        assert {failure.code} == {request["error"] for request in note.value}
        assert MARK.encode() not in hop.raw
        await hop.failure("program.predict", {"inputs": {"question": MARK}, "spec": SPEC, "history": False})
        await hop.failure("program.predict", {"inputs": {}, "spec": SPEC})  # nobody was asked
        assert 1 == len(hop.notes("call.history"))


async def test_requests_from_threads_have_their_predictors() -> None:
    """Also such as copies of a program's parts make."""
    spec = {"module": "Majority", "signature": None, "options": {"module": SPEC, "N": 3}}
    async with worker_here(LMS) as (hop, worker):
        keeping_as(worker, "redacted")
        await hop.call("program.predict", {"inputs": {"question": "x"}, "spec": spec})
        (requests,) = kept(hop)
    assert ["module.predict"] * 3 == [request["predictor"] for request in requests]
    assert all(request["tokens_in"] for request in requests)


async def test_calls_at_once_do_not_mix() -> None:
    """Each has its own."""
    async with worker_here(LMS) as (hop, worker):
        keeping_as(worker, "texts")
        calls = [
            await hop.start("program.predict", {"inputs": {"question": f"q{n}q"}, "spec": SPEC})
            for n in range(8)
        ]
        for call in calls:
            await hop.end(call)
        told: dict[Any, str] = {note.meta["call"]: str(note.value) for note in hop.notes("call.history")}
    assert set(calls) == told.keys()
    for n, call in enumerate(calls):
        assert f"q{n}q" in told[call]
        assert not any(f"q{m}q" in told[call] for m in range(8) if m != n)


async def test_dspys_own_client_tells_why_an_answer_ended() -> None:
    """And what it cost in tokens, as the provider counted them."""
    with sim_lm() as address:
        lms = {"default": {"model": "openai/small", "api_base": address}}
        async with worker_here(lms) as (hop, worker):
            keeping_as(worker, "redacted")
            parts = await predicted(hop)
            ((request,),) = kept(hop)
            assert [] == GLOBAL_HISTORY == worker.lms.get(None).history
            await worker.lms.aclose()
    assert "stop" == request["finish_reason"]
    assert parts["usage"]["tokens_in"] == request["tokens_in"] > 0


async def test_what_is_kept_of_a_call_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In requests, in the length of a text, and in all; the newest stay."""
    monkeypatch.setattr(keeping, "MAX_REQUESTS", 2)
    monkeypatch.setattr(keeping, "MAX_TEXT_CHARACTERS", 10)
    spec = {"module": "Majority", "signature": None, "options": {"module": SPEC, "N": 3}}
    async with worker_here(LMS) as (hop, worker):
        keeping_as(worker, "texts")
        await hop.call("program.predict", {"inputs": {"question": "x"}, "spec": spec})
        assert 2 == len(kept(hop)[0])
        message = kept(hop)[0][0]["messages"][0]
        assert 10 == len(message["text"]) < message["characters"]
        monkeypatch.setattr(keeping, "MAX_KEPT_BYTES", 10)
        await predicted(hop)
        assert [] == kept(hop)[1]


async def test_media_are_counted() -> None:
    """And not written down."""
    png = {"bytes": b"\x89PNG\r\n\x1a\n" + bytes(64)}
    spec = {"module": "Predict", "signature": "picture: image -> answer"}
    async with worker_here(LMS) as (hop, worker):
        keeping_as(worker, "texts")
        await hop.call("program.predict", {"inputs": {"picture": png}, "spec": spec})
        ((request,),) = kept(hop)
    assert 1 == request["messages"][-1]["media"]
    assert "base64" not in str(request)


@pytest.mark.parametrize(
    ("given", "level"), [("off", "off"), ("redacted", "redacted"), ("texts", "texts"), ("all", "off")]
)
def test_the_level_is_the_supervisors(given: str, level: str) -> None:
    """What nobody knows is off."""
    assert level == level_of({"DSPEX_HISTORY": given})
    assert "off" == level_of({})


# Canaries ----------------------------------------------------------------------------------


async def looked_through(level: str) -> tuple[list[str], bytes]:
    """What a worker has in memory of prompts after calls, and all that it wrote."""
    environment = {"DSPEX_HISTORY": level, "PYTHONWARNINGS": "ignore"}
    async with worker_process(LMS, plugins="plugin_heap", environment=environment) as (hop, process):
        for more in ({}, {"trace": True}, {"history": True}, {"adapter": "json"}):
            await predicted(hop, MARK, **more)
        call = await hop.start("program.predict", {"inputs": {"question": MARK}, "spec": SPEC}, credit=1000)
        await hop.end(call)
        await hop.failure("program.predict", {"inputs": {"question": MARK, "more": MARK}, "spec": SPEC})
        for _ in range(20):  # what is left of a call in buffers goes with the next ones
            await predicted(hop, "y" * 200)
            await asyncio.sleep(0)
        places = await hop.call("heap.find", {"backwards": MARK[::-1]})
        notes = b"".join(note.payload for note in hop.notes("call.history"))
        assert process.stderr is not None
        process.kill()
        return places, notes + process.stderr.read()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["off", "redacted"])
async def test_nothing_of_a_prompt_stays(level: str) -> None:
    """In the worker's memory, in what it tells the supervisor to keep, or on stderr."""
    places, said = await looked_through(level)
    assert [] == places
    assert MARK.encode() not in said


@pytest.mark.slow
async def test_texts_are_told_and_forgotten() -> None:
    """Where the host said so at the start: the worker keeps none either. And the canary can be seen."""
    places, said = await looked_through("texts")
    assert [] == places
    assert MARK.encode() in said


@pytest.mark.slow
async def test_the_search_finds_what_is_there() -> None:
    """Else the tests above would say nothing."""
    state = {"predict": {"instructions": MARK}}
    async with worker_process(LMS, plugins="plugin_heap") as (hop, _):
        record = await hop.call("program.build", {"spec": SPEC, "state": state})
        await hop.call("program.load", record, program="p", version=1, build=True)
        assert [] != await hop.call("heap.find", {"backwards": MARK[::-1]})
