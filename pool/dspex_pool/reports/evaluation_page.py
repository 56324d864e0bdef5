"""An evaluation as a page: scores, how they are spread, cost and time, failures, and each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import document
from .document import Choice, Column, Group, Plan, Rows, section
from .evaluation_words import (
    MAX_CLUSTERS,
    cluster_text,
    facts_of,
    incomplete_text,
    kind_text,
    metric_usage_text,
    passed_text,
    rows_of,
    share_text,
    shown,
    usage_of,
)
from .evaluations import Evaluation, evaluation_of
from .figures import (
    axis_of,
    count_text,
    duration_text,
    interval_text,
    number_of,
    percent_text,
    quantile,
    score_text,
)
from .markup import Markup, element
from .plots import are_whole, histogram, interval_strip
from .shapes import Record, map_of, maps_of
from .tally import Tally


class EvaluationPage:
    """Writes one, piece by piece.

    Args:
        record: The evaluation.
        failures: Its clusters of failing rows, where somebody asked for them.
    """

    def __init__(self, record: Record, failures: Record | None = None) -> None:
        self._evaluation = evaluation_of(record)
        self._record = record
        self._failures = failures
        self._metrics = [scores.metric for scores in self._evaluation.scores]
        self._tally = Tally(self._metrics)
        self._rows = Rows()

    def begin(self) -> str:
        """What stands before the rows."""
        return document.opening(f"Evaluation of {self._evaluation.title}") + self._rows.begin()

    def add(self, rows: Sequence[Record]) -> str:
        """Some rows."""
        self._tally.add(rows)
        return self._rows.add(rows)

    def end(self) -> str:
        """All that is seen."""
        evaluation = self._evaluation
        return self._rows.end() + document.closing(
            self._plan(),
            _heading(evaluation),
            section("Scores", score_table(evaluation), _about_intervals(evaluation)),
            self._distributions(),
            costs(evaluation, self._tally),
            failure_section(self._failures, self._tally),
            document.browser(
                "Rows", self._rows.what_is_missing, "Choose a row to see all that is known of it."
            ),
            self._settings(),
            document.footer("Made by dspex report."),
        )

    def _plan(self) -> Plan:
        scores = [Column(label=name, kind="score", at=("scores", name, "score")) for name in self._metrics]
        return Plan(
            noun="rows",
            columns=[
                Column(label="row", kind="number", at=("row",)),
                Column(label="given", kind="preview", at=("example",)),
                Column(label="answered", kind="preview", at=("prediction",)),
                *scores,
                Column(label="ms", kind="number", at=("worker_ms",)),
                Column(label="error", kind="text", at=("error", "code")),
            ],
            choices=[Choice(label="Error", at=("error", "code"), none="no error")],
            details=ROW_DETAILS,
            unit=all(axis_of(values) == (0.0, 1.0) for values in self._tally.scores.values()),
        )

    def _distributions(self) -> Markup:
        means = {scores.metric: scores.mean for scores in self._evaluation.scores}
        plots = [distribution(metric, values, means[metric]) for metric, values in self._tally.scores.items()]
        return section("How the scores are spread", element("div", *plots, class_="plots"))

    def _settings(self) -> Markup | None:
        metrics = map_of(self._record.get("metrics"))
        said = {**{f"metric {name}": shown(spec) for name, spec in metrics.items()}}
        if self._record.get("select"):
            said["rows selected by"] = shown(self._record["select"])
        return section("What was measured, and on what", document.facts(said)) if said else None


ROW_DETAILS: Final = (
    Group(title="Given", cells={"": ("example",)}),
    Group(title="Answered", cells={"": ("prediction",)}),
    Group(title="Error", cells={"": ("error",)}),
    Group(title="Scores", cells={"": ("scores",)}, compact=True),
    Group(title="Usage", cells={"": ("usage",)}, compact=True),
    Group(title="Steps", cells={"": ("trace",)}),
    Group(title="What was asked of language models", cells={"": ("requests",)}),
)


def _heading(evaluation: Evaluation) -> Markup:
    return element(
        "header",
        element("p", "Evaluation", class_="kind"),
        element("h1", evaluation.title),
        element("p", evaluation.note) if evaluation.note else None,
        document.facts(facts_of(evaluation)),
        _incomplete(evaluation),
    )


def _incomplete(evaluation: Evaluation) -> Markup | None:
    words = incomplete_text(evaluation)
    return element("div", element("p", words), class_="verdict worse") if words else None


def score_table(evaluation: Evaluation) -> Markup:
    """Of each metric its mean with an interval, in numbers and drawn."""
    ends = [
        x for scores in evaluation.scores for x in (scores.mean, scores.low, scores.high) if x is not None
    ]
    axis = axis_of(ends)
    rows = [
        (
            scores.metric,
            score_text(scores.mean),
            interval_text(scores.low, scores.high),
            interval_strip(
                f"{scores.metric}: mean {score_text(scores.mean)},"
                f" interval {interval_text(scores.low, scores.high)}",
                axis,
                scores.mean,
                scores.low,
                scores.high,
            ),
            passed_text(scores),
            count_text(scores.scored),
            count_text(scores.failed),
            score_text(scores.stdev),
        )
        for scores in evaluation.scores
    ]
    interval = f"{percent_text(evaluation.confidence)} interval"
    where = f"{score_text(axis.low)} to {score_text(axis.high)}"
    head = ("metric", "mean", interval, where, "passed", "scored", "not scored", "std. deviation")
    return document.table(head, rows, numbers=(1, 2, 4, 5, 6, 7))


def _about_intervals(evaluation: Evaluation) -> Markup:
    return element(
        "p",
        "The interval says how far the mean may be off, these rows being a sample of all there could be."
        f" A row without a score counts as {score_text(evaluation.failure_score)}."
        " Whether one version is better than another is for a comparison to say, which goes row by row:"
        " two intervals that overlap do not settle it.",
        class_="dim",
    )


def distribution(metric: str, values: Sequence[float], mean: float | None) -> Markup:
    """A histogram of scores, and its quartiles in words."""
    ordered = sorted(values)
    if ordered and are_whole(values):
        ones = sum(1 for value in values if value)
        words = f" · {len(values) - ones:,} times 0, {ones:,} times 1"
        caption = element("figcaption", element("b", metric), words)
        return element("figure", histogram(f"Scores of {metric}", values), caption)
    quartiles = ", ".join(score_text(quantile(ordered, share)) for share in (0.25, 0.5, 0.75))
    caption = element(
        "figcaption",
        element("b", metric),
        f" · {len(values):,} rows · quartiles {quartiles}" if ordered else " · no row has a score",
        f" · dashed: mean {score_text(mean)}" if mean is not None and ordered else None,
    )
    return element("figure", histogram(f"Scores of {metric}", values, mean=mean), caption)


def costs(evaluation: Evaluation, tally: Tally) -> Markup:
    """What it cost, and how long rows took."""
    latency = evaluation.latency_ms
    times = sorted(tally.times_ms)
    said = {
        name: duration_text(number_of(latency.get(name)))
        for name in ("p50", "p90", "p99", "max")
        if number_of(latency.get(name)) is not None
    }
    plot = (
        element(
            "figure",
            histogram("Time of a row in a worker", times, say=duration_text),
            element("figcaption", element("b", "time of a row"), f" · {len(times):,} rows"),
        )
        if times
        else None
    )
    usage = document.tiles(usage_of(evaluation.usage, evaluation.ran))
    return section(
        "Cost and time",
        usage,
        element("p", of_metrics, class_="dim") if (of_metrics := metric_usage_text(evaluation)) else None,
        document.tiles({f"{name} of a row": value for name, value in said.items()}),
        plot,
    )


def failure_section(failures: Record | None, tally: Tally) -> Markup | None:
    """Clusters of failing rows; without such, errors by code."""
    clusters = maps_of((failures or {}).get("clusters"))
    if not clusters and not tally.errors:
        return None
    if not clusters:
        counts = [(code, f"{count:,}") for code, count in tally.errors.most_common(MAX_CLUSTERS)]
        return section("Failures", document.table(("error", "rows"), counts, numbers=(1,)))
    rows = [
        (kind_text(cluster), cluster_text(cluster), share_text(cluster), rows_of(cluster))
        for cluster in clusters[:MAX_CLUSTERS]
    ]
    about = "The largest first; a row may be in several."
    head = ("what failed", "what is alike", "rows", "such as row")
    return section("Failures", element("p", about, class_="dim"), document.table(head, rows, numbers=(2,)))
