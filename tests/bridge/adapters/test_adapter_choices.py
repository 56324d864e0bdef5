"""Adapters by program and by call, beside the same in DSPy alone: requests, answers and refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import dspy
import pytest
from dspy.adapters.baml_adapter import BAMLAdapter
from dspy.experimental import Citations
from tests.support.hops import Hop, worker_here
from tests.support.scripted import MODEL, Provider, Said, scripted_provider

from dspex_bridge.adapters.classes import adapter_classes, describe_adapters, reader_of
from dspex_bridge.signatures.signatures import build_signature
from dspex_protocol import CALL, REPLY, decode_value

TICKET: Final[dict[str, object]] = {
    "instructions": "Sort the ticket.",
    "inputs": [{"name": "ticket"}],
    "outputs": [
        {"name": "kind", "enum": ["bug", "wish"]},
        {"name": "urgency", "type": "int", "ge": 0, "le": 10},
        {"name": "parts", "type": "list[str]"},
    ],
}
INPUTS: Final[dict[str, object]] = {"ticket": "It <does> not start & smells."}
CHAT: Final = '[[ ## kind ## ]]\nbug\n\n[[ ## urgency ## ]]\n7\n\n[[ ## parts ## ]]\n["a", "b"]'
JSON: Final = '{"kind": "bug", "urgency": 7, "parts": ["a", "b"]}'
XML: Final = "<kind>bug</kind><urgency>7</urgency><parts><item>a</item><item>b</item></parts>"
FREE: Final = "It is a bug, quite urgent, about a and b."
CITATIONS: Final[list[Any]] = [Citations]
KEY: Final = "sk-test-0123456789abcdef"


def lms_of(provider: Provider) -> dict[str, object]:
    """The scripted model under two names."""
    config = {"model": MODEL, "api_base": provider.base, "api_key_secret": "key"}
    return {"default": config, "small": {**config, "temperature": 0.25}}


async def offer(hop: Hop, provider: Provider, functions: Sequence[str] = ()) -> None:
    await hop.call(
        "worker.configure",
        {"lms": lms_of(provider), "secrets": {"key": KEY}, "functions": list(functions)},
    )


def plain_lm(provider: Provider, **more: Any) -> dspy.LM:
    """The same in DSPy alone."""
    settings: dict[str, Any] = {"temperature": None, "max_tokens": None, "num_retries": 0, **more}
    return dspy.LM(MODEL, api_base=provider.base, api_key=KEY, cache=False, **settings)


def fields_of(prediction: Any) -> dict[str, Any]:
    found: dict[str, Any] = prediction.value["fields"]
    return found


Case = tuple[object, Callable[[Any], dspy.Adapter], list[Said]]
CASES: Final[dict[str, Case]] = {
    "chat": ("chat", lambda small: dspy.ChatAdapter(), [CHAT]),
    "chat that falls back": ("chat", lambda small: dspy.ChatAdapter(), ["nothing", JSON]),
    "json": ("json", lambda small: dspy.JSONAdapter(), [JSON]),
    "xml": ("xml", lambda small: dspy.XMLAdapter(), [XML]),
    "baml": ("baml", lambda small: BAMLAdapter(), [JSON]),
    "two steps": (
        {"name": "two_step", "options": {"extraction_model": "small"}},
        dspy.TwoStepAdapter,
        [FREE, CHAT],
    ),
    "json without native tools": (
        {"name": "json", "options": {"use_native_function_calling": False}},
        lambda small: dspy.JSONAdapter(use_native_function_calling=False),
        [JSON],
    ),
    "xml with native types": (
        {"name": "xml", "options": {"native_response_types": ["citations"], "parallel_tool_calls": True}},
        lambda small: dspy.XMLAdapter(native_response_types=CITATIONS, parallel_tool_calls=True),
        [XML],
    ),
}


async def alone(
    adapter: dspy.Adapter, provider: Provider, module: str = "Predict"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What DSPy answers without us, and what it asked."""
    with dspy.context(lm=plain_lm(provider), adapter=adapter, disable_history=True):
        prediction = await getattr(dspy, module)(build_signature(TICKET)).acall(**INPUTS)
    return prediction.toDict(), provider.asked


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("where", ["call", "program", "both"])
async def test_an_adapter_asks_and_reads_as_in_dspy_alone(name: str, where: str) -> None:
    """Each request to the last key of its body, and the answer; a call's choice goes before its program's."""
    choice, make, script = CASES[name]
    with scripted_provider(*script) as provider:
        expected, asked = await alone(make(plain_lm(provider, temperature=0.25)), provider)
    spec: dict[str, object] = {"module": "Predict", "signature": TICKET}
    payload: dict[str, object] = {"inputs": INPUTS}
    if where != "program":
        payload["adapter"] = choice
    if where != "call":
        spec["adapter"] = choice if where == "program" else {"name": "xml"}
    with scripted_provider(*script) as provider:
        async with worker_here() as (hop, _):
            await offer(hop, provider)
            await hop.call(
                "program.load", await hop.call("program.build", {"spec": spec}), program="p", version=1
            )
            prediction = await hop.call("program.predict", payload, program="p", version=1)
        assert asked == provider.asked
    assert expected == fields_of(prediction)
    assert len(asked) == prediction.value["usage"]["lm_calls"]
    assert 10 * len(asked) == prediction.value["usage"]["tokens_in"]


