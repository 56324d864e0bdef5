"""Which failures are repeated and when: the policy by itself."""

from __future__ import annotations

import pytest
from dspy.lm15 import (
    AuthError,
    BillingError,
    ContextLengthError,
    InvalidRequestError,
    LM15Error,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamAssemblyError,
    TransportError,
)
from dspy.lm15 import TimeoutError as LMTimeout

from dspex_bridge.engine import RetryPolicy
from dspex_bridge.engine.retrying import FIRST_STEP_S, MAX_HINT_S, MAX_STEP_S, is_transient

ALWAYS = RetryPolicy(10_000, lambda: 1.0)
FAILED = ServerError("down", status=503)


@pytest.mark.parametrize(
    ("failure", "transient"),
    [
        *((ServerError("", status=status), True) for status in (500, 502, 503, 504, 529, 599)),
        *((InvalidRequestError("", status=status), False) for status in (400, 404, 413, 422)),
        (InvalidRequestError("", status=409), True),
        (LMTimeout("", status=408), True),
        (RateLimitError("", status=429), True),
        (BillingError("", status=429), False),
        (AuthError("", status=401), False),
        (ContextLengthError("", status=400), False),
        (ProviderError("not JSON", status=200), False),
        (ProviderError("no such thing"), False),
        (TransportError("cut"), True),
        (LMTimeout("late"), True),
        (ServerError("in a stream"), True),
        (RateLimitError("in a stream"), True),
        (StreamAssemblyError("no end"), False),
    ],
)
def test_what_may_succeed_later_is_repeated(failure: LM15Error, transient: bool) -> None:
    """By status where there is one, by class otherwise; an empty account never."""
    assert is_transient(failure) is transient
    assert (ALWAYS.pause_s(failure, 0, None) is not None) is transient


def test_pauses_are_anything_up_to_a_step_that_doubles() -> None:
    """Full jitter: nobody comes back together with the others."""
    longest = [ALWAYS.pause_s(FAILED, attempt, None) for attempt in range(7)]
    assert longest == [min(MAX_STEP_S, FIRST_STEP_S * 2**attempt) for attempt in range(7)]
    assert RetryPolicy(1, lambda: 0.0).pause_s(FAILED, 0, None) == 0
    assert RetryPolicy(1, lambda: 0.5).pause_s(FAILED, 0, None) == FIRST_STEP_S / 2


def test_the_providers_word_goes_before_the_step() -> None:
    """Never sooner than it says, and the jitter on top."""
    refused = RateLimitError("", status=429, retry_after=3)
    assert RetryPolicy(1, lambda: 0.0).pause_s(refused, 0, None) == 3
    assert RetryPolicy(1, lambda: 1.0).pause_s(refused, 0, None) == 3 + FIRST_STEP_S


def test_nothing_is_repeated_more_often_than_configured() -> None:
    """The first attempt is 0."""
    policy = RetryPolicy(2, lambda: 0.0)
    assert [policy.pause_s(FAILED, attempt, None) is None for attempt in range(4)] == [
        False,
        False,
        True,
        True,
    ]
    assert RetryPolicy(0, lambda: 0.0).pause_s(FAILED, 0, None) is None


@pytest.mark.parametrize(
    ("remaining_s", "repeated"), [(None, True), (4.0, True), (3.0, False), (-1.0, False)]
)
def test_no_pause_outlasts_the_call(remaining_s: float | None, repeated: bool) -> None:
    """Who could not be answered any more is told at once."""
    refused = RateLimitError("", status=429, retry_after=3)
    assert (RetryPolicy(1, lambda: 0.0).pause_s(refused, 0, remaining_s) is not None) is repeated


def test_a_very_long_wait_is_the_callers() -> None:
    """A place in the worker is not held for it."""
    for hint_s, repeated in ((MAX_HINT_S, True), (MAX_HINT_S + 1, False)):
        refused = RateLimitError("", status=429, retry_after=hint_s)
        assert (ALWAYS.pause_s(refused, 0, None) is not None) is repeated
