"""FIGURES: numbers in words for people, and what is counted of many of them.

What is no finite number is a dash, whatever came instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

UNKNOWN: Final = "\u2013"
MINUS: Final = "\u2212"
BINS: Final = 20
_FARTHEST: Final = 1e150
"""Where an axis ends at the latest: the span of one may be calculated with."""
_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


class Axis(NamedTuple):
    """From where to where."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value is, from 0 to 1; what is outside is at the edge."""
        share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))


class Bin(NamedTuple):
    """So many values are from `low` on and below `high`; the last bin has its upper edge too."""

    low: float
    high: float
    values: int


def number_of(value: object) -> float | None:
    """A finite number; None for anything else."""
    match value:
        case bool():
            return float(value)
        case int() | float() | Decimal():
            try:
                number = float(value)
            except (OverflowError, ValueError):
                return None
            return number if math.isfinite(number) else None
        case _:
            return None


# In words


def score_text(value: float | None) -> str:
    """A score or a mean with three places, or as many digits where it is large or tiny."""
    if value is None:
        return UNKNOWN
    if value and not 0.001 <= abs(value) < 10_000:
        return _minus(f"{value:.3g}")
    return _minus(f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}")


def signed_text(value: float | None) -> str:
    """A difference; its sign is there unless it is none."""
    if value is None:
        return UNKNOWN
    return score_text(value) if value <= 0 else f"+{score_text(value)}"


def interval_text(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """From where to where."""
    if low is None or high is None:
        return UNKNOWN
    say = signed_text if signed else score_text
    return f"{say(low)} to {say(high)}"


def percent_text(share: float | None) -> str:
    """A share of one."""
    return UNKNOWN if share is None else f"{100 * share:.3g} %"


def count_text(value: float | None) -> str:
    """How many."""
    return UNKNOWN if value is None else _minus(f"{value:,.0f}")


def chance_text(p: float | None) -> str:
    """A p-value; below a thousandth its size is no news."""
    if p is None:
        return UNKNOWN
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration_text(ms: float | None) -> str:
    """Milliseconds, seconds, minutes or hours, whichever reads well."""
    if ms is None:
        return UNKNOWN
    if ms < 1_000:
        return f"{ms:.3g} ms" if ms < 100 else f"{ms:.0f} ms"
    if ms < 120_000:
        return f"{ms / 1_000:.3g} s"
    return f"{ms / 60_000:.3g} min" if ms < 7_200_000 else f"{ms / 3_600_000:.3g} h"


def money_text(usd: float | None) -> str:
    """US dollars, with the digits that small sums need."""
    if usd is None:
        return UNKNOWN
    return f"${usd:,.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.3g}"


def _minus(text: str) -> str:
    return text.replace("-", MINUS, 1) if text.startswith("-") else text


# Of many


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of them does not exceed.

    Args:
        ordered: From small to large.
        share: From 0 to 1.
    """
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def axis_of(values: Sequence[float]) -> Axis:
    """An axis that has them all and ends at round numbers; 0 to 1 where they fit, as most scores do."""
    if not values or (min(values) >= 0 and max(values) <= 1):
        return Axis(0.0, 1.0)
    low, high = _within(min(values)), _within(max(values))
    size = max(abs(low), abs(high))
    # Values that are alike but for the last digits make no axis of their own.
    step = _nice_step(high - low if high - low > size * 1e-9 else size)
    begin, end = math.floor(low / step) * step, math.ceil(high / step) * step
    return Axis(begin, end if end > begin else begin + step)


def axis_around_zero(values: Sequence[float]) -> Axis:
    """An axis with zero in its middle, so that both directions are drawn alike."""
    reach = _within(max((abs(value) for value in values), default=0.0)) or 1.0
    step = _nice_step(reach)
    end = math.ceil(reach / step) * step
    return Axis(-end, end)


def _within(value: float) -> float:
    return min(_FARTHEST, max(-_FARTHEST, value))


def _nice_step(span: float) -> float:
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 1e-300 else 1e-300
    return next(step * power for step in _NICE if step * power >= rough * 0.999_999)


def bins_of(values: Sequence[float], axis: Axis, bins: int = BINS) -> list[Bin]:
    """How many values are where."""
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(axis.place(value) * bins))] += 1
    width = (axis.high - axis.low) / bins
    return [Bin(axis.low + n * width, axis.low + (n + 1) * width, count) for n, count in enumerate(counts)]