async def test_every_adapter_of_dspy_has_a_case() -> None:
    """So that one of a newer DSPy is not forgotten here."""
    chosen = [choice if isinstance(choice, str) else choice["name"] for choice, _, _ in CASES.values()]  # type: ignore[index]
    assert set(adapter_classes()) == set(chosen)


@pytest.mark.parametrize(("on", "sent"), [(True, True), (False, False)])
async def test_a_schema_of_the_answer_is_sent_or_not(on: bool, sent: bool) -> None:
    """Structured output on and off: the prompt is the same, and the answer too."""
    bodies: list[dict[str, Any]] = []
    with scripted_provider(JSON) as provider:
        async with worker_here() as (hop, _):
            await offer(hop, provider)
            for adapter in ("json", {"name": "json", "options": {"structured_output": on}}):
                prediction = await hop.call(
                    "program.predict",
                    {
                        "inputs": INPUTS,
                        "adapter": adapter,
                        "spec": {"module": "Predict", "signature": TICKET},
                    },
                )
                assert 7 == fields_of(prediction)["urgency"]
        bodies = provider.asked
    assert bodies[0]["messages"] == bodies[1]["messages"]
    assert "json_schema" == bodies[0]["response_format"]["type"]
    assert sent == ("response_format" in bodies[1])


WEATHER: Final[dict[str, object]] = {
    "name": "weather",
    "desc": "Tells the weather.",
    "args": {"city": {"type": "string"}},
}
TURNS: Final[list[Said]] = [[("weather", {"city": "Oslo"})], [("submit", {"answer": "rain"})]]
TEXT_TURNS: Final[list[Said]] = [
    f'{{"next_thought": "look", "tool_calls": {{"tool_calls": [{{"name": "{tool}", "args": {args}}}]}}}}'
    for tool, args in (("weather", '{"city": "Oslo"}'), ("submit", '{"answer": "rain"}'))
]


async def answered(hop: Hop, call: int, functions: Mapping[str, Any]) -> Any:
    """The end of a call whose functions of the host are these."""
    seen = 0
    while not any(frame.id == call and frame.kind != CALL for frame in hop.heard):
        await hop.hear()
        for frame in hop.heard[seen:]:
            if frame.kind == CALL:
                asked: Any = decode_value(frame.payload)
                await hop.say(REPLY, frame.id, None, {}, functions[asked["function"]](**asked["args"]))
        seen = len(hop.heard)
    return await hop.end(call)


