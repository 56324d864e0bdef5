"""A `dspy.LM` around something that answers by itself: an offline model, a host function.

DSPy calls such a thing an engine. Its engine path converts each request to a canonical
form and crosses to a thread twice, which costs more than the rest of a prediction; where
a call uses none of what that path adds (streaming, retries, history, callbacks, several
completions, media), `AnsweringLM` goes to the source directly, with the same result.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import dspy
from dspy.lm15 import (
    FunctionTool,
    Message,
    Request,
    Response,
    StreamDeltaEvent,
    StreamEndEvent,
    StreamStartEvent,
    TextDelta,
    TextPart,
    ThinkingDelta,
    ThinkingPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
)
from dspy.utils.exceptions import LMUnexpectedError

from dspex_protocol.errors import DSPexError

from .accounts import UNNAMED, Account
from .content import Content, content_of, text_of
from .journal import Journal, journal_of
from .recording import heard, is_recording, listening
from .usage import RequestTimer, Tracker, current_usage


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that the model may want called; `parameters` is a JSON Schema."""

    name: str
    desc: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Question:
    """A request: role and content of each message, and the options that came with it.

    Attributes:
        tools: Those that may be called now.
        must_call: The model is to call one, and not to write.
    """

    model: str
    messages: Sequence[tuple[str, Content]]
    config: Mapping[str, object] = field(default_factory=dict[str, object])
    tools: Sequence[OfferedTool] = ()
    must_call: bool = False

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Role and text of each message; a picture is a short word in it."""
        return [(role, text_of(content)) for role, content in self.messages]

    @property
    def temperature(self) -> float | None:
        """The sampling temperature asked for, if any."""
        return cast("float | None", self.config.get("temperature"))

    @property
    def response_schema(self) -> dict[str, object] | None:
        """The JSON schema of `response_format`, if one came."""
        response_format = self.config.get("response_format")
        if not isinstance(response_format, Mapping):
            return None
        holder = cast("Mapping[str, Any]", response_format)
        schema = cast("Mapping[str, Any]", holder.get("json_schema") or holder).get("schema")
        return cast("dict[str, object]", schema) if isinstance(schema, dict) else None


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A tool that a model wants called."""

    id: str
    name: str
    args: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; token counts where the source knows them."""

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    calls: Sequence[WantedCall] = ()
    reasoning: str = ""

    @property
    def finish_reason(self) -> Literal["tool_call", "stop"]:
        """Why it ends, in DSPy's words."""
        return "tool_call" if self.calls else "stop"


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what a model thinks before it answers."""

    text: str


Piece: TypeAlias = str | Reasoning | Answer
"""Of a streamed answer: text or reasoning that was added, and at the end the whole."""


class Source(Protocol):
    """Something that answers. `stream` and `astream` yield what was added, and then the whole."""

    def ask(self, question: Question) -> Answer:
        """Answer; may block this thread."""
        ...

    async def aask(self, question: Question) -> Answer:
        """Answer without blocking the loop."""
        ...

    def stream(self, question: Question) -> Generator[Piece]:
        """Answer in pieces; may block this thread."""
        ...

    def astream(self, question: Question) -> AsyncGenerator[Piece]:
        """Answer in pieces."""
        ...


# Options that say how to answer, not how DSPy is to run the request.
_PLAIN_OPTIONS: Final = frozenset(("temperature", "max_tokens", "top_p", "stop", "seed"))


class CountingLM(dspy.LM):
    """A `dspy.LM` that counts its requests, their time and their cost into the call's usage.

    Attributes:
        account: To whom they are put down; copies of an LM share it.
        journal: What answers in its place, within a job; copies share it too.
    """

    account: Account = UNNAMED
    journal: Journal | None = None

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As `dspy.LM`."""
        journal = journal_of(self)
        if journal is not None:
            return journal.ask(self, prompt, messages, kwargs)
        with self._counting():
            return super().__call__(prompt, messages=messages, **kwargs)

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As `dspy.LM`."""
        journal = journal_of(self)
        if journal is not None:
            return await journal.aask(self, prompt, messages, kwargs)
        with self._counting():
            return await super().acall(prompt, messages=messages, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> CountingLM:
        return self  # nothing in it changes, and what it asks with cannot be copied

    def update_history(self, entry: Any) -> None:
        """Take what only DSPy's history is told, and keep what would be kept."""
        if heard(entry, self.account):
            super().update_history(entry)

    @contextmanager
    def _counting(self) -> Generator[None]:
        timer = RequestTimer(self.account)
        tracker = Tracker(dspy.settings.usage_tracker, self.account)
        try:
            with listening(self.account), dspy.context(usage_tracker=tracker):
                yield
        finally:
            timer.stop()


