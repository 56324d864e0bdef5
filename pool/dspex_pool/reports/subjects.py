"""SUBJECTS: of what there is a report, and who writes it in which format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from .comparison_markdown import ComparisonMarkdown
from .comparison_page import ComparisonPage
from .csv_reports import ComparisonCsv, EvaluationCsv, EventsCsv, Fields, RunsCsv
from .evaluation_markdown import EvaluationMarkdown
from .evaluation_page import EvaluationPage
from .experiment_markdown import ExperimentMarkdown
from .experiment_page import ExperimentPage
from .job_markdown import JobMarkdown
from .job_page import JobPage
from .json_reports import JsonReport
from .shapes import Record

Format = Literal["html", "markdown", "json", "csv"]
FORMATS: Final = ("html", "markdown", "json", "csv")
MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "markdown": "text/markdown; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
}


class Writer(Protocol):
    """Writes a report in pieces: one beginning, rows in any number of steps, one end."""

    def begin(self) -> str:
        """What stands before the rows."""
        ...

    def add(self, rows: Sequence[Record], /) -> str:
        """Some rows; what is known of them may be written later."""
        ...

    def end(self) -> str:
        """The rest."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OfEvaluation:
    """An evaluation; its rows are those of `evaluation.rows`.

    Attributes:
        evaluation: The record.
        failures: Its clusters, as of `evaluation.failures`.
    """

    evaluation: Record
    failures: Record | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfComparison:
    """A comparison; its rows are its own, each completed by `comparing.beside_of`.

    Attributes:
        comparison: The record.
        evaluations: Those that it compares.
    """

    comparison: Record
    evaluations: Sequence[Record] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OfJob:
    """A job; its rows are its events."""

    job: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class OfExperiment:
    """An experiment; its rows are its runs, each with its `points`."""

    experiment: Record


Subject = OfEvaluation | OfComparison | OfJob | OfExperiment


def writer_of(subject: Subject, format_: Format, fields: Fields | None = None) -> Writer:
    """Who writes a report.

    Args:
        subject: What it is about.
        format_: In which form.
        fields: For CSV of all but jobs: what the rows have.
    """
    match subject:
        case OfEvaluation():
            return _of_evaluation(subject, format_, fields or Fields())
        case OfComparison():
            return _of_comparison(subject, format_, fields or Fields())
        case OfJob():
            return _of_job(subject.job, format_)
        case OfExperiment():
            return _of_experiment(subject.experiment, format_, fields or Fields())


def _of_evaluation(subject: OfEvaluation, format_: Format, fields: Fields) -> Writer:
    match format_:
        case "html":
            return EvaluationPage(subject.evaluation, subject.failures)
        case "markdown":
            return EvaluationMarkdown(subject.evaluation, subject.failures)
        case "json":
            return JsonReport("evaluation", subject.evaluation, {"failures": subject.failures})
        case "csv":
            return EvaluationCsv(subject.evaluation, fields)


def _of_comparison(subject: OfComparison, format_: Format, fields: Fields) -> Writer:
    match format_:
        case "html":
            return ComparisonPage(subject.comparison, subject.evaluations)
        case "markdown":
            return ComparisonMarkdown(subject.comparison, subject.evaluations)
        case "json":
            return JsonReport("comparison", subject.comparison, {"evaluations": list(subject.evaluations)})
        case "csv":
            return ComparisonCsv(subject.comparison, subject.evaluations, fields)


def _of_experiment(experiment: Record, format_: Format, fields: Fields) -> Writer:
    match format_:
        case "html":
            return ExperimentPage(experiment)
        case "markdown":
            return ExperimentMarkdown(experiment)
        case "json":
            return JsonReport("experiment", experiment, {})
        case "csv":
            return RunsCsv(fields)


def _of_job(job: Record, format_: Format) -> Writer:
    match format_:
        case "html":
            return JobPage(job)
        case "markdown":
            return JobMarkdown(job)
        case "json":
            return JsonReport("job", job, {})
        case "csv":
            return EventsCsv()
