"""COMPARISONS: what a report reads of one, leniently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .evaluations import DEFAULT_CONFIDENCE, Evaluation, evaluation_of
from .figures import number_of
from .shapes import Record, list_of, map_of, maps_of, text_of, versioned


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two evaluations under one metric; `b` against `a`.

    Attributes:
        difference: Mean of `b` less mean of `a`, over rows that both scored.
        low, high: Its interval.
        p: Of the two being alike.
        p_holm: The same with regard to all comparisons that were made at once.
        significant: As the comparison says; None where it does not.
        wins: Rows in which `b` is better.
    """

    metric: str
    a: str
    b: str
    rows: float | None
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    significant: bool | None
    wins: float | None
    losses: float | None
    ties: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several evaluations over the same rows.

    Attributes:
        sides: The evaluations, each with program, version and scores.
        names: What each is called in the report, no two alike.
        pairs: Each two of them under each metric.
        left_out: Metrics that not all of them have.
        comparisons: How many were made at once.
    """

    sides: list[Evaluation]
    names: list[str]
    pairs: list[Pair]
    metrics: list[str]
    left_out: list[str]
    dataset: str
    comparisons: float | None
    failure_score: float
    seed: str
    resamples: float | None
    confidence: float


def comparison_of(record: Record, evaluations: Sequence[Record] = ()) -> Comparison:
    """Read one, with what else is known of its evaluations."""
    known = {record["evaluation"]: record for record in evaluations if "evaluation" in record}
    sides = [
        evaluation_of({**known.get(text_of(side.get("evaluation")), {}), **side})
        for side in maps_of(record.get("evaluations"))
    ]
    names = _told_apart(sides)
    metrics = map_of(record.get("metrics"))
    return Comparison(
        sides=sides,
        names=names,
        pairs=[
            _pair_of(metric, pair, sides, names)
            for metric, pairs in metrics.items()
            for pair in maps_of(pairs)
        ],
        metrics=list(metrics),
        left_out=[text_of(metric) for metric in list_of(record.get("left_out"))],
        dataset=versioned(record.get("dataset"), record.get("dataset_version")),
        comparisons=number_of(record.get("comparisons")),
        failure_score=sides[0].failure_score if sides else 0.0,
        seed=text_of(record.get("seed")),
        resamples=number_of(record.get("resamples")),
        confidence=number_of(record.get("confidence")) or DEFAULT_CONFIDENCE,
    )


def _told_apart(sides: Sequence[Evaluation]) -> list[str]:
    """The programs' names where these differ; with the evaluations' where they do not."""
    titles = [side.title for side in sides]
    if len(set(titles)) == len(titles):
        return titles
    return [f"{side.title} ({side.name or n})" for n, side in enumerate(sides, 1)]


def _pair_of(metric: str, pair: Record, sides: Sequence[Evaluation], names: Sequence[str]) -> Pair:
    def called(which: object) -> str:
        for at, side in enumerate(sides):
            if which == side.name or (which == at and not isinstance(which, bool)):
                return names[at]
        return text_of(which)

    numbers = {
        key: number_of(pair.get(key))
        for key in (
            "rows",
            "mean_a",
            "mean_b",
            "difference",
            "low",
            "high",
            "p",
            "p_holm",
            "wins",
            "losses",
            "ties",
        )
    }
    significant = pair.get("significant")
    return Pair(
        metric=metric,
        a=called(pair.get("a")),
        b=called(pair.get("b")),
        significant=significant if isinstance(significant, bool) else None,
        **numbers,
    )
