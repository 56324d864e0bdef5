"""FIGURES: what the rows of an evaluation come to, as they come and at the end. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from dspex_pool.spending import Spent

from .records import Fact, Head
from .statistics import deviation_of, interval_of, mean_of, percentiles_of

CONFIDENCE: Final = 0.95
SEED: Final = 0
"""Of the intervals in an evaluation: the same rows have the same."""

PERCENTILES: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
_DECIMALS: Final = 3


class Figures:
    """Of the rows that have come so far.

    Args:
        head: As it was when this run of the evaluation began.

    Attributes:
        has_come: By index, whether a row is there.
    """

    def __init__(self, head: Head) -> None:
        self.has_come = bytearray(head.rows)
        self._names = head.metrics
        self._failure_score = head.failure_score
        self._scores = [array("d", [math.nan]) * head.rows for _ in head.metrics]
        self._counts = [0] * len(head.metrics)
        self._totals = [0.0] * len(head.metrics)
        self._verdicts = [[0, 0] for _ in head.metrics]
        self._times = array("d")
        self._done = 0
        self._failed = 0
        self._usage = _spent_of(head.usage)
        self._metric_usage = _spent_of(head.metric_usage)

    def know(self, fact: Fact) -> bool:
        """A row is there; False where it was before."""
        if self.has_come[fact.index]:
            return False
        self.has_come[fact.index] = True
        self._done += fact.code is None
        self._failed += fact.code is not None
        if fact.worker_ms is not None:
            self._times.append(fact.worker_ms)
        for place, (score, passed) in enumerate(zip(fact.scores, fact.passed, strict=True)):
            if score is not None:
                self._scores[place][fact.index] = score
                self._counts[place] += 1
                self._totals[place] += score
            if passed is not None:
                self._verdicts[place][passed] += 1
        return True

    def spend(self, usage: Mapping[str, object], of_metrics: Mapping[str, object]) -> None:
        """A row has cost so much, and of that its metrics so much."""
        self._usage.add(usage)
        self._metric_usage.add(of_metrics)

    def on(self, head: Head) -> Head:
        """The head with what has come so far; there are no intervals yet."""
        return replace(
            head,
            done=self._done,
            failed=self._failed,
            scores={name: self._row(place) for place, name in enumerate(self._names)},
            usage=self._usage.told(),
            metric_usage=self._metric_usage.told(),
        )

    def summed(self, head: Head) -> Head:
        """The head with all that can be said at the end. Takes a moment."""
        return replace(
            self.on(head),
            scores={name: self._summed_row(place) for place, name in enumerate(self._names)},
            latency_ms=latency_of(self._times),
        )

    def _row(self, place: int) -> dict[str, object]:
        """As long as more may come: from sums, since it is asked for often."""
        scored, total = self._counts[place], self._totals[place]
        rows = self._done + self._failed
        verdicts = self._verdicts[place]
        return {
            "scored": scored,
            "failed": rows - scored,
            "passed": verdicts[True] if sum(verdicts) else None,
            "mean": (total + (rows - scored) * self._failure_score) / rows if rows else None,
            "mean_scored": total / scored if scored else None,
            "low": None,
            "high": None,
            "stdev": None,
        }

    def _summed_row(self, place: int) -> dict[str, object]:
        scored = [score for score in self._scores[place] if not math.isnan(score)]
        values = scored + [self._failure_score] * (self._done + self._failed - len(scored))
        low, high = interval_of(values, seed=SEED, confidence=CONFIDENCE)
        means = {"mean": mean_of(values), "mean_scored": mean_of(scored)}
        return {**self._row(place), **means, "low": low, "high": high, "stdev": deviation_of(values)}


def latency_of(times_ms: Sequence[float]) -> dict[str, float] | None:
    """Percentiles of times in milliseconds; None of none."""
    if not times_ms:
        return None
    found = percentiles_of(times_ms, list(PERCENTILES.values()))
    return {name: round(time, _DECIMALS) for name, time in zip(PERCENTILES, found, strict=True)}


def _spent_of(told: Mapping[str, object]) -> Spent:
    spent = Spent()
    spent.add(told)
    return spent