@pytest.mark.parametrize(
    ("native", "script"), [(True, TURNS), (False, TEXT_TURNS)], ids=["native", "in the text"]
)
@pytest.mark.parametrize("name", ["json", "chat"])
async def test_an_agent_calls_its_tools_as_in_dspy_alone(native: bool, script: list[Said], name: str) -> None:
    """As functions of the provider, and as text: the requests, the history and the outcome."""
    if name == "chat" and not native:
        script = [_as_chat(str(said)) for said in script]
    make = {"json": dspy.JSONAdapter, "chat": dspy.ChatAdapter}[name]

    def weather(city: str) -> str:
        """Tells the weather."""
        return f"rain in {city}"

    with scripted_provider(*script) as provider:
        agent = dspy.ReActV2(build_signature("question -> answer"), tools=[weather])
        adapter = make(use_native_function_calling=native)
        with dspy.context(lm=plain_lm(provider), adapter=adapter, disable_history=True):
            expected = await agent.acall(question="Oslo?")
        asked = provider.asked
    spec = {
        "module": "ReActV2",
        "signature": "question -> answer",
        "options": {"tools": [WEATHER]},
        "adapter": {"name": name, "options": {"use_native_function_calling": native}},
    }
    with scripted_provider(*script) as provider:
        async with worker_here() as (hop, _):
            await offer(hop, provider, ["weather"])
            call = await hop.start("program.predict", {"spec": spec, "inputs": {"question": "Oslo?"}})
            prediction = await answered(hop, call, {"weather": weather})
        assert asked == provider.asked
    assert native == ("tools" in asked[0])
    assert "rain" == expected.answer == fields_of(prediction)["answer"]
    assert expected.termination_reason == fields_of(prediction)["termination_reason"]


def _as_chat(text: str) -> str:
    thought, calls = text[1:-1].split(", ", 1)
    return (
        f"[[ ## next_thought ## ]]\n{thought.split(': ')[1]}\n\n"
        f"[[ ## tool_calls ## ]]\n{calls.split(': ', 1)[1]}\n\n[[ ## completed ## ]]"
    )


# Refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "field", "told"),
    [
        ("yaml", "adapter", "one of the adapters baml, chat, json, two_step, xml"),
        ({"name": "yaml"}, "adapter.name", "one of the adapters baml, chat"),
        ({"name": "json", "options": {"x": 1}}, "adapter.options.x", "use_native_function_calling"),
        (
            {"name": "json", "options": {"use_native_function_calling": "yes"}},
            "adapter.options.use_native_function_calling",
            "a boolean",
        ),
        ({"name": "two_step"}, "adapter.options.extraction_model", "the name of a configured"),
        ("two_step", "adapter.options.extraction_model", "the name of a configured"),
        (
            {"name": "chat", "options": {"native_response_types": ["image"]}},
            "adapter.options.native_response_types",
            "citations, reasoning",
        ),
        ({"name": "chat", "options": {"callbacks": []}}, "adapter.options.callbacks", "one of the fields"),
        (
            {"name": "chat", "options": {"structured_output": True}},
            "adapter.options.structured_output",
            "one",
        ),
    ],
)
async def test_a_wrong_choice_is_refused_by_its_path(choice: object, field: str, told: str) -> None:
    """In a call, and in a spec under `spec`; what there is is told."""
    async with worker_here() as (hop, _):
        spec = {"module": "Predict", "signature": "question -> answer"}
        refused = await hop.failure(
            "program.predict", {"spec": spec, "inputs": {"question": "?"}, "adapter": choice}
        )
        assert ("invalid_argument", field) == (refused.code, refused.details["field"])
        assert told in str(refused.details["expected"])
        refused = await hop.failure("program.build", {"spec": {**spec, "adapter": choice}})
        assert ("invalid_argument", f"spec.{field}") == (refused.code, refused.details["field"])


