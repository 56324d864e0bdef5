"""How fast something grows: the Theil-Sen slope and how sure one may be of it. Pure.

The slope is the median of the slopes between all pairs of samples, so neither one jump
nor a third of outliers moves it, as they would a least-squares line. Its confidence limits
are slopes of that same list, at ranks that Kendall's statistic gives (Sen, "Estimates of
the regression coefficient based on Kendall's tau", JASA 63, 1968).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import Final

Z_95: Final = 1.96
"""Two-sided 95 %, so the upper limit by itself holds with 97.5 %."""
MIN_SAMPLES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """A slope with its limits, in units of y for one of x."""

    lower: float
    middle: float
    upper: float


def theil_sen(xs: Sequence[float], ys: Sequence[float]) -> Slope:
    """Estimate the slope of `ys` over `xs`.

    Args:
        xs: Strictly increasing, at least `MIN_SAMPLES`. All pairs are looked at, so a few
            hundred are enough and a few thousand too many.
        ys: As many.

    Raises:
        ValueError: when there are too few, or not as many of each.
    """
    count = len(xs)
    if count != len(ys) or count < MIN_SAMPLES:
        raise ValueError(f"expected at least {MIN_SAMPLES} pairs, got {count} x and {len(ys)} y")
    slopes = sorted(
        (ys[later] - ys[earlier]) / (xs[later] - xs[earlier])
        for later in range(count)
        for earlier in range(later)
    )
    spread = Z_95 * sqrt(count * (count - 1) * (2 * count + 5) / 18)
    lowest = round((len(slopes) - spread) / 2) - 1
    highest = round((len(slopes) + spread) / 2)
    return Slope(
        lower=slopes[max(0, lowest)],
        middle=median(slopes),
        upper=slopes[min(len(slopes) - 1, highest)],
    )
