"""EVALUATIONS: what a report reads of one, leniently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .figures import number_of
from .shapes import Record, map_of, moment_of, text_of, versioned

DEFAULT_CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricScores:
    """What a metric said over all rows.

    Attributes:
        metric: Its name.
        scored: Rows that have a score.
        failed: Rows that have none.
        passed: Rows that passed, where the metric says so.
        mean: Of all rows; one without a score counts as the evaluation's `failure_score`.
        mean_scored: Of the rows that have a score.
        low, high: Interval of the mean.
        stdev: As the mean.
    """

    metric: str
    scored: float | None
    failed: float | None
    passed: float | None
    mean: float | None
    mean_scored: float | None
    low: float | None
    high: float | None
    stdev: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An evaluation, without its rows.

    Attributes:
        rows: How many there are to be.
        done: That have a prediction.
        failed: That have an error instead.
        failure_score: What a row without a score counts as.
        metric_usage: What of `usage` the metrics spent.
    """

    name: str
    program: str
    spec: Record
    dataset: str
    lm: str
    state: str
    note: str
    created: str
    ended: str
    rows: float | None
    done: float | None
    failed: float | None
    scores: list[MetricScores]
    failure_score: float
    usage: Record
    metric_usage: Record
    latency_ms: Record
    confidence: float

    @property
    def title(self) -> str:
        """What was evaluated, in a few words."""
        return self.program or self.name or "a program"

    @property
    def ran(self) -> float | None:
        """How many rows have come to something."""
        return None if self.done is None else self.done + (self.failed or 0.0)


def evaluation_of(record: Record) -> Evaluation:
    """Read one."""
    return Evaluation(
        name=text_of(record.get("evaluation")),
        program=versioned(record.get("program"), record.get("version")),
        spec=map_of(record.get("spec")),
        dataset=versioned(record.get("dataset"), record.get("dataset_version")),
        lm=text_of(record.get("lm")),
        state=text_of(record.get("state")),
        note=text_of(record.get("note")),
        created=moment_of(record.get("created")),
        ended=moment_of(record.get("ended")),
        rows=number_of(record.get("rows")),
        done=number_of(record.get("done")),
        failed=number_of(record.get("failed")),
        scores=[_scores_of(metric, map_of(said)) for metric, said in map_of(record.get("scores")).items()],
        failure_score=number_of(record.get("failure_score")) or 0.0,
        usage=map_of(record.get("usage")),
        metric_usage=map_of(record.get("metric_usage")),
        latency_ms=map_of(record.get("latency_ms")),
        confidence=number_of(record.get("confidence")) or DEFAULT_CONFIDENCE,
    )


def _scores_of(metric: str, said: Record) -> MetricScores:
    numbers = {
        key: number_of(said.get(key))
        for key in ("scored", "failed", "passed", "mean", "mean_scored", "low", "high", "stdev")
    }
    return MetricScores(metric=metric, **numbers)
