"""Streams: joined tokens are the final text, slow callers cost nothing, cancel reaches the LM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from hypothesis import given
from hypothesis import strategies as st

from dspex_bridge.lms.answering import Answer, AnsweringLM, Question
from dspex_bridge.sim import SimModel, SimOptions, SimSource
from dspex_bridge.streams.fieldtext import ChatReader, JSONReader, Reader, XMLReader
from dspex_bridge.streams.streaming import run_streaming
from dspex_bridge.worker.mailbox import MAX_WAITING_CHARACTERS
from dspex_protocol import DSPexError

CHAT = dspy.ChatAdapter(use_json_adapter_fallback=False)
JSON = dspy.JSONAdapter()
XML = dspy.XMLAdapter(use_json_adapter_fallback=False)


class Two(dspy.Signature):  # type: ignore[misc]
    """Answer twice."""

    question: str = dspy.InputField()
    first: str = dspy.OutputField()
    count: int = dspy.OutputField()
    second: str = dspy.OutputField()


class Script:
    """A source that gives the pieces it was made with, and tells when it is stopped."""

    def __init__(self, *pieces: str, then: asyncio.Event | None = None) -> None:
        self.pieces = pieces
        self.then = then
        self.given = 0
        self.waiting = asyncio.Event()
        self.stopped = asyncio.Event()

    def ask(self, question: Question) -> Answer:
        raise AssertionError("only streams are asked for")

    async def aask(self, question: Question) -> Answer:
        raise AssertionError("only streams are asked for")

    def stream(self, question: Question) -> Any:
        yield from (*self.pieces, Answer("".join(self.pieces)))

    async def astream(self, question: Question) -> AsyncGenerator[str | Answer]:
        try:
            for piece in self.pieces:
                await asyncio.sleep(0)
                self.given += 1
                yield piece
            if self.then is not None:
                self.waiting.set()
                await self.then.wait()
            yield Answer("".join(self.pieces))
        finally:
            self.stopped.set()


def sim(**options: Any) -> AnsweringLM:
    """An offline LM."""
    return AnsweringLM("sim/x", SimSource(SimModel(SimOptions(**options))))


async def streamed(
    lm: dspy.LM, program: dspy.Module, adapter: dspy.Adapter = CHAT
) -> tuple[dspy.Prediction, list[dict[str, object]]]:
    """A prediction and its items."""
    items: list[dict[str, object]] = []

    async def emit(item: dict[str, object]) -> None:
        items.append(dict(item))

    with dspy.context(lm=lm, adapter=adapter, disable_history=True, trace=None):
        return await run_streaming(program, {"question": "why?"}, emit), items


def text_of(items: list[dict[str, object]], field: str) -> str:
    """The joined tokens of a field."""
    return "".join(str(item["text"]) for item in items if item.get("field") == field)


@pytest.mark.asyncio
@pytest.mark.parametrize("token_chars", [1, 3, 7, 40, 4096])
@pytest.mark.parametrize("adapter", [CHAT, JSON, XML], ids=["chat", "json", "xml"])
async def test_joined_tokens_are_the_final_text(adapter: dspy.Adapter, token_chars: int) -> None:
    """However the provider cuts its answer; each field ends once, and reasoning streams too."""
    for seed in range(8):
        prediction, items = await streamed(
            sim(seed=seed, token_chars=token_chars), dspy.ChainOfThought(Two), adapter
        )
        for field in ("reasoning", "first", "second"):
            assert text_of(items, field) == prediction[field]
            assert [item["last"] for item in items if item.get("field") == field].count(True) == 1
        assert text_of(items, "count") == ""


@pytest.mark.asyncio
async def test_tokens_come_while_the_answer_grows() -> None:
    """The first tokens are there before the LM is done."""
    done = asyncio.Event()
    lm = AnsweringLM("sim/x", Script("[[ ## first ## ]]\n", "one ", "two", then=done))
    seen: list[str] = []

    async def emit(item: dict[str, object]) -> None:
        seen.append(str(item.get("text", "")))
        if "two" in "".join(seen):
            done.set()

    with dspy.context(lm=lm, adapter=CHAT, disable_history=True, trace=None):
        await run_streaming(dspy.Predict("question -> first"), {"question": "?"}, emit)
    assert "".join(seen) == "one two"


@pytest.mark.asyncio
async def test_a_slow_caller_gets_joined_tokens_and_holds_the_answer_back() -> None:
    """Without credit the text waits in one item, and beyond the limit the LM is not read on."""
    pieces = ["x" * 1000] * 200
    script = Script("[[ ## first ## ]]\n", *pieces)
    credit, items = asyncio.Event(), []

    async def emit(item: dict[str, object]) -> None:
        await credit.wait()
        items.append(dict(item))

    with dspy.context(lm=AnsweringLM("sim/x", script), adapter=CHAT, disable_history=True, trace=None):
        running = asyncio.ensure_future(
            run_streaming(dspy.Predict("question -> first"), {"question": "?"}, emit)
        )
        for _ in range(1000):
            await asyncio.sleep(0)
        assert MAX_WAITING_CHARACTERS <= script.given * 1000 <= MAX_WAITING_CHARACTERS + 3000
        credit.set()
        prediction = await running
    assert text_of(items, "first") == prediction.first == "x" * 200_000
    assert len([item for item in items if item["type"] == "token"]) < 200


@pytest.mark.asyncio
async def test_cancelling_ends_the_request_to_the_lm() -> None:
    """Nobody pays for tokens that nobody reads."""
    script = Script("[[ ## first ## ]]\n", "one", then=asyncio.Event())
    with dspy.context(lm=AnsweringLM("sim/x", script), adapter=CHAT, disable_history=True, trace=None):
        running = asyncio.ensure_future(
            run_streaming(dspy.Predict("question -> first"), {"question": "?"}, _ignore)
        )
    await script.waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert script.stopped.is_set()


async def _ignore(item: dict[str, object]) -> None:
    """Takes everything."""


@pytest.mark.asyncio
async def test_a_caller_that_fails_ends_the_run() -> None:
    """The error is the caller's, and the LM is stopped."""
    script = Script("[[ ## first ## ]]\n", "one", then=asyncio.Event())

    async def emit(item: dict[str, object]) -> None:
        raise ConnectionError("gone")

    lm = AnsweringLM("sim/x", script)
    settings = dspy.context(lm=lm, adapter=CHAT, disable_history=True, trace=None)
    with settings, pytest.raises(ConnectionError, match="gone"):
        await run_streaming(dspy.Predict("question -> first"), {"question": "?"}, emit)
    assert script.stopped.is_set()


