"""The request that a language model would get, heard in its place: nobody is asked.

DSPy decides in the course of a call what is asked for in words and what by a provider's own
means, such as functions and schemas. So the call is made, of an LM that says of itself what the
real one does, and breaks off with the request that it is given.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NoReturn

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.lm15 import OpenAIChatLM, Request
from dspy.utils.exceptions import LMError

from ..engine import ChatLM

_HOW_IT_IS_SENT: Final = frozenset(
    (*CLIENT_KEYS, *("model", "stream", "stream_options", "cache", "prompt_cache", "rollout_id"))
)


class _Heard(BaseException):
    """No `Exception`: those of a model DSPy wraps, and some of them it answers with a second request."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__()
        self.body = body


class Ear:
    """What DSPy wants of an engine, for a model that can what another can and answers nothing.

    Making one may take seconds where DSPy asks LiteLLM what the other can, which is loaded then.

    Args:
        lm: The other; None for one without a provider's own means.
    """

    def __init__(self, lm: dspy.LM | None) -> None:
        self.lm = lm
        self._dialect = lm.dialect if isinstance(lm, ChatLM) else OpenAIChatLM(api_key="none")
        self.supports_function_calling = lm is not None and bool(lm.supports_function_calling)
        self.supports_reasoning = lm is not None and bool(lm.supports_reasoning)
        self.supports_response_schema = lm is not None and bool(lm.supports_response_schema)
        self.supported_params = frozenset[str]() if lm is None else frozenset(lm.supported_params)

    def complete(self, request: Request) -> NoReturn:
        """Break off."""
        named = replace(request, model=request.model.partition("/")[2])
        raise _Heard(json.loads(self._dialect.build_request(named, stream=False).body))


class _AsyncEar:
    """The same, for programs on an event loop."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ear, name)

    async def complete(self, request: Request) -> NoReturn:
        """Break off."""
        self._ear.complete(request)


class _Listener(dspy.LM):
    """The LM around an ear: as `dspy.LM`, up to where a model would be asked."""

    def __init__(self, ear: Ear) -> None:
        lm = ear.lm
        kept = {} if lm is None else {key: lm.kwargs[key] for key in lm.kwargs if key not in CLIENT_KEYS}
        name = "none/none" if lm is None else lm.model
        super().__init__(name, cache=False, engine=ear, async_engine=_AsyncEar(ear), **kept)

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        try:
            return super().__call__(prompt, messages=messages, **kwargs)
        except LMError:
            raise self._unsaid(messages, kwargs) from None

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        try:
            return await super().acall(prompt, messages=messages, **kwargs)
        except LMError:
            raise self._unsaid(messages, kwargs) from None

    def _unsaid(self, messages: Any, kwargs: dict[str, Any]) -> _Heard:
        """What DSPy's canonical form has no place for; such a request LiteLLM gets as it is."""
        return _Heard({"messages": messages, **self.kwargs, **kwargs})


async def overheard(ear: Ear, ask: Callable[[dspy.LM], Awaitable[object]]) -> dict[str, Any]:
    """The body of the first request, in the form of chat completions, without a model's name.

    Args:
        ear: Who is asked in the place of a model.
        ask: Makes the call, of the LM that it is given.

    Returns:
        `messages`, and what else is sent: `tools`, `response_format`, `temperature` and the like.
        Several completions are as many such requests.
    """
    try:
        await ask(_Listener(ear))
    except _Heard as heard:
        said = heard.body.items()
        return {key: value for key, value in said if value is not None and key not in _HOW_IT_IS_SENT}
    raise AssertionError("nobody was asked")
