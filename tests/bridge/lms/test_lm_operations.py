"""Language models without a program: what goes in, what comes out, what it is said to cost."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from dspy.clients._deprecation import adapter_message_call
from tests.support.fakes import read_frame

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.embedding import BATCH
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.operations import OPERATIONS, read_parameters
from dspex_bridge.sim import SimModel, SimOptions
from dspex_bridge.sim.server import build_app
from dspex_bridge.worker.calls import RunningCall
from dspex_protocol import DSPexError, LMConfig, Tagged, Tensor, decode_value

PNG = b"\x89PNG\r\n\x1a\n"
ADD = {"name": "add", "desc": "Adds.", "args": {"a": {"type": "integer"}, "b": {"type": "integer"}}}

HostAnswer = Callable[[str, Mapping[str, object]], object]


_made: list[LanguageModels] = []


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """No connection outlives its test."""
    yield
    while _made:
        await _made.pop().aclose()


class Asked:
    """A worker's language models, and a host whose one function is `answer`."""

    def __init__(self, answer: HostAnswer | None = None, **configs: LMConfig) -> None:
        self.args: dict[str, Any] = {}

        async def call_host(name: str, args: Mapping[str, object]) -> object:
            assert answer is not None
            self.args = dict(args)
            return answer(name, args)

        self.functions = HostFunctions(call_host, asyncio.get_running_loop())
        self.functions.configure(["answer"])
        self.lms = LanguageModels(self.functions)
        _made.append(self.lms)
        self.lms.configure({"default": LMConfig(model="sim/x"), **configs}, {})
        self.items: list[Any] = []
        self.call = RunningCall(1, {}, lambda frame: None)

    async def ask(self, method: str, *, credit: int = 0, **payload: object) -> Any:
        """What an operation answers; items are kept."""
        self.call = RunningCall(1, {"credit": credit}, lambda frame: self.items.append(read_frame(frame)))
        operation = OPERATIONS[method]
        parameters = read_parameters(operation, payload)
        worker = SimpleNamespace(lms=self.lms, functions=self.functions)
        result = operation.run(worker, self.call, parameters)
        return result if operation.inline else await result


async def refusal(asked: Asked, method: str, **payload: Any) -> DSPexError:
    """How a call is refused."""
    with pytest.raises(DSPexError) as refused:
        await asked.ask(method, **payload)
    return refused.value


@pytest.fixture
async def served() -> AsyncIterator[str]:
    """The offline model behind HTTP."""
    async with TestServer(build_app(SimModel(SimOptions()))) as server:
        yield str(server.make_url("/v1"))


def over_http(address: str, **more: Any) -> LMConfig:
    """The offline model as a provider's."""
    return LMConfig(model="openai/sim-x", api_base=address, **more)


@pytest.mark.parametrize("way", ["sim", "http"])
async def test_a_prompt_gives_what_dspy_gives(way: str, served: str) -> None:
    """The same texts and figures as an LM of DSPy alone, asked in Python."""
    config: dict[str, object] = {"n": 2, "temperature": 1.0}
    asked = Asked(default=LMConfig(model="sim/x") if way == "sim" else over_http(served))
    reply = await asked.ask("lm.generate", prompt="Why?", system="Be short.", config=config)
    alone = dspy.LM("openai/sim-x", api_base=served, api_key="none", cache=False, num_retries=0)
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}]
    with (
        dspy.context(disable_history=True),
        dspy.track_usage() as tracker,
        adapter_message_call(alone, messages),
    ):
        expected = await alone.acall(messages=messages, **config)
    counted = tracker.get_total_tokens()["openai/sim-x"]
    assert reply["completions"] == expected
    assert len(reply["completions"]) == 2
    assert (reply["usage"]["tokens_in"], reply["usage"]["tokens_out"]) == (
        counted["prompt_tokens"],
        counted["completion_tokens"],
    )
    assert (reply["lm"], reply["usage"]["lm"], reply["usage"]["lm_calls"]) == ("default", "default", 1)


async def test_a_prompt_in_the_ordinary_form_is_what_lm_of_a_text_is() -> None:
    """`lm("text")` of DSPy."""
    asked = Asked()
    with dspy.context(disable_history=True):
        expected = asked.lms.get(None)("Why?")
    assert (await asked.ask("lm.generate", prompt="Why?"))["completions"] == expected


