"""What an HTTP reply means: an answer, or one of DSPy's errors. No I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from dspy.lm15 import LM15Error, OpenAIChatLM, ProviderError, Request, Response

Clock = Callable[[], datetime]

_REQUEST_IDS = ("x-request-id", "request-id", "x-ms-request-id", "apim-request-id")


def read_answer(
    dialect: OpenAIChatLM,
    request: Request,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    clock: Clock,
) -> Response:
    """The answer in a reply.

    Raises:
        LM15Error: as DSPy's own client has it for that status and body; `ProviderError` for
            what is no answer in the form of chat completions.
    """
    if status >= 400:
        raise refusal(dialect, status, headers, body, clock)
    try:
        return _response(dialect, request, body)
    except LM15Error as failure:
        raise _told(failure, status, headers, clock) from None
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError, RecursionError):
        # Its own text would quote the reply.
        misfit = ProviderError("the reply is no chat completion", provider=dialect.provider)
        raise _told(misfit, status, headers, clock) from None


def refusal(
    dialect: OpenAIChatLM, status: int, headers: Mapping[str, str], body: bytes, clock: Clock
) -> LM15Error:
    """The error that a status of 400 and more stands for."""
    try:
        failure: LM15Error = dialect.normalize_error(status, body.decode("utf-8", errors="replace"))
    except (TypeError, ValueError, AttributeError, RecursionError):
        failure = ProviderError(f"the provider answered with status {status}", provider=dialect.provider)
    return _told(failure, status, headers, clock)


def _response(dialect: OpenAIChatLM, request: Request, body: bytes) -> Response:
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise ProviderError(
            f"the reply of {len(body)} bytes is not JSON", provider=dialect.provider
        ) from None
    return dialect.response_from_openai_chat(
        answer, model=request.model, response_format=request.config.response_format
    )


def _told(failure: LM15Error, status: int, headers: Mapping[str, str], clock: Clock) -> LM15Error:
    """The failure, with what the reply's head says of it."""
    if failure.status is None:
        failure.status = status
    if failure.retry_after is None:
        failure.retry_after = retry_after_s(headers, clock)
    if failure.request_id is None:
        failure.request_id = next((headers[name] for name in _REQUEST_IDS if headers.get(name)), None)
    return failure


def retry_after_s(headers: Mapping[str, str], clock: Clock) -> float | None:
    """When to come back, from `Retry-After` in seconds or as a date, or `retry-after-ms`.

    Args:
        headers: By name, in any case.
        clock: The wall clock, for a date in a reply that does not say when it was sent.
    """
    said = headers.get("retry-after")
    if said is not None:
        seconds = _number(said)
        return _seconds_until(said, headers, clock) if seconds is None else seconds
    milliseconds = _number(headers.get("retry-after-ms", ""))
    return None if milliseconds is None else milliseconds / 1000


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds_until(date: str, headers: Mapping[str, str], clock: Clock) -> float | None:
    """Counted from when the reply was sent, by the clock that also told the date."""
    when = _read_date(date)
    if when is None:
        return None
    return max(0.0, (when - (_read_date(headers.get("date", "")) or clock())).total_seconds())


def _read_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date
