"""How long calls took lately, as percentiles, for a few tenths of a microsecond each.

Times are counted in buckets that grow by a fifth, so a percentile is right to an eighth either
way. Keeping the times themselves would cost memory by load and a sort at each look.
"""

from __future__ import annotations

from math import frexp
from typing import Final

WINDOW_S: Final = 30.0
"""Counts are kept for one to two windows: the one that runs and the one before."""
_STEPS: Final = 4  # per doubling
_LEAST: Final = -6 * _STEPS  # 2**-7 ms = 8 us; everything below counts as that
_BUCKETS: Final = 28 * _STEPS  # up to 2**21 ms = 35 minutes; everything above counts as that
_NOTHING_MS: Final = 1e-9
"""Added to each, since frexp gives 0 the exponent of a half: on a clock of milliseconds most waits are 0."""


class Latencies:
    """A histogram of times. Pure: the time of the day comes in with each."""

    __slots__ = ("_counts", "_earlier", "_max_ms", "_since_s")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._earlier = [0] * _BUCKETS
        self._max_ms = [0.0, 0.0]  # of both
        self._since_s = 0.0

    def add(self, now_s: float, ms: float) -> None:
        """Count one."""
        if now_s - self._since_s > WINDOW_S:
            self._turn(now_s)
        mantissa, exponent = frexp(ms + _NOTHING_MS)
        at = exponent * _STEPS + int(mantissa * 2 * _STEPS) - _STEPS - _LEAST
        self._counts[0 if at < 0 else at if at < _BUCKETS else -1] += 1
        self._max_ms[0] = max(self._max_ms[0], ms)

    def _turn(self, now_s: float) -> None:
        stale = now_s - self._since_s > 2 * WINDOW_S
        self._earlier = [0] * _BUCKETS if stale else self._counts
        self._max_ms = [0.0, 0.0 if stale else self._max_ms[0]]
        self._counts = [0] * _BUCKETS
        self._since_s = now_s

    def snapshot(self, now_s: float) -> dict[str, float]:
        """How many in the last half to whole minute, and their percentiles in milliseconds."""
        if now_s - self._since_s > WINDOW_S:
            self._turn(now_s)
        counts = [now + before for now, before in zip(self._counts, self._earlier, strict=True)]
        return {
            "count": sum(counts),
            "p50_ms": _percentile(counts, 0.5),
            "p90_ms": _percentile(counts, 0.9),
            "p99_ms": _percentile(counts, 0.99),
            "max_ms": round(max(self._max_ms), 3),
        }


def _percentile(counts: list[int], part: float) -> float:
    """The middle of the bucket in which it lies; 0.0 where there is nothing."""
    wanted = sum(counts) * part
    seen = 0
    for at, count in enumerate(counts):
        seen += count
        if count and seen >= wanted:
            return round((_lower_ms(at) + _lower_ms(at + 1)) / 2, 3)
    return 0.0


def _lower_ms(at: int) -> float:
    """Where a bucket begins: `add` backwards."""
    exponent, step = divmod(at + _LEAST, _STEPS)
    return 2.0**exponent * (step + _STEPS) / (2 * _STEPS)