@pytest.mark.parametrize("way", ["sim", "http"])
async def test_tools_are_called_and_answered(way: str, served: str) -> None:
    """An answer's message goes into the next conversation as it is."""
    asked = Asked(default=LMConfig(model="sim/x") if way == "sim" else over_http(served))
    messages: list[object] = [{"role": "user", "content": "How much is 1 and 2?"}]
    first = (await asked.ask("lm.chat", messages=messages, tools=[ADD]))["answers"][0]
    assert first["finish_reason"] == "tool_call"
    call = first["message"]["tool_calls"][0]
    assert call["name"] == "add"
    assert {"a", "b"} == call["args"].keys()
    assert all(type(value) is int for value in call["args"].values())
    result = {"role": "tool", "tool_call_id": call["id"], "content": "3"}
    reply = await asked.ask("lm.chat", messages=[*messages, first["message"], result], tools=[ADD])
    second = reply["answers"][0]
    assert second["finish_reason"] == "stop"
    assert second["message"]["content"].startswith("sim")
    assert "tool_calls" not in second["message"]


async def test_sim_models_answer_alike_in_the_worker_and_over_http(served: str) -> None:
    """The offline model is one, whichever way it is reached; so its calls of tools are the same."""
    asked = Asked(far=over_http(served))
    messages = [{"role": "user", "content": "Add."}]
    near, far = [
        await asked.ask("lm.chat", messages=messages, tools=[ADD], lm=lm, config={"temperature": 0.5})
        for lm in ("default", "far")
    ]
    assert near["answers"] == far["answers"]
    assert near["usage"]["tokens_in"] == far["usage"]["tokens_in"]


async def test_no_tool_is_called_where_the_caller_forbids_it() -> None:
    """`tool_choice` is a setting of the call."""
    asked = Asked()
    messages = [{"role": "user", "content": "Add."}]
    reply = await asked.ask("lm.chat", messages=messages, tools=[ADD], config={"tool_choice": "none"})
    assert "tool_calls" not in reply["answers"][0]["message"]


async def test_a_host_function_holds_a_conversation_with_media_and_tools() -> None:
    """It gets all of it in the protocol's own tags, and may want tools called."""

    def answer(name: str, args: Mapping[str, object]) -> object:
        return {"tool_calls": [{"name": "add", "args": {"a": 1, "b": 2}}], "tokens_in": 7, "tokens_out": 3}

    asked = Asked(answer, default=LMConfig(model="host/answer"))
    picture = Tagged("image", {"bytes": PNG})
    messages = [{"role": "user", "content": ["See ", picture]}]
    reply = await asked.ask("lm.chat", messages=messages, tools=[ADD])
    message = reply["answers"][0]["message"]
    assert message["tool_calls"] == [{"id": "call-1", "name": "add", "args": {"a": 1, "b": 2}}]
    assert asked.args["tools"][0]["name"] == "add"
    assert asked.args["tools"][0]["parameters"]["required"] == ["a", "b"]
    assert asked.args["must_call"] is False
    told = Tagged("image", {"bytes": PNG, "media_type": "image/png"})
    assert asked.args["messages"] == [{"role": "user", "content": ["See ", told]}]
    assert reply["usage"]["tokens_in"] == 7
    result = {"role": "tool", "tool_call_id": "call-1", "content": "3"}
    await asked.ask("lm.chat", messages=[*messages, message, result], tools=[ADD])
    calls, results = (entry["content"] for entry in asked.args["messages"][1:])
    assert calls == [Tagged("tool_calls", {"tool_calls": message["tool_calls"]})]
    assert results[0].value["tool_call_results"][0]["value"] == "3"


@pytest.mark.parametrize("way", ["sim", "http", "host"])
async def test_text_is_streamed_as_it_comes(way: str, served: str) -> None:
    """Items of one field, the last of them marked, together the whole text."""
    models = {
        "sim": LMConfig(model="sim/x"),
        "http": over_http(served),
        "host": LMConfig(model="host/answer"),
    }
    asked = Asked(lambda name, args: "all at once", default=models[way])
    reply = await asked.ask("lm.generate", prompt="Tell.", credit=1_000)
    items: list[Any] = [decode_value(frame.payload) for frame in asked.items]
    assert {item["type"] for item in items} == {"token"}
    assert {item["field"] for item in items} == {"text"}
    assert [item["last"] for item in items] == [False] * (len(items) - 1) + [True]
    assert "".join(item["text"] for item in items) == reply["completions"][0]


