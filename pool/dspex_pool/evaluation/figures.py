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

DONE: Final = 1
FAILED: Final = 2
UNKNOWN: Final = -1


class Figures:
    """Of the rows that have come so far.

    Args:
        head: As it was when this run of the evaluation began.

    Some tens of bytes for each row: an evaluation may have a hundred thousand.
    """

    def __init__(self, head: Head) -> None:
        self._outcomes = bytearray(head.rows)
        self._scores = [array("d", [math.nan]) * head.rows for _ in head.metrics]
        self._passed = [array("b", [UNKNOWN]) * head.rows for _ in head.metrics]
        self._times_ms = array("d", [math.nan]) * head.rows
        self._names = head.metrics
        self._failure_score = head.failure_score
        self._counts = [0] * len(head.metrics)
        self._totals = [0.0] * len(head.metrics)
        self._verdicts = [[0, 0] for _ in head.metrics]
        self._done = 0
        self._failed = 0
        self._usage = _spent_of(head.usage)
        self._metric_usage = _spent_of(head.metric_usage)

    def know(self, fact: Fact) -> None:
        """A row is there, in place of what it had come to before."""
        at = fact.index
        self._count(at, -1)
        self._outcomes[at] = DONE if fact.code is None else FAILED
        self._times_ms[at] = math.nan if fact.worker_ms is None else fact.worker_ms
        for place, (score, passed) in enumerate(zip(fact.scores, fact.passed, strict=True)):
            self._scores[place][at] = math.nan if score is None else score
            self._passed[place][at] = UNKNOWN if passed is None else passed
        self._count(at, 1)

    def _count(self, at: int, times: int) -> None:
        self._done += times * (self._outcomes[at] == DONE)
        self._failed += times * (self._outcomes[at] == FAILED)
        for place, (scores, passed) in enumerate(zip(self._scores, self._passed, strict=True)):
            if not math.isnan(scores[at]):
                self._counts[place] += times
                self._totals[place] += times * scores[at]
            if passed[at] != UNKNOWN:
                self._verdicts[place][passed[at]] += times

    def is_wanted(self, index: int, *, again: bool) -> bool:
        """Whether a row is to be run.

        Args:
            index: Which.
            again: Also when it has come, and has an error or lacks a score.
        """
        if self._outcomes[index] != DONE:
            return again or not self._outcomes[index]
        return again and any(math.isnan(scores[index]) for scores in self._scores)

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
            latency_ms=latency_of([time_ms for time_ms in self._times_ms if not math.isnan(time_ms)]),
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
