"""The method that makes a report, with its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from dspex_pool.evaluation.operations import CompareEvaluations
from dspex_pool.own_method import OwnMethod
from dspex_protocol.records import Doc, Length

METHOD: Final = "report.make"


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeReport:
    """A report of one of `evaluation`, `comparison`, `job` and `experiment`."""

    format: Annotated[Literal["html", "markdown", "json", "csv"], Doc("of the text")]
    evaluation: Annotated[str, Length(1, 128), Doc("id of an evaluation")] | None = None
    comparison: (
        Annotated[CompareEvaluations, Doc("evaluations of the same rows, as of evaluation.compare")] | None
    ) = None
    job: Annotated[str, Length(1, 128), Doc("id of a job, such as that of an optimizer")] | None = None
    experiment: Annotated[str, Length(1, 128), Doc("id of an experiment")] | None = None


REPORT_METHODS: Final[Mapping[str, OwnMethod]] = {
    METHOD: OwnMethod(
        parameters=MakeReport,
        doc="An evaluation, comparison, job or experiment as HTML, Markdown, JSON, CSV; in pieces by credit.",
    ),
}