@pytest.mark.parametrize("way", ["sim", "http"])
async def test_calls_of_tools_and_every_answer_are_streamed(way: str, served: str) -> None:
    """Each call once, whole, as the reply has it; of all answers but the first with their number."""
    asked = Asked(default=LMConfig(model="sim/x") if way == "sim" else over_http(served))
    chat = {"messages": [{"role": "user", "content": "How much?"}], "config": {"n": 2, "temperature": 1.0}}
    reply = await asked.ask("lm.chat", credit=1_000, tools=[ADD], **chat)
    items: list[Any] = [decode_value(frame.payload) for frame in asked.items]
    calls = [item for item in items if item["type"] == "tool_call"]
    for number, answer in enumerate(reply["answers"]):
        streamed = [call for call in calls if call.get("completion", 0) == number]
        (wanted,) = answer["message"]["tool_calls"]
        assert [{"type": "tool_call", **wanted, **({"completion": number} if number else {})}] == streamed
    asked.items.clear()
    reply = await asked.ask("lm.generate", credit=1_000, prompt="Tell.", config=chat["config"])
    items = [decode_value(frame.payload) for frame in asked.items]
    texts = ["".join(item["text"] for item in items if item.get("completion", 0) == at) for at in (0, 1)]
    assert reply["completions"] == texts


