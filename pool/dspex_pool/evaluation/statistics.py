"""STATISTICS: how sure a mean is, and whether two differ. Pure, seeded, of bounded cost.

docs/evaluation.md says which methods these are, where they come from and what they assume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from random import Random
from statistics import NormalDist
from typing import Final, NamedTuple

RESAMPLES: Final = 2_000
"""So many put the ends of a 95 % interval where a second run finds them to a tenth of its width."""

MAX_RESAMPLED: Final = 1_000
"""Values that are resampled: a sixth of a second. The mean of more of them is distributed normally, as
far as anybody can tell, and the interval is that of the normal distribution, which costs nothing."""

FLIPS: Final = 10_000
"""Of signs, for a p-value: the least that it can be is a ten-thousandth."""

MAX_ENUMERATED: Final = 12
"""Differences of which all combinations of signs are looked at; no more than 4,096."""

_GROUP: Final = 8

SLICE: Final = 100_000
"""Tables that are looked into at a time: some ten milliseconds. All of 100,000 differences take a minute."""


class Interval(NamedTuple):
    """Where a mean is likely to be; None where there are too few values to say."""

    low: float | None
    high: float | None


def mean_of(values: Sequence[float]) -> float | None:
    """Their mean; None of none."""
    return math.fsum(values) / len(values) if values else None


def deviation_of(values: Sequence[float]) -> float | None:
    """Their standard deviation, that of a sample; None of fewer than two."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def interval_of(
    values: Sequence[float], *, seed: int, confidence: float, resamples: int = RESAMPLES
) -> Interval:
    """The percentile bootstrap's interval of a mean; the normal one of more than `MAX_RESAMPLED` values.

    Args:
        values: At least two, or there is no interval.
        seed: The same seed, the same interval.
        confidence: How much of the distribution is inside, such as 0.95.
        resamples: How often it is drawn anew.
    """
    deviation = deviation_of(values)
    if deviation is None:
        return Interval(None, None)
    mean = math.fsum(values) / len(values)
    if len(values) > MAX_RESAMPLED:
        reach = NormalDist().inv_cdf((1 + confidence) / 2) * deviation / math.sqrt(len(values))
        return Interval(mean - reach, mean + reach)
    random, count = Random(seed), len(values)
    means = sorted(math.fsum(random.choices(values, k=count)) / count for _ in range(resamples))
    outside = (1 - confidence) / 2
    return Interval(_quantile(means, outside), _quantile(means, 1 - outside))


def p_value(differences: Sequence[float], *, seed: int) -> Generator[None, None, float]:
    """How likely a mean difference that large is, either way, where there is none.

    A randomization test: were there none, the sign of each paired difference would be a coin's.

    Args:
        differences: Of each row, one score less the other. Rows without any say nothing.
        seed: The same seed, the same value.

    Yields:
        Whenever a slice of the work is done; the value is returned.
    """
    sizes = [abs(one) for one in differences if one]
    if not sizes:
        return 1.0
    observed = abs(math.fsum(differences))
    # Sums of the same numbers in another order may differ in their last digits, and count as equal.
    least = observed - 1e-9 * math.fsum(sizes)
    sums = _signed_sums(sizes)
    if len(sizes) <= MAX_ENUMERATED:
        every = range(1 << len(sizes))
        return sum(abs(sums(signs)) >= least for signs in every) / len(every)
    random, as_large = Random(seed), 0
    at_once = max(1, SLICE * _GROUP // len(sizes))
    for first in range(0, FLIPS, at_once):
        flips = range(first, min(FLIPS, first + at_once))
        as_large += sum(abs(sums(random.getrandbits(len(sizes)))) >= least for _ in flips)
        yield
    return (as_large + 1) / (FLIPS + 1)


def holm(values: Sequence[float]) -> list[float]:
    """P-values of several comparisons, adjusted by Holm's step-down method; in their order."""
    adjusted = [0.0] * len(values)
    worst = 0.0
    by_size = sorted(range(len(values)), key=values.__getitem__)
    for rank, place in enumerate(by_size):
        worst = max(worst, min(1.0, values[place] * (len(values) - rank)))
        adjusted[place] = worst
    return adjusted


def percentiles_of(values: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Values below which these shares of all values are; of at least one value."""
    ordered = sorted(values)
    return [ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in shares]


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, max(0, math.floor(share * len(ordered))))]


def _signed_sums(sizes: Sequence[float]) -> Callable[[int], float]:
    """Adds up numbers with the signs that bits say: a byte of them at a time, from tables."""
    tables: list[list[float]] = []
    for first in range(0, len(sizes), _GROUP):
        group = sizes[first : first + _GROUP]
        table = [0.0]
        for size in group:
            table = [one - size for one in table] + [one + size for one in table]
        tables.append(table)
    width = len(tables)

    def of(signs: int) -> float:
        return math.fsum(
            [table[byte] for table, byte in zip(tables, signs.to_bytes(width, "little"), strict=True)]
        )

    return of
