"""A call's requests to language models, kept for a host that wants to look at them.

Nothing is kept of a call that does not ask for it, unless the server was started with `history`. Of
what is kept there are the texts only where it was started with `texts`: they are left out here, so
that they never leave the worker, nor stay in it.

DSPy tells of requests by its callbacks. Why an answer ended and what it cost it tells only its own
history, which keeps prompts for as long as the process lives; `recording` takes that entry instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from time import monotonic
from typing import Any, Final, Literal, TypeAlias, cast

import dspy
from dspy.utils.callback import BaseCallback

from dspex_protocol import NIL, NOTE, Meta, encode, encode_value
from dspex_protocol.errors import DSPexError

from ..failures import to_failure, without_keys
from ..values.tracing import PredictorNames

Level: TypeAlias = Literal["off", "redacted", "texts"]
"""What is kept of calls that say nothing of it: nothing; all but texts; all."""

VARIABLE: Final = "DSPEX_HISTORY"

MAX_REQUESTS: Final = 50
"""Of one call, the newest ones: an agent's last turns, or an optimizer's."""

MAX_TEXT_CHARACTERS: Final = 16_384
"""Of one text; how long it was is told."""

MAX_KEPT_BYTES: Final = 262_144
"""Of one call: the supervisor keeps a few thousand times as much at most."""


def level_of(environment: Mapping[str, str]) -> Level:
    """The level that the supervisor was started with."""
    given = environment.get(VARIABLE, "off")
    return cast("Level", given) if given in ("redacted", "texts") else "off"


class Keeper(BaseCallback):
    """Hears of each request of one call, from its tasks and threads.

    Args:
        module: The one that runs.
        lms: Language models by name of the predictors that have one of their own.
        lm: That of the others.
        with_texts: Whether what was said is kept, and not only how long it was.
    """

    def __init__(self, module: dspy.Module, lms: Mapping[str, str], lm: str, *, with_texts: bool) -> None:
        self._names = PredictorNames(module)
        self._lms = lms
        self._lm = lm
        self._with_texts = with_texts
        self._requests: deque[_Request] = deque(maxlen=MAX_REQUESTS)
        self._running: dict[str, tuple[_Asker | None, _Request | None]] = {}

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A module begins; if it is a predictor, it is who asks."""
        if isinstance(instance, dspy.Predict):
            self._running[call_id] = (_asker.get(), None)
            _asker.set(_Asker(self._names.of(instance), instance.signature))

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A module has ended."""
        if call_id in self._running:
            _asker.set(self._running.pop(call_id)[0])

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A request begins."""
        asker = _asker.get()
        name = None if asker is None else asker.name
        request = _Request(asker, self._lms.get(name or "") or self._lm, str(instance.model))
        messages = inputs.get("messages") or [{"role": "user", "content": inputs.get("prompt")}]
        request.messages = [self._message(message) for message in messages]
        self._requests.append(request)
        self._running[call_id] = (asker, request)
        _request.set(request)

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A request has ended, well or badly."""
        request = self._running.pop(call_id)[1]
        assert request is not None
        request.ms = (monotonic() - request.began_s) * 1000
        if exception is not None:
            request.error = to_failure(exception).code
        elif isinstance(outputs, list):
            request.answers = [self._answer(output) for output in outputs]  # pyright: ignore[reportUnknownVariableType]
        _request.set(None)

    def _message(self, message: Any) -> dict[str, object]:
        content = message.get("content") if isinstance(message, dict) else None  # pyright: ignore[reportUnknownMemberType]
        parts: list[Any] = content if isinstance(content, list) else [content]
        texts = [_text_of(part) for part in parts]
        media = sum(text is None for text in texts if content is not None)
        role = str(message.get("role", "user")) if isinstance(message, dict) else "user"  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        told = {"role": role, **self._said("".join(text for text in texts if text))}
        return told | ({"media": media} if media else {})

    def _answer(self, output: Any) -> dict[str, object]:
        if isinstance(output, str):
            return self._said(output)
        parts = cast("Mapping[str, Any]", output if isinstance(output, dict) else {})
        calls: Sequence[object] = parts.get("tool_calls") or ()
        return self._said(str(parts.get("text") or "")) | ({"tool_calls": len(calls)} if calls else {})

    def _said(self, text: str) -> dict[str, object]:
        if not self._with_texts:
            return {"characters": len(text)}
        shown = text[:MAX_TEXT_CHARACTERS].encode(errors="replace").decode()
        return {"characters": len(text), "text": without_keys(shown)}

    def described(self) -> list[object]:
        """What was kept, as values of the wire, the oldest first; the newest ones that there is room for."""
        rows: list[object] = [request.described() for request in list(self._requests)]
        while rows and len(encode_value(rows)) > MAX_KEPT_BYTES:
            del rows[0]
        return rows

    def note(self, call_id: int, outcome: str) -> bytes | None:
        """What the supervisor is told before a call ends; None where no language model was asked.

        Args:
            call_id: Of the call on this hop.
            outcome: `ok`, or the code of its error.
        """
        try:
            payload = encode_value(self.described()) if self._requests else NIL
        except DSPexError:  # what has no form on the wire must not cost the call its answer
            return None
        meta: Meta = {"call": call_id, "outcome": outcome}
        return None if payload == NIL else encode(NOTE, 0, "call.history", meta, payload)


class _Asker:
    """A predictor while it runs."""

    __slots__ = ("inputs", "name", "outputs")

    def __init__(self, name: str | None, signature: Any) -> None:
        self.name = name
        self.inputs: list[str] = list(signature.input_fields)
        self.outputs: list[str] = list(signature.output_fields)


class _Request:
    """One request; what is not known yet is None."""

    __slots__ = (
        "answers",
        "asker",
        "began_s",
        "error",
        "finish_reason",
        "lm",
        "messages",
        "model",
        "ms",
        "usage",
    )

    def __init__(self, asker: _Asker | None, lm: str, model: str) -> None:
        self.asker = asker
        self.lm = lm
        self.model = model
        self.began_s = monotonic()
        self.messages: list[dict[str, object]] = []
        self.answers: list[dict[str, object]] = []
        self.ms: float | None = None
        self.error: str | None = None
        self.finish_reason: str | None = None
        self.usage: Mapping[str, object] = {}

    def hear(self, entry: Mapping[str, Any], finish_reasons: Sequence[str | None]) -> None:
        """Take what only DSPy's history is told."""
        self.usage = entry.get("usage") or {}
        self.finish_reason = next(iter(finish_reasons), None)

    def described(self) -> dict[str, object]:
        """As docs/protocol.md section 7.2 tells it."""
        return {
            "predictor": None if self.asker is None else self.asker.name,
            "lm": self.lm,
            "model": self.model,
            "inputs": [] if self.asker is None else self.asker.inputs,
            "outputs": [] if self.asker is None else self.asker.outputs,
            "messages": self.messages,
            "answers": self.answers,
            "finish_reason": self.finish_reason,
            "tokens_in": _count(self.usage.get("prompt_tokens")),
            "tokens_out": _count(self.usage.get("completion_tokens")),
            "ms": None if self.ms is None else round(self.ms, 3),
            "error": self.error,
        }


_asker: ContextVar[_Asker | None] = ContextVar("dspex_asker", default=None)
_request: ContextVar[_Request | None] = ContextVar("dspex_request", default=None)


def is_kept() -> bool:
    """Whether the requests at hand are kept; then DSPy is to tell its history of them."""
    callbacks: list[Any] = dspy.settings.callbacks
    return any(isinstance(callback, Keeper) for callback in callbacks)


def heard(entry: Mapping[str, Any], finish_reasons: Sequence[str | None]) -> None:
    """Take an entry of DSPy's history for the request at hand, and why each answer ended."""
    request = _request.get()
    if request is not None:
        request.hear(entry, finish_reasons)


def _text_of(part: Any) -> str | None:
    """The text of a part of a message; None for a medium."""
    if isinstance(part, str):
        return part
    text: object = part.get("text") if isinstance(part, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return text if isinstance(text, str) else None


def _count(number: object) -> int | None:
    return number if isinstance(number, int) else None