@pytest.mark.parametrize(
    ("method", "payload", "field"),
    [
        ("lm.chat", {"messages": []}, "messages"),
        ("lm.chat", {"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role"),
        ("lm.chat", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("lm.chat", {"messages": [{"role": "user", "content": ["a", 1]}]}, "messages[0].content[1]"),
        ("lm.chat", {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        (
            "lm.chat",
            {"messages": [{"role": "user", "content": "x", "tool_call_id": "1"}]},
            "messages[0].tool_call_id",
        ),
        (
            "lm.chat",
            {"messages": [{"role": "user", "content": "x", "tool_calls": [{"id": "1", "name": "a"}]}]},
            "messages[0].tool_calls",
        ),
        (
            "lm.chat",
            {"messages": [{"role": "user", "content": [Tagged("image", {"bytes": b"no picture"})]}]},
            "messages[0].content[0].bytes",
        ),
        ("lm.chat", {"messages": [{"role": "user", "content": "x"}], "tools": [ADD, ADD]}, "tools[1].name"),
        (
            "lm.chat",
            {"messages": [{"role": "user", "content": "x"}], "tools": [{"name": "a b"}]},
            "tools[0].name",
        ),
        ("lm.generate", {"prompt": "x", "config": {"temperature": -1}}, "config.temperature"),
        ("lm.generate", {"prompt": "x", "config": {"api_base": "http://elsewhere"}}, "config.api_base"),
        ("lm.embed", {"texts": []}, "texts"),
        ("lm.embed", {"texts": ["x"], "config": {"dimensions": 0}}, "config.dimensions"),
        ("lm.test", {"timeout_s": 0}, "timeout_s"),
    ],
)
async def test_bad_input_is_named_by_its_path(method: str, payload: dict[str, object], field: str) -> None:
    """Before any model is asked."""
    refused = await refusal(Asked(), method, **payload)
    assert (refused.code, refused.details["field"]) == ("invalid_argument", field)


@pytest.mark.parametrize("method", ["lm.generate", "lm.chat", "lm.embed", "lm.test"])
async def test_an_unknown_name_is_refused_with_those_that_there_are(method: str) -> None:
    """As in predictions."""
    payload: dict[str, dict[str, object]] = {
        "lm.generate": {"prompt": "x"},
        "lm.chat": {"messages": [{"role": "user", "content": "x"}]},
        "lm.embed": {"texts": ["x"]},
        "lm.test": {},
    }
    refused = await refusal(Asked(), method, lm="absent", **payload[method])
    assert refused.code == "unknown_lm"
    assert "default" in refused.message


# Vectors


async def test_vectors_are_the_same_from_the_offline_model_and_its_endpoint(served: str) -> None:
    """One row for each text, of 32-bit floats, in order; also of more texts than go into a request."""
    asked = Asked(far=over_http(served))
    texts = [f"text {n % 7}" for n in range(BATCH + 3)]
    near, far = [await asked.ask("lm.embed", texts=texts, lm=lm) for lm in ("default", "far")]
    assert isinstance(near["vectors"], Tensor)
    assert (near["vectors"].dtype, near["vectors"].shape) == ("f4", (BATCH + 3, 64))
    assert near["vectors"] == far["vectors"]
    row = 4 * 64
    assert near["vectors"].data[:row] == near["vectors"].data[7 * row : 8 * row]
    assert near["vectors"].data[:row] != near["vectors"].data[row : 2 * row]
    assert near["usage"]["tokens_in"] == far["usage"]["tokens_in"] > 0


async def test_the_length_of_vectors_is_a_setting_of_the_call(served: str) -> None:
    """Both ways."""
    asked = Asked(far=over_http(served))
    for lm in ("default", "far"):
        made = await asked.ask("lm.embed", texts=["x"], lm=lm, config={"dimensions": 3})
        assert made["vectors"].shape == (1, 3)


@pytest.mark.parametrize(
    "given",
    [
        [[1.0, 2.0], [3.0, 4.0]],
        {"vectors": [[1, 2], [3, 4]], "tokens_in": 5},
        Tensor("f8", (2, 2), struct.pack("<4d", 1, 2, 3, 4)),
    ],
)
async def test_a_host_function_makes_vectors(given: object) -> None:
    """As arrays, or as a tensor."""
    asked = Asked(lambda name, args: given, default=LMConfig(model="host/answer"))
    made = await asked.ask("lm.embed", texts=["a", "b"])
    assert made["vectors"] == Tensor("f4", (2, 2), struct.pack("<4f", 1, 2, 3, 4))
    assert asked.args == {"model": "host/answer", "texts": ["a", "b"], "config": {}}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("text", "function_failed"),
        ({"vectors": 1}, "function_failed"),
        ([[1.0]], "lm_error"),
        ([[1.0], [1.0, 2.0]], "lm_error"),
        (Tensor("f4", (2,), bytes(8)), "function_failed"),
    ],
)
async def test_what_is_no_vectors_is_an_error(given: object, code: str) -> None:
    """And never a result that does not fit its texts."""
    asked = Asked(lambda name, args: given, default=LMConfig(model="host/answer"))
    assert (await refusal(asked, "lm.embed", texts=["a", "b"])).code == code


async def test_an_endpoints_refusals_are_the_errors_of_predictions() -> None:
    """By status, with the provider's word on when to come back, and none of its other words."""
    statuses = iter((401, 429, 500, 400, 404))

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response(
            {"error": {"message": "secret-of-the-provider"}},
            status=next(statuses),
            headers={"Retry-After": "7"},
        )

    app = web.Application()
    app.router.add_post("/v1/embeddings", refuse)
    codes = []
    async with TestServer(app) as server:
        asked = Asked(default=over_http(str(server.make_url("/v1"))))
        for _ in range(5):
            operation = OPERATIONS["lm.test"]
            asked.lms.configure(
                {"default": over_http(str(server.make_url("/v1")), model_type="embedding")}, {}
            )
            told = await asked.ask("lm.test")
            assert operation.method == "lm.test"
            assert not told["ok"]
            assert "secret-of-the-provider" not in str(told)
            codes.append(told["error"]["code"])
            if told["error"]["code"] == "lm_rate_limited":
                assert told["error"]["retry_after_ms"] == 7000
    assert codes == [
        "lm_auth",
        "lm_rate_limited",
        "lm_unavailable",
        "lm_invalid_request",
        "lm_invalid_request",
    ]


async def test_an_endpoint_is_asked_again_as_often_as_the_host_says() -> None:
    """What fails for a while only is tried again; what a key does not open is not."""
    seen: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(1)
        if len(seen) < 3:
            return web.json_response({}, status=503, headers={"Retry-After": "0"})
        return web.json_response({"data": [{"index": 0, "embedding": [1.0]}]})

    app = web.Application()
    app.router.add_post("/v1/embeddings", answer)
    async with TestServer(app) as server:
        asked = Asked(default=over_http(str(server.make_url("/v1")), num_retries=2))
        made = await asked.ask("lm.embed", texts=["x"])
    assert len(seen) == 3
    assert made["vectors"].shape == (1, 1)


async def test_what_makes_vectors_only_writes_nothing() -> None:
    """The host has said so; a prediction is refused before anything is sent."""
    asked = Asked(default=LMConfig(model="sim/x", model_type="embedding"))
    assert (await refusal(asked, "lm.generate", prompt="x")).details["field"] == "lm"
    assert (await asked.ask("lm.embed", texts=["x"]))["vectors"].shape == (1, 64)


# Trying one out


async def test_a_model_that_works_is_told_with_time_and_tokens() -> None:
    """One request was made."""
    told = await Asked().ask("lm.test")
    assert (told["ok"], told["lm"], told["model"]) == (True, "default", "sim/x")
    assert told["usage"]["lm_calls"] == 1
    assert told["latency_ms"] >= 0


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (LMConfig(model="sim/x", options={"error_rate": 1}), "lm_unavailable"),
        (LMConfig(model="sim/x", options={"latency_ms": 60_000}), "lm_timeout"),
        (LMConfig(model="openai/x", api_base="http://127.0.0.1:1/v1"), "lm_unavailable"),
        (LMConfig(model="openai/gpt-4o", api_key_env="DSPEX_TEST_ABSENT"), "lm_not_configured"),
        (LMConfig(model="host/absent"), "unknown_function"),
        (LMConfig(model="host/answer"), "function_failed"),
        (LMConfig(model="sim/x", options={"sed": 1}), "invalid_argument"),
    ],
)
async def test_what_does_not_work_is_a_result(config: LMConfig, code: str) -> None:
    """A failing provider is what was asked about, and no failure of the call."""
    asked = Asked(lambda name, args: 5, default=config)
    told = await asked.ask("lm.test", timeout_s=0.2 if code == "lm_timeout" else 10)
    assert (told["ok"], told["error"]["code"]) == (False, code)


