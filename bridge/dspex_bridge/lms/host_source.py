"""A host function as a language model: what it is asked, and what it may answer, at once or in pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from dspex_protocol.errors import DSPexError, describe_value, error
from dspex_protocol.records import Length, read

from ..host_functions import HostFunctions, Returned
from .answering import Answer, Piece, Question, Reasoning, WantedCall

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _HostCall:
    """A tool that it wants called."""

    name: Annotated[str, Length(1, 64)]
    args: dict[str, object] = field(default_factory=dict[str, object])
    id: Annotated[str, Length(1, 256)] | None = None


@dataclass(frozen=True, slots=True)
class _HostAnswer:
    """What it may answer besides a string; of what it has sent in pieces it may say nothing more."""

    text: str | None = None
    reasoning: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tool_calls: list[_HostCall] = field(default_factory=list[_HostCall])


@dataclass(frozen=True, slots=True)
class _HostPiece:
    """What it may send besides a string."""

    text: str = ""
    reasoning: str = ""


@dataclass(slots=True)
class _Heard:
    """What has come of an answer so far."""

    pieces: int = 0
    text: str = ""
    reasoning: str = ""


class HostSource:
    """A host function as a language model.

    Args:
        function: Its name.
        functions: Those of the host.
        timeout_s: How long it may take to answer; in a stream, to each next piece.
    """

    def __init__(self, function: str, functions: HostFunctions, timeout_s: float | None) -> None:
        self._function = function
        self._functions = functions
        self._timeout_s = timeout_s

    async def aask(self, question: Question) -> Answer:
        """Ask the host; cancelling this cancels the function."""
        answer = await self._functions.acall(self._function, _arguments(question), self._timeout_s)
        return self._whole(answer, _Heard())

    def ask(self, question: Question) -> Answer:
        """Ask the host from another thread than the loop's."""
        return self._functions.wait(self._function, lambda: self.aask(question))

    def stream(self, question: Question) -> Generator[Piece]:
        """As `astream`, from another thread than the loop's."""
        return self._functions.iterate(self._function, self.astream(question))

    async def astream(self, question: Question) -> AsyncGenerator[Piece]:
        """Ask the host, and give the answer as it comes; closing this cancels the function.

        Raises:
            DSPexError: also after pieces: what the function raised, or `function_failed` for what is
                no language model's answer, or contradicts what had come before.
        """
        heard = _Heard()
        given = self._functions.astream(self._function, _arguments(question), self._timeout_s)
        async with aclosing(given) as pieces:
            async for piece in pieces:
                for part in self._taken(piece, heard):
                    yield part

    def _taken(self, piece: object, heard: _Heard) -> Iterator[Piece]:
        """What a piece adds, or what is left when the function has returned."""
        if not isinstance(piece, Returned):
            part = self._piece(piece, heard.pieces)
            heard.pieces += 1
            heard.text += part.text
            heard.reasoning += part.reasoning
            yield from _parts(part.reasoning, part.text)
            return
        answer = self._whole(piece.value, heard)
        yield from _parts(answer.reasoning[len(heard.reasoning) :], answer.text[len(heard.text) :])
        yield answer

    def _piece(self, piece: object, number: int) -> _HostPiece:
        if isinstance(piece, str):
            return _HostPiece(piece)
        return self._read(_HostPiece, piece, f"items[{number}]", "a string or a map with text or reasoning")

    def _whole(self, answer: object, heard: _Heard) -> Answer:
        if isinstance(answer, str):
            given = _HostAnswer(answer)
        elif answer is None and heard.pieces:
            given = _HostAnswer()
        else:
            given = self._read(_HostAnswer, answer, "answer", "a string or a map with text or tool_calls")
        calls = [
            WantedCall(call.id or f"call-{at}", call.name, call.args)
            for at, call in enumerate(given.tool_calls, 1)
        ]
        text = self._agreed("text", given.text, heard.text)
        reasoning = self._agreed("reasoning", given.reasoning, heard.reasoning)
        return Answer(text, given.tokens_in, given.tokens_out, calls, reasoning)

    def _agreed(self, name: str, given: str | None, heard: str) -> str:
        """What it has returned, which must begin with what it had sent: that may have been shown already."""
        if given is None:
            return heard
        if not given.startswith(heard):
            raise self._misfit(f"the {name} that it returned does not begin with what it had sent")
        return given

    def _read(self, kind: type[R], value: object, path: str, expected: str) -> R:
        if not isinstance(value, dict):
            raise self._misfit(f"{path}: expected {expected}, got {describe_value(value)}")
        try:
            return read(kind, value, path)  # pyright: ignore[reportUnknownArgumentType]
        except DSPexError as refusal:
            raise self._misfit(str(refusal)) from None

    def _misfit(self, reason: str) -> Exception:
        return error(
            "function_failed", f"the host function {self._function} gave no language model's answer: {reason}"
        )


def _parts(reasoning: str, text: str) -> Iterator[Piece]:
    if reasoning:
        yield Reasoning(reasoning)
    if text:
        yield text


def _arguments(question: Question) -> dict[str, object]:
    args: dict[str, object] = {
        "model": question.model,
        "messages": [{"role": role, "content": content} for role, content in question.messages],
        "config": dict(question.config),
    }
    if question.tools:
        args["tools"] = [
            {"name": tool.name, "desc": tool.desc, "parameters": dict(tool.parameters)}
            for tool in question.tools
        ]
        args["must_call"] = question.must_call
    return args
