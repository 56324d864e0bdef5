"""Answers in the form of OpenAI's chat completions: whole, in chunks, with tool calls and logprobs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from .model import SimCall

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """One answer of the assistant.

    Attributes:
        pieces: Its text as it would be streamed.
        calls: The tool calls, in the form of the API.
        finish_reason: Why it ends.
        logprobs: The tokens' probabilities are asked for, and so many alternatives of each.
    """

    pieces: list[str]
    calls: list[JSON]
    finish_reason: str
    logprobs: int | None = None

    def choice(self) -> JSON:
        """As the choice of a whole answer."""
        text = "".join(self.pieces)
        message: JSON = {"role": "assistant", "content": None if self.calls else text}
        if self.calls:
            message["tool_calls"] = self.calls
        choice: JSON = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        if self.logprobs is not None and not self.calls:
            choice["logprobs"] = {"content": [_token(piece, self.logprobs) for piece in self.pieces]}
        return choice

    def deltas(self) -> Iterator[JSON]:
        """As the choices of a stream's chunks, but for the one that ends it."""
        for index, call in enumerate(self.calls):
            yield from _call_deltas(index, call)
        for piece in [] if self.calls else self.pieces:
            delta: JSON = {
                "index": 0,
                "delta": {"role": "assistant", "content": piece},
                "finish_reason": None,
            }
            if self.logprobs is not None:
                delta["logprobs"] = {"content": [_token(piece, self.logprobs)]}
            yield delta

    def end(self) -> JSON:
        """The choice of the chunk that ends a stream."""
        return {"index": 0, "delta": {}, "finish_reason": self.finish_reason}


def compose(body: Mapping[str, Any], pieces: list[str], call: SimCall | None, kind: str) -> ChatAnswer:
    """The answer to a request.

    Args:
        body: The request.
        pieces: The model's text, cut as it would be streamed.
        call: The tool that it calls instead of writing.
        kind: What is to be wrong with it, as `faults.KINDS` has it.
    """
    logprobs = int(body.get("top_logprobs") or 0) if body.get("logprobs") else None
    match kind:
        case "empty":
            return ChatAnswer([], [], "stop", logprobs)
        case "length" | "filter":
            reason = "length" if kind == "length" else "content_filter"
            return ChatAnswer(pieces[: max(1, len(pieces) // 2)], [], reason, logprobs)
        case _:
            calls = [] if call is None else [_wanted(call)]
            return ChatAnswer(pieces, calls, "tool_calls" if calls else "stop", logprobs)


def _wanted(call: SimCall) -> JSON:
    function = {"name": call.name, "arguments": json.dumps(call.args)}
    return {"id": call.id, "type": "function", "function": function}


def _call_deltas(index: int, call: JSON) -> Iterator[JSON]:
    """The name first, then the arguments in two halves, as providers stream them."""
    arguments = str(call["function"]["arguments"])
    half = len(arguments) // 2
    first = {"name": call["function"]["name"], "arguments": ""}
    yield _call_delta({"index": index, "id": call["id"], "type": "function", "function": first})
    for part in (arguments[:half], arguments[half:]):
        yield _call_delta({"index": index, "function": {"arguments": part}})


def _call_delta(call: JSON) -> JSON:
    return {"index": 0, "delta": {"role": "assistant", "tool_calls": [call]}, "finish_reason": None}


def _token(piece: str, alternatives: int) -> JSON:
    """Made-up probabilities, the same for the same piece."""
    chance = -(1 + blake2b(piece.encode(), digest_size=1).digest()[0]) / 256
    top = [
        _chance(piece if number == 0 else f"{piece}{number}", chance - number)
        for number in range(alternatives)
    ]
    return _chance(piece, chance) | {"top_logprobs": top}


def _chance(token: str, logprob: float) -> JSON:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
