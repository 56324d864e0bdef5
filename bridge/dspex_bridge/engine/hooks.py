"""What DSPy wants of an engine, `dspy.LM(engine=…, async_engine=…)`, around an endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, Self

import dspy
from dspy.lm15 import Request, Response

from .endpoint import ChatEndpoint


class _Hook:
    """What both have: the endpoint, and what its model can do.

    Args:
        endpoint: Where requests go.
        known: DSPy's own LM of that model, asked for what the model can do.
    """

    def __init__(self, endpoint: ChatEndpoint, known: dspy.LM) -> None:
        self._endpoint = endpoint
        self._known = known

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # copies of a program share the connections

    @property
    def supports_function_calling(self) -> bool:
        """As DSPy knows it."""
        return bool(self._known.supports_function_calling)

    @property
    def supports_reasoning(self) -> bool:
        """As DSPy knows it."""
        return bool(self._known.supports_reasoning)

    @property
    def supports_response_schema(self) -> bool:
        """As DSPy knows it."""
        return bool(self._known.supports_response_schema)

    @property
    def supported_params(self) -> set[str]:
        """As DSPy knows them."""
        return set(self._known.supported_params)


class ChatEngine(_Hook):
    """For programs that run in threads."""

    def complete(self, request: Request) -> Response:
        """Answer one request."""
        return self._endpoint.connections.wait(self._endpoint.complete(request))

    def stream(self, request: Request) -> Generator[Any]:
        """Answer in DSPy's stream events; closing this closes the connection."""
        wait = self._endpoint.connections.wait
        events = self._endpoint.stream(request)
        try:
            while (event := wait(_next(events))) is not None:
                yield event
        finally:
            wait(events.aclose())


class AsyncChatEngine(_Hook):
    """For programs on an event loop."""

    async def complete(self, request: Request) -> Response:
        """Answer one request; cancelling this cancels the request."""
        return await self._endpoint.complete(request)

    def stream(self, request: Request) -> AsyncGenerator[Any]:
        """Answer in DSPy's stream events; closing this closes the connection."""
        return self._endpoint.stream(request)


async def _next(events: AsyncGenerator[Any]) -> Any:
    """The next event, or None at the end."""
    return await anext(events, None)
