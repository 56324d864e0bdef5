"""What DSPy tells only its history of a request: why the answers ended, which model gave them, the price.

In workers no history is kept, since it would hold prompts. An LM that wants to hear of its requests
turns DSPy's history on for the time of one, and takes the entry instead of letting it be kept.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dspy
from dspy.clients.legacy_outputs import value
from dspy.lm15 import Response

from . import keeping
from .accounts import Account
from .usage import current_usage


class Recorder:
    """What is known of the requests made while it listens.

    Attributes:
        model: That answered, by its provider's name for it.
        finish_reasons: Of each answer, in order; None where the provider gave none.
    """

    __slots__ = ("finish_reasons", "model")

    def __init__(self) -> None:
        self.model: str | None = None
        self.finish_reasons: list[str | None] = []

    def take(self, entry: dict[str, Any]) -> None:
        """Hear of one request, in the form of DSPy's history."""
        model = entry.get("response_model")
        self.model = model if isinstance(model, str) else self.model
        self.finish_reasons += _finish_reasons(entry["response"])


_recorder: ContextVar[Recorder | None] = ContextVar("dspex_recorder", default=None)
_is_borrowed: ContextVar[bool] = ContextVar("dspex_history_is_borrowed", default=False)


@contextmanager
def recording() -> Generator[Recorder]:
    """Listen to the requests inside."""
    listening = Recorder()
    token = _recorder.set(listening)
    try:
        yield listening
    finally:
        _recorder.reset(token)


def is_recording() -> bool:
    """Whether somebody listens."""
    return _recorder.get() is not None


@contextmanager
def listening(account: Account) -> Generator[None]:
    """Hear of the one request inside, where there is something to hear."""
    if not dspy.settings.disable_history or (
        account.has_prices and not is_recording() and not keeping.is_kept()
    ):
        yield
        return
    token = _is_borrowed.set(True)
    try:
        with dspy.context(disable_history=False):
            yield
    finally:
        _is_borrowed.reset(token)


def heard(entry: dict[str, Any], account: Account) -> bool:
    """Take what a history entry says.

    Returns:
        Whether it is to be kept, as it would be without us.
    """
    recorder, usage = _recorder.get(), current_usage()
    if recorder is not None:
        recorder.take(entry)
    if keeping.is_kept():
        keeping.heard(entry, _finish_reasons(entry["response"]))
    if usage is not None and not account.has_prices:
        cost = entry.get("cost")
        if cost is None:
            cost = account.estimate(entry["response"])
        if isinstance(cost, int | float):
            usage.add_price(cost, account)
    return not _is_borrowed.get()


def _finish_reasons(response: Any) -> list[str | None]:
    if isinstance(response, Response):
        return [response.finish_reason]
    if isinstance(response, tuple):
        several: tuple[Any, ...] = response
        return [one.finish_reason for one in several]
    # LiteLLM's, in OpenAI's words.
    choices: Any = value(response, "choices") or ()
    reasons: list[Any] = [value(choice, "finish_reason") for choice in choices]
    return ["tool_call" if reason == "tool_calls" else reason for reason in reasons]
