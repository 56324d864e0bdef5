"""The events of a stream: out of its bytes, in bounded memory, and as DSPy wants them. No I/O."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from dspy.lm15 import ProviderError, StreamEndEvent, StreamStartEvent

MAX_EVENT_BYTES: Final = 1024 * 1024
"""One event holds one token, or a whole tool call, or usage: a few kB at most."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event, in the form in which DSPy's dialect takes it."""

    data: str
    event: str | None = None


class EventReader:
    """Takes bytes as they come and gives the events that are whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._bytes = 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that end in this chunk.

        Raises:
            ProviderError: one event, or one line, is longer than `MAX_EVENT_BYTES`.
        """
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        events = [event for line in lines if (event := self._take(line)) is not None]
        if len(self._rest) + self._bytes > MAX_EVENT_BYTES:
            raise _too_large()
        return events

    def finish(self) -> list[ServerEvent]:
        """The event that the end of the stream ends."""
        return [event for line in (self._rest, b"") if (event := self._take(line)) is not None]

    def _take(self, line: bytes) -> ServerEvent | None:
        line = line.rstrip(b"\r")
        if line:
            self._keep(line)
            return None
        data, self._data, self._bytes = self._data, [], 0
        return ServerEvent("\n".join(data)) if data else None

    def _keep(self, line: bytes) -> None:
        self._bytes += len(line)
        if self._bytes > MAX_EVENT_BYTES:
            raise _too_large()
        # Comments, such as a provider's sign of life, and the fields `event`, `id` and `retry`
        # say nothing that chat completions use.
        if line.startswith(b"data:"):
            self._data.append(line[5:].decode("utf-8", errors="replace").lstrip())


def _too_large() -> ProviderError:
    return ProviderError(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")


async def merged(events: AsyncIterator[Any], model: str) -> AsyncGenerator[Any]:
    """One start, the pieces, one end: chat completions have no start, and tell the end in several chunks.

    A stream that was not ended by its server is not ended here either.

    Args:
        events: Of DSPy's dialect, as they come.
        model: Whose stream it is.
    """
    started, end = False, None
    async for event in events:
        if event.type == "end":
            end = event if end is None else _joined(end, event)
            continue
        if not started:
            started = True
            yield StreamStartEvent(model=model)
        yield event
    if end is not None:
        if not started:
            yield StreamStartEvent(model=model)
        yield end


def _joined(first: StreamEndEvent, second: StreamEndEvent) -> StreamEndEvent:
    """What either says of the end; the later one where both do. The usage brings its own chunk along."""
    told = second if second.usage is not None or first.provider_data is None else first
    return StreamEndEvent(
        finish_reason=first.finish_reason if second.finish_reason is None else second.finish_reason,
        usage=first.usage if second.usage is None else second.usage,
        provider_data=told.provider_data,
    )