# Listing them


async def test_a_list_tells_what_is_known_and_no_secret() -> None:
    """Neither the key, nor what may be one, nor the path of an address."""
    asked = Asked(
        big=LMConfig(
            model="openai/gpt-4o",
            api_base="https://user:hush-1@gate.test:8443/hush-2/v1",
            api_key_secret="k",
            temperature=0.5,
            options={"reasoning_effort": "low", "seed": 3, "note": "hush-3", "x_token": 4},
        ),
        own=LMConfig(model="host/answer", usd_per_million_in=1.5),
        gone=LMConfig(model="host/absent"),
        mistaken=LMConfig(model="openai/x", api_key_env="sk-hush-0123456789abcdef"),
        vectors=LMConfig(model="sim/v", model_type="embedding"),
    )
    asked.lms.configure(dict(asked.lms.configs), {"k": "hush-4"})
    rows = {row["name"]: row for row in await asked.ask("lm.list")}
    assert "hush" not in str(rows)
    assert list(rows) == ["big", "default", "gone", "mistaken", "own", "vectors"]
    big = rows["big"]
    assert (big["kind"], big["address"], big["key"]) == ("provider", "https://gate.test:8443", "secret k")
    assert big["parameters"] == {
        "temperature": 0.5,
        "num_retries": 0,
        "reasoning_effort": "low",
        "seed": 3,
        "note": None,
        "x_token": None,
    }
    assert big["prices"]["by"] == "dspy"
    assert big["prices"]["out"] > big["prices"]["in"] > 0
    assert big["limits"]["tokens_in"] > 0
    assert big["capabilities"]["function_calling"] is True
    assert rows["own"]["prices"] == {"in": 1.5, "out": 0.0, "by": "host"}
    assert (rows["own"]["by"], rows["default"]["by"]) == ("host", "worker")
    assert (rows["gone"]["usable"], rows["gone"]["problem"]["code"]) == (False, "unknown_function")
    assert rows["vectors"]["usable"]


@pytest.mark.slow
async def test_other_providers_make_vectors_by_litellm(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed; the same rows as from the endpoint itself."""
    pytest.importorskip("litellm")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    other = LMConfig(model="hosted_vllm/sim-x", api_base=served, model_type="embedding")
    asked = Asked(far=over_http(served), other=other)
    made = [await asked.ask("lm.embed", texts=["a", "b"], lm=lm) for lm in ("far", "other")]
    assert made[0]["vectors"] == made[1]["vectors"]
