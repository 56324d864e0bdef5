"""The methods about evaluations that there are, with their parameters; `request` has that which makes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from dspex_pool.own_method import PAGE, Limit, OwnMethod
from dspex_protocol.records import Doc, Length, Range

from .request import EvaluationId

MAX_INDEXES: Final = 1000
MAX_COMPARED: Final = 8
"""Evaluations that are compared at once: 28 pairs."""

MAX_RESAMPLES: Final = 10_000

Name = Annotated[str, Length(1, 128), Doc("name of a metric of the evaluation")]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedEvaluation:
    """An evaluation."""

    evaluation: EvaluationId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEvaluations:
    """Which evaluations, by id."""

    prefix: Annotated[str, Length(0, 128), Doc("only ids that begin so")] = ""
    program: Annotated[str, Length(1, 128), Doc("only those of this stored program")] | None = None
    dataset: Annotated[str, Length(1, 128), Doc("only those on this dataset")] | None = None
    limit: Limit = PAGE
    after: Annotated[str, Length(0, 128), Doc("`next` of the page before")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetEvaluationRows:
    """Which rows of an evaluation, in which order; a page at a time."""

    evaluation: EvaluationId
    error: Annotated[bool, Doc("true: only rows with an error; false: only those without")] | None = None
    metric: Name | None = None
    scored: Annotated[bool, Doc("whether that metric has a score of the row")] | None = None
    passed: Annotated[bool, Doc("whether that metric says that it passed")] | None = None
    min: Annotated[float, Doc("only rows with that score by the metric, or a higher one")] | None = None
    max: Annotated[float, Doc("only rows with that score by the metric, or a lower one")] | None = None
    indexes: (
        Annotated[list[Annotated[int, Range(0)]], Length(0, MAX_INDEXES), Doc("only rows with these indexes")]
        | None
    ) = None
    sort: Annotated[Literal["index", "score", "worker_ms"], Doc("by what; rows without it come last")] = (
        "index"
    )
    descending: Annotated[bool, Doc("the last one first")] = False
    offset: Annotated[int, Range(0), Doc("how many of those to leave out: `next` of the page before")] = 0
    limit: Limit = PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareEvaluations:
    """Evaluations of the same rows, to be held against each other."""

    evaluations: Annotated[list[EvaluationId], Length(2, MAX_COMPARED), Doc("their ids")]
    metrics: Annotated[list[Name], Length(1, 16), Doc("by which; default: those that all have")] | None = None
    seed: Annotated[int, Range(0, 2**63 - 1), Doc("the same seed, the same figures")] = 0
    resamples: Annotated[int, Range(100, MAX_RESAMPLES), Doc("of the bootstrap")] = 2000
    confidence: Annotated[float, Range(0.5, 0.9999), Doc("of intervals, and of what is significant")] = 0.95
    rows: Annotated[bool, Doc("whether the answer has the scores of each row")] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FindFailures:
    """What is wrong with the rows of an evaluation, the most frequent first."""

    evaluation: EvaluationId
    below: Annotated[float, Range(0, 1), Doc("a score lower than this fails, where there is no verdict")] = (
        0.5
    )
    limit: Limit = PAGE


EVALUATION_METHODS: Final[Mapping[str, OwnMethod]] = {
    "evaluation.get": OwnMethod(
        parameters=NamedEvaluation, doc="An evaluation: what was asked, how far it is and what came of it."
    ),
    "evaluation.list": OwnMethod(parameters=ListEvaluations, doc="Evaluations by id, a page at a time."),
    "evaluation.rows": OwnMethod(
        parameters=GetEvaluationRows, doc="Rows of an evaluation, found by error or score, a page at a time."
    ),
    "evaluation.compare": OwnMethod(
        parameters=CompareEvaluations, doc="Holds evaluations of the same rows against each other."
    ),
    "evaluation.failures": OwnMethod(
        parameters=FindFailures, doc="Clusters of the rows that failed: by error, metric and part."
    ),
    "evaluation.delete": OwnMethod(parameters=NamedEvaluation, doc="Forgets an evaluation with its rows."),
}
