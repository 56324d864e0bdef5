"""What a program says to its language model, to the letter: one that writes down and never answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import dspy
import pydantic

from dspex_bridge.adapters.adapters import ADAPTERS


class Recorded(Exception):
    """The request is written down, and an answer would only hide it."""


class _NoEngine:
    """With an engine of its own, a model is looked for at no provider."""

    def complete(self, request: Any) -> Any:
        raise Recorded


class RecordingLM(dspy.LM):  # type: ignore[misc]
    """Keeps the messages of each request, and the options that came with it."""

    def __init__(self) -> None:
        super().__init__("recording/model", cache=False, engine=_NoEngine())
        self.requests: list[dict[str, Any]] = []

    @property
    def supported_params(self) -> set[str]:
        return {"response_format"}

    @property
    def supports_response_schema(self) -> bool:
        return True

    @property
    def supports_function_calling(self) -> bool:
        return False

    @property
    def supports_reasoning(self) -> bool:
        return False

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        self.requests.append({"messages": messages, "options": kwargs})
        raise Recorded

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        return self(prompt, messages=messages, **kwargs)


async def record_requests(
    module: dspy.Module, inputs: Mapping[str, object], adapter: str = "chat"
) -> list[dict[str, Any]]:
    """What a prediction sends."""
    lm = RecordingLM()
    with dspy.context(lm=lm, adapter=ADAPTERS[adapter], disable_history=True, trace=None):
        try:
            await module.acall(**inputs)
        except Recorded:
            return lm.requests
    raise AssertionError("nobody asked the language model")


def requests_of(module: dspy.Module, inputs: Mapping[str, object], adapter: str = "chat") -> str:
    """The same as text, outside of an event loop."""
    sent = asyncio.run(record_requests(module, inputs, adapter))
    return json.dumps(sent, ensure_ascii=False, indent=1, default=_in_words)


def _in_words(value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, pydantic.BaseModel):
        return value.model_json_schema()
    return repr(value)
