"""`metric.score`: rows of examples and predictions to scores."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Final, TypeAlias

import dspy

from dspex_protocol.errors import DSPexError
from dspex_protocol.records import Doc, Length, Range

from ..failures import told_failure
from ..lms.lms import DEFAULT as DEFAULT_LM
from ..lms.lms import LanguageModels
from ..lms.usage import counting
from ..rows import Operation, Worker
from ..worker.calls import RunningCall
from .catalog import MetricBuilder
from .metric import Metric
from .rows import Row, row_of
from .scores import Score
from .scoring import PartFailed, Scoring, failure_of, in_thread, measure

MAX_ROWS: Final = 100_000
PIECE_S: Final = 0.05
"""Rows are measured in a thread for so long before it is asked whether the call still wants the others."""

Outcome: TypeAlias = Score | DSPexError


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRow:
    """A row to be scored."""

    example: Annotated[object, Doc("a map of field to value, or an example")]
    prediction: Annotated[object, Doc("a map of field to value, or a prediction")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRows:
    """Rows and the metric that they are to be scored by."""

    metric: Annotated[object, Doc("a spec: {metric, options}; docs/metrics.md")]
    rows: Annotated[list[GivenRow], Length(0, MAX_ROWS)]
    lm: (
        Annotated[str, Doc("a configured LM, for metrics that ask one and name none; default: `default`")]
        | None
    ) = None
    parallelism: Annotated[int, Range(1, 1_024), Doc("rows at once, where models or the host are asked")] = 16
    row_deadline_ms: (
        Annotated[int, Range(1, 86_400_000), Doc("time of one row, from when it is begun")] | None
    ) = None


async def score_rows(worker: Worker, call: RunningCall, what: ScoreRows) -> object:
    """Score each row; one that has no score has an error, and the others go on."""
    metric = MetricBuilder(worker.programs.builder, worker.lms).metric(what.metric, "metric")
    rows = [row_of(row.example, row.prediction, f"rows[{n}]") for n, row in enumerate(what.rows)]
    if not metric.asks:
        outcomes = await _measured(metric, rows)
    else:
        settings = {**judges_lm(worker.lms, [metric], what.lm), "disable_history": True, "trace": None}
        with counting(call.usage), dspy.context(**settings):
            outcomes = await _asked(metric, rows, what)
    return {
        **_summary(outcomes),
        "usage": call.usage.meta(),
        "results": [told_outcome(one) for one in outcomes],
    }


def judges_lm(lms: LanguageModels, metrics: Iterable[Metric], wanted: str | None) -> dict[str, Any]:
    """DSPy's setting for metrics that ask a language model and name none.

    Args:
        lms: Those that are configured.
        metrics: What is to be asked.
        wanted: The one that the call names.

    Raises:
        CallerError: `unknown_lm`.
    """
    if not any(metric.asks_models for metric in metrics) or (
        wanted is None and DEFAULT_LM not in lms.configs
    ):
        return {}  # what needs one says so, row by row
    return {"lm": lms.get(wanted)}


async def _measured(metric: Metric, rows: Sequence[Row]) -> list[Outcome]:
    left = iter(rows)
    outcomes: list[Outcome] = []
    while len(outcomes) < len(rows):
        outcomes += await in_thread(lambda: _piece(metric, left))
    return outcomes


def _piece(metric: Metric, rows: Iterator[Row]) -> list[Outcome]:
    until_s = monotonic() + PIECE_S
    outcomes: list[Outcome] = []
    for row in rows:
        outcomes.append(_outcome(metric, row))
        if monotonic() > until_s:
            break
    return outcomes


def _outcome(metric: Metric, row: Row) -> Outcome:
    try:
        return measure(metric, row)
    except PartFailed as failed:
        return failure_of(failed)


async def _asked(metric: Metric, rows: Sequence[Row], what: ScoreRows) -> list[Outcome]:
    limit_s = None if what.row_deadline_ms is None else what.row_deadline_ms / 1000
    places = asyncio.Semaphore(what.parallelism)

    async def one(row: Row) -> Outcome:
        async with places:
            try:
                return await Scoring().within(metric, row, limit_s)
            except (PartFailed, DSPexError) as failed:
                return failure_of(failed)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(row)) for row in rows]
    return [task.result() for task in tasks]


def _summary(outcomes: Sequence[Outcome]) -> dict[str, object]:
    scores = [outcome for outcome in outcomes if isinstance(outcome, Score)]
    verdicts = [score.passed for score in scores if score.passed is not None]
    return {
        "rows": len(outcomes),
        "scored": len(scores),
        "failed": len(outcomes) - len(scores),
        "passed": sum(verdicts) if verdicts else None,
        "mean": math.fsum(score.score for score in scores) / len(scores) if scores else None,
    }


def told_outcome(outcome: Outcome) -> dict[str, object]:
    """A row's score or its error, as a value of the wire."""
    return outcome.told() if isinstance(outcome, Score) else {"error": told_failure(outcome)}


SCORE: Final = Operation(
    method="metric.score",
    parameters=ScoreRows,
    run=score_rows,
    doc="Scores predictions by a metric, row by row; a row without a score has its error.",
)