class AnsweringLM(CountingLM):
    """A `dspy.LM` around a source."""

    def __init__(self, model: str, source: Source, **kwargs: Any) -> None:
        super().__init__(
            model, cache=False, engine=Engine(source), async_engine=AsyncEngine(source), **kwargs
        )
        self._source = source

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As `dspy.LM`, by the short way where that gives the same."""
        journal = journal_of(self)
        if journal is not None:
            return journal.ask(self, prompt, messages, kwargs)
        question = self._plain_question(messages, kwargs) if prompt is None else None
        try:
            if question is None:
                return super().__call__(prompt, messages=messages, **kwargs)
            timer = RequestTimer(self.account)
            try:
                return [_counted(self._source.ask(question), self.account)]
            finally:
                timer.stop()
        except LMUnexpectedError as wrapped:
            raise _cause(wrapped) from None

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As `dspy.LM`, by the short way where that gives the same."""
        journal = journal_of(self)
        if journal is not None:
            return await journal.aask(self, prompt, messages, kwargs)
        question = self._plain_question(messages, kwargs) if prompt is None else None
        try:
            if question is None:
                return await super().acall(prompt, messages=messages, **kwargs)
            timer = RequestTimer(self.account)
            try:
                return [_counted(await self._source.aask(question), self.account)]
            finally:
                timer.stop()
        except LMUnexpectedError as wrapped:
            raise _cause(wrapped) from None

    def _plain_question(self, messages: Any, kwargs: dict[str, Any]) -> Question | None:
        """The question, if nothing of DSPy's own path is needed to ask it."""
        settings = dspy.settings
        if (
            not messages
            or not settings.disable_history
            or settings.send_stream is not None
            or settings.callbacks
            or settings.usage_tracker is not None
            or self.callbacks
            or self.num_retries
            or is_recording()
        ):
            return None
        config = {name: value for name, value in {**self.kwargs, **kwargs}.items() if value is not None}
        if not config.keys() <= _PLAIN_OPTIONS:
            return None
        # More than role and content is about calls of tools.
        if not all(len(message) == 2 and type(message["content"]) is str for message in messages):
            return None
        texts = [(message["role"], message["content"]) for message in messages]
        return Question(self.model, texts, config)


def _counted(answer: Answer, account: Account) -> str | dict[str, str]:
    usage = current_usage()
    if usage is not None and answer.tokens_in is not None:
        usage.add_tokens(answer.tokens_in, answer.tokens_out or 0, account)
    # As DSPy gives an answer that has reasoning beside its text.
    return {"text": answer.text, "reasoning_content": answer.reasoning} if answer.reasoning else answer.text


def _cause(wrapped: LMUnexpectedError) -> Exception:
    """DSPy calls every error of an engine unexpected; ours are not."""
    return wrapped.__cause__ if isinstance(wrapped.__cause__, DSPexError) else wrapped


class Engine:
    """What `dspy.LM(engine=…)` wants, around a source; may block its thread."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def complete(self, request: Request) -> Response:
        """Answer one request."""
        return _response(request, self._source.ask(_question(request)))

    def stream(self, request: Request) -> Iterator[Any]:
        """Answer in DSPy's stream events."""
        yield StreamStartEvent(id=_new_id(), model=request.model)
        with closing(self._source.stream(_question(request))) as pieces:
            for piece in pieces:
                yield from _events(piece)


class AsyncEngine:
    """What `dspy.LM(async_engine=…)` wants, around a source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def complete(self, request: Request) -> Response:
        """Answer one request."""
        return _response(request, await self._source.aask(_question(request)))

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        """Answer in DSPy's stream events."""
        yield StreamStartEvent(id=_new_id(), model=request.model)
        # Closed with this, since what answers may have to be told that nobody listens any more.
        async with aclosing(self._source.astream(_question(request))) as pieces:
            async for piece in pieces:
                for event in _events(piece):
                    yield event


_numbers = itertools.count()


def _new_id() -> str:
    return f"dspex-{os.getpid()}-{next(_numbers)}"


def _events(piece: Piece) -> Iterator[Any]:
    if isinstance(piece, Reasoning):
        yield StreamDeltaEvent(delta=ThinkingDelta(text=piece.text, part_index=0))
        return
    if isinstance(piece, str):
        yield StreamDeltaEvent(delta=TextDelta(text=piece, part_index=0))
        return
    for at, call in enumerate(piece.calls, 1):
        arguments = json.dumps(call.args)
        yield StreamDeltaEvent(
            delta=ToolCallDelta(input=arguments, part_index=at, id=call.id, name=call.name)
        )
    yield StreamEndEvent(finish_reason=piece.finish_reason, usage=_usage(piece))


def _response(request: Request, answer: Answer) -> Response:
    calls = [
        ToolCallPart(id=call.id, name=call.name, input=cast("Any", dict(call.args))) for call in answer.calls
    ]
    thoughts = [ThinkingPart(answer.reasoning)] if answer.reasoning else []
    texts = [TextPart(answer.text)] if answer.text or not calls else []
    return Response(
        id=_new_id(),
        model=request.model,
        message=Message.assistant([*thoughts, *texts, *calls]),
        finish_reason=answer.finish_reason,
        usage=_usage(answer),
    )


def _usage(answer: Answer) -> Usage:
    if answer.tokens_in is None or answer.tokens_out is None:
        return Usage()
    return Usage(
        input_tokens=answer.tokens_in,
        output_tokens=answer.tokens_out,
        total_tokens=answer.tokens_in + answer.tokens_out,
    )


_CONFIG_OPTIONS: Final = ("temperature", "max_tokens", "top_p", "stop", "seed", "response_format")


def _question(request: Request) -> Question:
    messages: list[tuple[str, Content]] = []
    if request.system is not None:
        parts = request.system
        messages.append(("system", parts if isinstance(parts, str) else content_of(parts)))
    messages.extend((message.role, content_of(message.parts)) for message in request.messages)
    options = {name: getattr(request.config, name) for name in _CONFIG_OPTIONS}
    config = {
        **(request.config.extensions or {}),
        **{name: value for name, value in options.items() if value},
    }
    if request.config.temperature is not None:
        config["temperature"] = request.config.temperature
    choice = request.config.tool_choice
    return Question(
        request.model,
        messages,
        config,
        tools=_offered(request),
        must_call=choice is not None and choice.mode == "required",
    )


def _offered(request: Request) -> list[OfferedTool]:
    choice = request.config.tool_choice
    if choice is not None and choice.mode == "none":
        return []
    return [
        OfferedTool(tool.name, tool.description or "", tool.parameters)
        for tool in request.tools
        if isinstance(tool, FunctionTool)
        and (choice is None or not choice.allowed or tool.name in choice.allowed)
    ]
