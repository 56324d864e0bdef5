"""Whether a failed request is made again, and after which pause. Decides only; nothing waits here.

This is the one layer of retries: DSPy's own is told to make none for these models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dspy.lm15 import (
    BillingError,
    LM15Error,
    RateLimitError,
    ServerError,
    TransportError,
)
from dspy.lm15 import TimeoutError as LMTimeout

FIRST_STEP_S: Final = 0.5
"""The longest pause before the first repetition; it doubles with each further one."""

MAX_STEP_S: Final = 16.0
MAX_HINT_S: Final = 60.0
"""A provider that says to come back later than this is not waited for: the caller hears it at
once, with the time, and the place in the worker is free for others."""

_TRANSIENT_STATUSES: Final = frozenset((408, 409, 429))
_TRANSIENT: Final = (TransportError, LMTimeout, RateLimitError, ServerError)


class UntrustedServer(TransportError):
    """Its certificate is not accepted, which no time mends."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is repeated.

    Attributes:
        repetitions: At most so many after the first attempt.
        draw: A number from 0 to 1 at random, for the jitter.
    """

    repetitions: int
    draw: Callable[[], float]

    def pause_s(self, failure: LM15Error, attempt: int, remaining_s: float | None) -> float | None:
        """The pause before the next attempt, or None when there shall be none.

        Without a word from the provider it is any time up to a step that doubles (full jitter);
        with one it is that time and the jitter on top, so that those who were refused together
        do not come back together.

        Args:
            failure: What came of the last attempt.
            attempt: Its number; the first is 0.
            remaining_s: What is left of the call's time, None if that is not known.
        """
        if attempt >= self.repetitions or not is_transient(failure):
            return None
        hint_s: float = failure.retry_after or 0.0
        pause_s = hint_s + self.draw() * min(MAX_STEP_S, FIRST_STEP_S * 2.0**attempt)
        if hint_s > MAX_HINT_S or (remaining_s is not None and pause_s >= remaining_s):
            return None
        return pause_s


def is_transient(failure: LM15Error) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(failure, BillingError | UntrustedServer):  # billing may come as 429; no time mends it
        return False
    status = failure.status
    if status is not None:
        return status in _TRANSIENT_STATUSES or 500 <= status < 600
    return isinstance(failure, _TRANSIENT)
