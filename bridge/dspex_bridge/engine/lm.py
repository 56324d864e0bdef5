"""The `dspy.LM` around an endpoint: DSPy's engine hook, with a short way where that gives the same.

DSPy's way around an engine prepares and prices each request in threads and looks up what adapters
may ask of the model. Where a call uses nothing of that (no stream, history or callbacks, one
completion) the request goes straight to the endpoint, through the same conversions of DSPy's.
What cannot be said in DSPy's canonical form, DSPy's own client is left to ask.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final, Self

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.clients.call_result import CallResult
from dspy.clients.errors import error_boundary
from dspy.lm15 import LM15Error, Request, Response

from ..lms.answering import CountingLM
from ..lms.journal import journal_of
from ..lms.recording import is_recording
from ..lms.usage import RequestTimer, Tracker, current_usage
from .endpoint import ChatEndpoint
from .hooks import AsyncChatEngine, ChatEngine

_OF_DSPY: Final = frozenset(
    (*CLIENT_KEYS, *("n", "num_generations", "rollout_id", "prompt_cache", "request", "cache"))
)
"""Options that say how DSPy is to run the request, and not what is asked."""

_log = logging.getLogger("dspy.clients.lm")


class ChatLM(CountingLM):
    """A `dspy.LM` that asks an endpoint.

    Args:
        endpoint: Where its requests go.
        known: DSPy's own LM of that model.

    Attributes:
        dialect: How its server is spoken to.
    """

    def __init__(self, model: str, endpoint: ChatEndpoint, known: CountingLM, **kwargs: Any) -> None:
        super().__init__(
            model,
            cache=False,
            num_retries=0,  # the endpoint repeats requests, and nobody else
            engine=ChatEngine(endpoint, known),
            async_engine=AsyncChatEngine(endpoint, known),
            **kwargs,
        )
        self._endpoint = endpoint
        self.dialect = endpoint.dialect
        self._known = known

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As `dspy.LM`."""
        journal = journal_of(self)
        if journal is not None:
            return journal.ask(self, prompt, messages, kwargs)
        asked = self._read(prompt, messages, kwargs)
        if asked is None:
            return self._asked_by_dspy()(prompt, messages=messages, **self.kwargs | kwargs)
        if isinstance(prompt, Request) or not self._is_short(kwargs):
            return super().__call__(prompt, messages=messages, **kwargs)
        timer = RequestTimer(self.account)
        try:
            with error_boundary(self.model, unexpected=True):
                response = self._endpoint.connections.wait(self._endpoint.complete(asked))
            return self._outputs(response, kwargs)
        finally:
            timer.stop()

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As `dspy.LM`."""
        journal = journal_of(self)
        if journal is not None:
            return await journal.aask(self, prompt, messages, kwargs)
        asked = self._read(prompt, messages, kwargs)
        if asked is None:
            return await self._asked_by_dspy().acall(prompt, messages=messages, **self.kwargs | kwargs)
        if isinstance(prompt, Request) or not self._is_short(kwargs):
            return await super().acall(prompt, messages=messages, **kwargs)
        timer = RequestTimer(self.account)
        try:
            with error_boundary(self.model, unexpected=True):
                response = await self._endpoint.complete(asked)
            return self._outputs(response, kwargs)
        finally:
            timer.stop()

    def copy(self, **kwargs: Any) -> Self:
        """As `dspy.LM`; with another `model` it asks that one, as what fine-tuning has made is asked."""
        made: Self = super().copy(**kwargs)
        if "model" in kwargs:
            made._ask_model(str(kwargs["model"]))
        return made

    def _ask_model(self, model: str) -> None:
        name = model.removeprefix(f"{self.account.model.partition('/')[0]}/")
        self._known = self._known.copy(model=model)
        self._endpoint = self._endpoint.of(name)
        self._engine_spec = ChatEngine(self._endpoint, self._known)
        self._async_engine_spec = AsyncChatEngine(self._endpoint, self._known)
        base = self.account.label.partition("@")[0]
        self.account = replace(self.account, label=f"{base}@{name}", model=model)

    async def aclose(self) -> None:
        """Close the connections of the running event loop; other LMs share them, and open new ones."""
        await super().aclose()
        await self._endpoint.connections.aclose()

    def update_history(self, entry: Any) -> None:
        """As `dspy.LM`, with the price that DSPy knows and does not tell of engines that are not its own."""
        if entry.get("cost") is None:
            entry["cost"] = self.account.estimate(entry["response"])
        super().update_history(entry)

    def _read(self, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> Request | None:
        """The request in DSPy's canonical form, or None where that has no place for it.

        DSPy's own client asks such a request through LiteLLM, and says what is wrong with it.
        """
        given: Any = kwargs.get("request") if prompt is None else prompt
        if isinstance(given, Request):
            return given
        options = {**self.kwargs, **kwargs}
        if isinstance(options.get("response_format"), type):
            del options["response_format"]  # DSPy makes a schema of it
        said = {name: options[name] for name in options if name not in _OF_DSPY and options[name] is not None}
        try:
            return self._endpoint.dialect.request_from_openai_chat(
                {
                    "model": self._endpoint.model,
                    "messages": messages or [{"role": "user", "content": prompt}],
                    **said,
                }
            )
        except (LM15Error, TypeError, ValueError):
            return None

    def _is_short(self, kwargs: dict[str, Any]) -> bool:
        """Whether the call uses nothing of what DSPy does around an engine."""
        settings = dspy.settings
        options = {**self.kwargs, **kwargs}
        return (
            settings.disable_history
            and not is_recording()
            and settings.send_stream is None
            and not settings.callbacks
            and not self.callbacks
            and not any(options.get(name) is not None for name in _OF_DSPY)
            and not isinstance(options.get("response_format"), type)
        )

    def _asked_by_dspy(self) -> CountingLM:
        self._known.account = self.account
        return self._known

    def _outputs(self, response: Response, kwargs: dict[str, Any]) -> list[Any]:
        wants_logprobs = bool(kwargs.get("logprobs", self.kwargs.get("logprobs")))
        result = CallResult.native(response, logprobs=wants_logprobs)
        if response.finish_reason == "length":
            _log.warning("LM response was truncated; increase max_tokens or inspect history.")
        Tracker(dspy.settings.usage_tracker, self.account).add_usage(self.model, result.usage)
        usage = current_usage()
        if usage is not None and not self.account.has_prices:
            cost_usd = self.account.estimate(response)
            if cost_usd is not None:
                usage.add_price(cost_usd, self.account)
        return list(result.outputs)