async def test_a_model_that_an_option_names_is_looked_for_at_the_call() -> None:
    """A program may be older than the configuration, and be asked with another adapter meanwhile."""
    adapter = {"name": "two_step", "options": {"extraction_model": "gone"}}
    spec = {"module": "Predict", "signature": "question -> answer", "adapter": adapter}
    async with worker_here() as (hop, _):
        await hop.call(
            "program.load", await hop.call("program.build", {"spec": spec}), program="p", version=1
        )
        payload: dict[str, object] = {"inputs": {"question": "?"}}
        refused = await hop.failure("program.predict", payload, program="p", version=1)
        assert "unknown_lm" == refused.code
        assert "spec.adapter.options.extraction_model" == refused.details["field"]
        await hop.call("program.predict", {**payload, "adapter": "chat"}, program="p", version=1)


async def test_a_part_has_the_adapter_of_the_whole() -> None:
    """DSPy knows one adapter for all that runs within a call."""
    part = {"module": "Predict", "signature": "question -> answer", "adapter": "json"}
    async with worker_here() as (hop, _):
        refused = await hop.failure(
            "program.build", {"spec": {"module": "Majority", "options": {"module": part, "N": 3}}}
        )
        assert "spec.options.module.adapter" == refused.details["field"]


# Records, descriptions, streams ----------------------------------------------------------


async def test_a_program_is_stored_with_what_it_chose() -> None:
    """In one form, whichever was given; nothing where nothing was chosen."""
    spec: dict[str, object] = {"module": "Predict", "signature": "question -> answer"}
    async with worker_here() as (hop, _):
        record = await hop.call(
            "program.build", {"spec": {**spec, "adapter": "xml", "on_violation": {"retry": 2}}}
        )
        assert {"name": "xml", "options": {}} == record["spec"]["adapter"]
        assert {"retry": 2} == record["spec"]["on_violation"]
        await hop.call("program.load", record, program="p", version=1)
        revised = await hop.call(
            "program.revise", {"state": {"self": {"instructions": "New."}}}, program="p", version=1
        )
        assert record["spec"] == revised["spec"]
        record = await hop.call("program.build", {"spec": {**spec, "on_violation": "fail"}})
        assert {"module", "signature", "options"} == set(record["spec"])


async def test_the_adapters_are_described() -> None:
    """With what each takes, and whether it streams."""
    async with worker_here() as (hop, _):
        rows = (await hop.call("system.describe"))["adapters"]
    assert rows == describe_adapters()
    told = {row["name"]: row for row in rows}
    assert ["baml", "chat", "json", "two_step", "xml"] == list(told)
    assert {"type": "the name of a configured language model", "required": True} == {
        key: told["two_step"]["options"]["extraction_model"][key] for key in ("type", "required")
    }
    assert ["two_step"] == [name for name, row in told.items() if not row["streams"]]
    assert "structured_output" in told["baml"]["options"]
    assert "structured_output" not in told["chat"]["options"]


async def test_what_cannot_be_streamed_says_so() -> None:
    """Before a model is asked; and what can be streamed is."""
    assert {name for name, row in adapter_classes().items() if row.reader} == {"baml", "chat", "json", "xml"}
    assert reader_of(BAMLAdapter()) is reader_of(dspy.JSONAdapter())
    spec = {"module": "Predict", "signature": "question -> answer"}
    payload = {"spec": spec, "inputs": {"question": "?"}}
    async with worker_here() as (hop, _):
        two_step = {"name": "two_step", "options": {"extraction_model": "default"}}
        refused = await hop.failure("program.predict", {**payload, "adapter": two_step}, credit=100)
        assert ("invalid_argument", "adapter") == (refused.code, refused.details["field"])
        assert "baml, chat, json, xml" in refused.message
        for adapter in ("baml", "chat", "json", "xml"):
            call = await hop.start("program.predict", {**payload, "adapter": adapter}, credit=1_000)
            prediction = await hop.end(call)
            text = "".join(item["text"] for item in hop.items(call) if item["type"] == "token")
            assert fields_of(prediction)["answer"] == text
