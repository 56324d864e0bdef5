"""`lm.generate`, `lm.chat`, `lm.embed`, `lm.test`, `lm.list`: language models without a program."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Annotated, Any, Final

import dspy
from dspy.clients._deprecation import adapter_message_call

from dspex_protocol.errors import DSPexError, error
from dspex_protocol.records import Doc, Length, Range

from ..failures import redact_failure, to_failure
from ..modules.tool_descriptions import ToolDescription
from ..refusals import refusal
from ..rows import Nothing, Operation, Worker
from ..worker.calls import RunningCall
from .answering import CountingLM
from .conversation import Message, answer_of, messages_for_dspy, tools_for_dspy
from .descriptions import describe_lms
from .lms import DEFAULT, LanguageModels
from .recording import recording
from .request_config import check_config
from .streaming import ask_streaming
from .usage import Usage, counting
from .vectorizing import vectorize

MAX_TEXTS: Final = 8_192
"""In one `lm.embed`: with the longest vectors that is a frame of 100 MB, and most make less."""

_TEST_PROMPT: Final = "Answer with the word yes."
_TEST_TOKENS: Final = 16  # what providers take for the least

_LM = Annotated[str, Doc("a configured LM; default: the one named default")]
_CONFIG = Annotated[dict[str, object], Doc("LM settings for this call, such as temperature")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """A text to go on from."""

    prompt: str
    system: Annotated[str, Doc("what the model is told beforehand")] | None = None
    lm: _LM | None = None
    config: _CONFIG = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A conversation to go on with."""

    messages: Annotated[list[Message], Length(1, 4_096)]
    tools: Annotated[list[ToolDescription], Length(0, 128), Doc("what the model may want called")] = field(
        default_factory=list[ToolDescription]
    )
    lm: _LM | None = None
    config: _CONFIG = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed:
    """Texts to be made vectors of."""

    texts: Annotated[list[str], Length(1, MAX_TEXTS)]
    lm: _LM | None = None
    config: Annotated[dict[str, object], Doc("of the embedding, such as dimensions")] = field(
        default_factory=dict[str, object]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A language model to be tried."""

    lm: _LM | None = None
    timeout_s: Annotated[float, Range(0.001, 600), Doc("after which it counts as lm_timeout")] = 10.0


async def generate(worker: Worker, call: RunningCall, what: Generate) -> object:
    """A prompt to completions; with credit, as a stream."""
    system = [] if what.system is None else [{"role": "system", "content": what.system}]
    messages = [*system, {"role": "user", "content": what.prompt}]
    answers = await _ask(worker.lms.get(what.lm), call, messages, what.config)
    return answers.told(
        completions=[answer["message"]["content"] or "" for answer in answers.answers],
        finish_reasons=[answer.get("finish_reason") for answer in answers.answers],
    )


async def chat(worker: Worker, call: RunningCall, what: Chat) -> object:
    """A conversation to answers, which may be calls of tools; with credit, as a stream."""
    messages = messages_for_dspy(what.messages)
    lm = worker.lms.get(what.lm)
    answers = await _ask(lm, call, messages, what.config, tools_for_dspy(what.tools))
    return answers.told(answers=answers.answers)


async def embed(worker: Worker, call: RunningCall, what: Embed) -> object:
    """Texts to vectors."""
    source, account = worker.lms.embedder(what.lm)
    config = check_config(what.config)
    _check_dimensions(config)
    vectors = await vectorize(source, account, what.texts, config, call.usage)
    return {"vectors": vectors, "lm": what.lm or DEFAULT, "usage": call.usage.meta()}


async def try_out(worker: Worker, call: RunningCall, what: Try) -> object:
    """Ask for as little as can be; what goes wrong with the model or its provider is the result."""
    config = worker.lms.config_of(what.lm)  # an unknown name is a mistake of the caller's
    works = _embed if config.model_type == "embedding" else _say
    told: dict[str, object] = {"lm": what.lm or DEFAULT, "model": config.model}
    started_s = perf_counter()
    try:
        async with asyncio.timeout(what.timeout_s):
            with counting(call.usage):
                await works(worker.lms, what.lm, call.usage)
    except TimeoutError:
        failure = error("lm_timeout", f"{config.model} did not answer in {what.timeout_s:g} s")
        return {**told, **_failed(failure, started_s, call.usage)}
    except Exception as reason:  # that is what was asked for
        return {**told, **_failed(to_failure(reason), started_s, call.usage)}
    return {**told, "ok": True, "latency_ms": _since(started_s), "usage": call.usage.meta()}


def list_lms(worker: Worker, call: RunningCall, nothing: Nothing) -> object:
    """All that are configured."""
    return describe_lms(worker.lms)


@dataclass(frozen=True, slots=True)
class _Answers:
    answers: list[dict[str, Any]]
    model: str | None
    name: str
    usage: Usage

    def told(self, **what: object) -> dict[str, object]:
        """As a reply."""
        return {**what, "lm": self.name, "model": self.model, "usage": self.usage.meta()}


async def _ask(
    lm: CountingLM,
    call: RunningCall,
    messages: list[dict[str, Any]],
    config: dict[str, object],
    tools: Sequence[dict[str, Any]] = (),
) -> _Answers:
    """Ask as an adapter of DSPy's would."""
    checked = check_config(config)
    if tools:
        if "tools" in checked:
            raise refusal("config.tools", "nothing beside tools", "a second list")
        checked["tools"] = list(tools)
    ask = _asking(lm, messages, checked)
    with counting(call.usage), recording() as heard, dspy.context(disable_history=True, trace=None):
        outputs = await (ask_streaming(ask, call.emit) if call.wants_items else ask())
    reasons = [*heard.finish_reasons, *[None] * len(outputs)]
    answers = [answer_of(output, reason) for output, reason in zip(outputs, reasons, strict=False)]
    return _Answers(answers, heard.model, lm.account.label, call.usage)


def _asking(lm: CountingLM, messages: list[dict[str, Any]], config: dict[str, Any]) -> Callable[[], Any]:
    async def ask() -> list[Any]:
        with adapter_message_call(lm, messages):
            outputs: list[Any] = await lm.acall(messages=messages, **config)
            return outputs

    return ask


async def _say(lms: LanguageModels, name: str | None, usage: Usage) -> None:
    lm = lms.get(name)
    with dspy.context(disable_history=True, trace=None):
        await lm.acall(prompt=_TEST_PROMPT, max_tokens=_TEST_TOKENS)


async def _embed(lms: LanguageModels, name: str | None, usage: Usage) -> None:
    source, account = lms.embedder(name)
    await vectorize(source, account, [_TEST_PROMPT], {}, usage)


def _failed(failure: DSPexError, started_s: float, usage: Usage) -> dict[str, object]:
    redact_failure(failure)
    told = {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
        "retry_after_ms": failure.retry_after_ms,
        "details": failure.details,
    }
    return {"ok": False, "latency_ms": _since(started_s), "usage": usage.meta(), "error": told}


def _since(started_s: float) -> float:
    return round((perf_counter() - started_s) * 1000, 3)


def _check_dimensions(config: dict[str, Any]) -> None:
    wanted = config.get("dimensions")
    if wanted is not None and (type(wanted) is not int or not 1 <= wanted <= 65_536):
        raise refusal("config.dimensions", "an integer from 1 to 65536", repr(wanted)[:32])


LM_OPERATIONS: Final = (
    Operation(
        method="lm.generate",
        parameters=Generate,
        run=generate,
        doc="Has a language model complete a prompt; with credit, streams its text.",
    ),
    Operation(
        method="lm.chat",
        parameters=Chat,
        run=chat,
        doc="Has a language model answer a conversation, maybe by calls of tools; with credit, streams.",
    ),
    Operation(method="lm.embed", parameters=Embed, run=embed, doc="Makes vectors of texts."),
    Operation(
        method="lm.test",
        parameters=Try,
        run=try_out,
        doc="Tries a language model with a tiny request; what goes wrong is the result.",
    ),
    Operation(
        method="lm.list",
        parameters=Nothing,
        run=list_lms,
        inline=True,
        doc="The configured language models, with all that is known of them but secrets.",
    ),
)
