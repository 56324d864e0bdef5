"""The offline model's weather: latency, errors, rate limits."""

from __future__ import annotations

import statistics

import pytest

from dspex_bridge.sim.model import Latency, SimModel, SimOptions, SimRateLimited, SimUnavailable
from dspex_protocol import CallerError
from dspex_protocol.records import read

HELLO = [("user", "hello")]


class Clock:
    """A clock that is set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_latency_follows_its_percentiles() -> None:
    """Log-normal: half of the answers within p50, one in a hundred beyond p99."""
    model = SimModel(SimOptions(latency_ms=Latency(p50=100, p99=400)))
    seen_ms = sorted(model.answer(HELLO).first_token_s * 1000 for _ in range(4000))
    assert statistics.median(seen_ms) == pytest.approx(100, rel=0.1)
    assert seen_ms[3960] == pytest.approx(400, rel=0.25)


def test_tokens_take_their_time() -> None:
    """The whole answer needs the first token's latency and the pace of the others."""
    answer = SimModel(SimOptions(latency_ms=50, tokens_per_s=100)).answer(HELLO)
    assert answer.total_s == pytest.approx(0.05 + answer.tokens_out / 100)


def test_the_error_rate_is_kept_and_a_repeat_may_succeed() -> None:
    """Errors are weather, not a property of the request."""
    model = SimModel(SimOptions(error_rate=0.3))
    failures = 0
    for _ in range(1000):
        try:
            model.answer(HELLO)
        except SimUnavailable:
            failures += 1
    assert 230 < failures < 370


def test_the_rate_limit_says_when_to_come_back() -> None:
    """A bucket of one second's requests, refilled as time goes by."""
    clock = Clock()
    model = SimModel(SimOptions(rate_limit_per_s=2), clock)
    model.answer(HELLO)
    model.answer(HELLO)
    with pytest.raises(SimRateLimited) as refusal:
        model.answer(HELLO)
    assert refusal.value.retry_after_s == pytest.approx(0.5)
    clock.now_s += 0.5
    assert model.answer(HELLO).text


def test_pieces_make_up_the_answer() -> None:
    """Streaming cuts, and loses nothing."""
    model = SimModel(SimOptions(token_chars=3))
    answer = model.answer(HELLO)
    pieces = model.pieces(answer)
    assert "".join(pieces) == answer.text
    assert {len(piece) for piece in pieces[:-1]} == {3}


def test_a_misspelt_option_is_named() -> None:
    """Options come from outside."""
    with pytest.raises(CallerError, match=r"lms\.a\.options\.latency"):
        read(SimOptions, {"latency": 3}, "lms.a.options")