@pytest.mark.asyncio
async def test_status_tells_modules_and_lms_in_order() -> None:
    """Start and end of each, with its name."""
    _, items = await streamed(sim(), dspy.ChainOfThought("question -> answer"))
    told = [(item["stage"], item["event"], item["name"]) for item in items if item["type"] == "status"]
    assert told == [
        ("module", "start", "ChainOfThought"),
        ("module", "start", "predict"),
        ("lm", "start", "sim/x"),
        ("lm", "end", "sim/x"),
        ("module", "end", "predict"),
        ("module", "end", "ChainOfThought"),
    ]


@pytest.mark.asyncio
async def test_a_program_without_async_form_streams_from_its_thread() -> None:
    """Its callbacks run there as well."""

    class Plain(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.answerer = dspy.Predict(Two)

        def forward(self, question: str) -> dspy.Prediction:
            return self.answerer(question=question)

    prediction, items = await streamed(sim(token_chars=3), Plain())
    assert text_of(items, "second") == prediction.second
    assert {item["predictor"] for item in items if item["type"] == "token"} == {"answerer"}


@pytest.mark.asyncio
async def test_an_answer_that_does_not_fit_fails_after_its_tokens() -> None:
    """What was shown cannot be taken back by asking again in another format."""
    lm = AnsweringLM(
        "sim/x", Script("[[ ## first ## ]]\none\n[[ ## count ## ]]\nmany\n[[ ## second ## ]]\ntwo\n")
    )
    with pytest.raises(AdapterParseError):
        await streamed(lm, dspy.Predict(Two), dspy.ChatAdapter())


@pytest.mark.asyncio
async def test_a_text_field_that_came_as_something_else_comes_whole() -> None:
    """JSON answers may hold a number where text was asked for."""
    lm = AnsweringLM("sim/x", Script('{"first": 12, "count": 1, ', '"second": "b"}'))
    prediction, items = await streamed(lm, dspy.Predict(Two), JSON)
    assert text_of(items, "first") == prediction.first == "12"


@pytest.mark.asyncio
async def test_an_adapter_that_cannot_stream_is_refused() -> None:
    """Before anything is asked."""
    with pytest.raises(DSPexError) as refusal:
        await streamed(sim(), dspy.Predict(Two), dspy.TwoStepAdapter(sim()))
    assert refusal.value.details["field"] == "adapter"


def read_in(reader: Reader, answer: str, size: int) -> dict[str, str]:
    """What a reader makes of an answer in pieces."""
    texts = [text for at in range(0, len(answer), size) for text in reader.feed(answer[at : at + size])]
    joined: dict[str, str] = {}
    for field, text, _ in [*texts, *reader.close()]:
        joined[field] = joined.get(field, "") + text
    return joined


SIZES = st.integers(1, 9)
ODD_PARTS = [*'ab [#]\n\r\t\x0b\u2028\\"{}<>&;é😀', "\r\n", "x\r\ny"]
ODD = st.lists(st.sampled_from(ODD_PARTS), max_size=30).map("".join)


class Texts(dspy.Signature):  # type: ignore[misc]
    """Answer in text only."""

    question: str = dspy.InputField()
    first: str = dspy.OutputField()
    second: str = dspy.OutputField()


@given(ODD, ODD, SIZES)
def test_chat_text_is_what_the_adapter_parses(first: str, second: str, size: int) -> None:
    """Odd line breaks, half headers and white space included."""
    answer = f"noise\n[[ ## first ## ]]\n{first}\n\n[[ ## second ## ]] {second}\n[[ ## completed ## ]]\n"
    parsed = CHAT.parse(Texts, answer)
    assert read_in(ChatReader(["first", "second"]), answer, size) == parsed


@given(st.text(max_size=40), ODD, SIZES, st.booleans())
def test_json_text_is_what_the_adapter_parses(first: str, second: str, size: int, ascii_only: bool) -> None:
    """Escapes, pairs of surrogates, nested values and keys of the same name included."""
    value = {"first": first, "other": [{"first": second, "n": [1, "]"]}], "second": second}
    answer = json.dumps(value, ensure_ascii=ascii_only, indent=1)
    read = read_in(JSONReader(["first", "second"]), answer, size)
    assert read == {"first": first, "second": second}


@given(ODD, ODD, SIZES)
def test_xml_text_is_what_the_adapter_parses(first: str, second: str, size: int) -> None:
    """Entities, line breaks and white space included."""
    # DSPy's own writer leaves "]]>" as it is, which no parser of XML takes.
    first, second = (text.replace("\x0b", "").replace("]]>", "") for text in (first, second))
    outputs = {"first": first, "second": second}
    answer = XML.format_assistant_message_content(Texts, outputs)
    assert read_in(XMLReader(["first", "second"]), answer, size) == XML.parse(Texts, answer)
