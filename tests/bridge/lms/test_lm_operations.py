"""Language models without a program: what goes in, what comes out, what it is said to cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy
import pytest
from dspy.clients._deprecation import adapter_message_call
from tests.support.asking import Asked, over_http, refusal

from dspex_protocol import LMConfig, Tagged, decode_value

PNG = b"\x89PNG\r\n\x1a\n"
ADD = {"name": "add", "desc": "Adds.", "args": {"a": {"type": "integer"}, "b": {"type": "integer"}}}


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
