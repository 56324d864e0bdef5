"""What a call spent on language models: requests, tokens, milliseconds.

The one record of a call travels in a context variable, so that tasks and threads which
DSPy starts for it add to the same figures. The LMs of `answering` report requests and
time; tokens come the way DSPy reports them, through its `usage_tracker` setting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from dspy.utils.usage_tracker import UsageTracker


class Usage:
    """The figures of one call; they only grow."""

    __slots__ = ("_lock", "lm_calls", "lm_ms", "tokens_in", "tokens_out")

    def __init__(self) -> None:
        self.lm_calls = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self.lm_ms = 0.0
        self._lock = threading.Lock()  # programs run their parts in threads

    def add_request(self, waited_s: float) -> None:
        """Count one request and the time that it took, whatever came of it."""
        with self._lock:
            self.lm_calls += 1
            self.lm_ms += waited_s * 1000

    def add_tokens(self, tokens_in: int, tokens_out: int) -> None:
        """Count tokens as the provider reported them."""
        with self._lock:
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out

    def meta(self) -> dict[str, int | float]:
        """The figures as they stand in the meta of REPLY and FAIL; empty if no LM was asked."""
        if not self.lm_calls:
            return {}
        return {
            "lm_calls": self.lm_calls,
            "lm_ms": round(self.lm_ms, 3),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }


_current: ContextVar[Usage | None] = ContextVar("dspex_usage", default=None)


def current_usage() -> Usage | None:
    """The record of the call at hand, or None outside of one."""
    return _current.get()


@contextmanager
def counting(usage: Usage | None = None) -> Generator[Usage]:
    """Count what happens inside, into `usage` where one is given."""
    counted = Usage() if usage is None else usage
    token = _current.set(counted)
    try:
        yield counted
    finally:
        _current.reset(token)


class RequestTimer:
    """Counts one request to an LM: made before it, stopped after it."""

    __slots__ = ("_started_s", "_usage")

    def __init__(self) -> None:
        self._usage = _current.get()
        self._started_s = time.perf_counter()

    def stop(self) -> None:
        """The request has ended, well or badly."""
        if self._usage is not None:
            self._usage.add_request(time.perf_counter() - self._started_s)


class Tracker:
    """What DSPy reports a request's tokens to: the call at hand, and a program's own tracker."""

    __slots__ = ("_next",)

    def __init__(self, program_tracker: UsageTracker | None = None) -> None:
        self._next = program_tracker

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Add one request's figures, in the names that DSPy uses."""
        usage = _current.get()
        if usage is not None:
            usage.add_tokens(
                _whole(usage_entry.get("prompt_tokens")), _whole(usage_entry.get("completion_tokens"))
            )
        if self._next is not None:
            self._next.add_usage(lm, usage_entry)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
