"""A comparison as a page: which is better, by how much and how surely, and each row side by side."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from . import document
from .comparing import comparison_facts, method_text, significant_text, standing_of, verdict_of
from .comparisons import Comparison, comparison_of
from .document import Choice, Column, Group, Plan, Rows, section
from .evaluation_words import usage_of
from .figures import (
    axis_around_zero,
    axis_of,
    chance_text,
    count_text,
    duration_text,
    interval_text,
    number_of,
    percent_text,
    score_text,
    signed_text,
)
from .markup import Markup, element, joined
from .plots import histogram, interval_strip, share_strip
from .shapes import Record

MAX_VERDICTS: Final = 6
"""In sentences; more of them are read in a table."""


class ComparisonPage:
    """Writes one, piece by piece; its rows are those of the comparison, completed by `beside`.

    Args:
        record: The comparison.
        evaluations: Those that it compares, each with cost and time, in any order.
    """

    def __init__(self, record: Record, evaluations: Sequence[Record] = ()) -> None:
        self._comparison = comparison_of(record, evaluations)
        self._rows = Rows()
        self._differences = {metric: array("d") for metric in self._comparison.metrics}
        self._scores_fit_unit = True

    def begin(self) -> str:
        """What stands before the rows."""
        title = " and ".join(self._comparison.names)
        return document.opening(f"Comparison of {title}") + self._rows.begin()

    def add(self, rows: Sequence[Record]) -> str:
        """Some rows."""
        return self._rows.add([self._with_outcome(row) for row in rows])

    def end(self) -> str:
        """All that is seen."""
        comparison = self._comparison
        return self._rows.end() + document.closing(
            self._plan(),
            _heading(comparison),
            _verdicts(comparison),
            section(
                "Differences", pair_table(comparison), element("p", method_text(comparison), class_="dim")
            ),
            self._spread(),
            _means(comparison),
            _costs(comparison),
            document.browser(
                "Row by row", self._rows.what_is_missing, "Choose a row to see all sides of it."
            ),
            document.footer("Made by dspex report."),
        )

    def _with_outcome(self, row: Record) -> Record:
        standings = {metric: standing_of(row, metric, self._comparison) for metric in self._differences}
        for metric, standing in standings.items():
            if standing.difference is not None:
                self._differences[metric].append(standing.difference)
            self._scores_fit_unit &= standing.fits_unit
        return {
            **row,
            "difference": {metric: standing.difference for metric, standing in standings.items()},
            "outcome": {metric: standing.outcome for metric, standing in standings.items()},
        }

    def _plan(self) -> Plan:
        names, metrics = self._comparison.names, self._comparison.metrics
        columns = [
            Column(label="row", kind="number", at=("row",)),
            Column(label="given", kind="preview", at=("example",)),
        ]
        for metric in metrics:
            columns += [
                Column(label=f"{metric}: {name}", kind="score", at=("scores", metric, str(n)))
                for n, name in enumerate(names)
            ]
            if len(names) == 2:
                columns.append(
                    Column(label=f"{metric}: difference", kind="difference", at=("difference", metric))
                )
        choices = [
            Choice(label=f"Outcome of {metric}", at=("outcome", metric), none="not known")
            for metric in metrics
            if len(names) == 2
        ]
        return Plan(
            noun="rows", columns=columns, choices=choices, details=_details(names), unit=self._scores_fit_unit
        )

    def _spread(self) -> Markup | None:
        plots = [
            element(
                "figure",
                histogram(f"Differences of {metric}", values, say=signed_text),
                element("figcaption", element("b", metric), f" · {len(values):,} rows, {self._direction}"),
            )
            for metric, values in self._differences.items()
            if values
        ]
        if len(self._comparison.names) != 2 or not plots:
            return None
        return section("How the differences of rows are spread", element("div", *plots, class_="plots"))

    @property
    def _direction(self) -> str:
        a, b = self._comparison.names
        return f"{b} less {a}"


def _details(names: Sequence[str]) -> list[Group]:
    def each(key: str) -> dict[str, Sequence[str]]:
        return {name: ("sides", str(n), key) for n, name in enumerate(names)}

    return [
        Group(title="Given", cells={"": ("example",)}),
        Group(title="Answered", cells=each("prediction")),
        Group(title="Error", cells=each("error")),
        Group(title="Scores", cells=each("scores"), compact=True),
        Group(title="Usage", cells=each("usage"), compact=True),
        Group(title="Steps", cells=each("trace")),
        Group(title="What was asked of language models", cells=each("requests")),
    ]


def _heading(comparison: Comparison) -> Markup:
    return element(
        "header",
        element("p", "Comparison", class_="kind"),
        element("h1", " against ".join(reversed(comparison.names))),
        document.facts(comparison_facts(comparison)),
    )


def _verdicts(comparison: Comparison) -> Markup:
    if len(comparison.pairs) > MAX_VERDICTS:
        return joined()
    blocks = [
        element(
            "div",
            element("p", element("b", f"{pair.metric}: "), verdict.claim),
            element("p", verdict.reason, class_="dim"),
            class_=f"verdict {verdict.look}",
        )
        for pair in comparison.pairs
        for verdict in [verdict_of(pair, comparison)]
    ]
    return section("What it comes to", *blocks)


def pair_table(comparison: Comparison) -> Markup:
    """Each two of them under each metric, in numbers and drawn."""
    ends = [x for pair in comparison.pairs for x in (pair.low, pair.high, pair.difference) if x is not None]
    axis = axis_around_zero(ends)
    head = (
        "metric",
        "of",
        "difference",
        f"{percent_text(comparison.confidence)} interval",
        f"{signed_text(axis.low)} to {signed_text(axis.high)}",
        "p",
        "p, of all",
        "significant",
        "wins, ties, losses",
    )
    rows = [
        (
            pair.metric,
            f"{pair.b} less {pair.a}",
            signed_text(pair.difference),
            interval_text(pair.low, pair.high, signed=True),
            interval_strip(
                f"{pair.metric}, {pair.b} less {pair.a}: {signed_text(pair.difference)},"
                f" interval {interval_text(pair.low, pair.high, signed=True)}",
                axis,
                pair.difference,
                pair.low,
                pair.high,
                reference=0.0,
            ),
            chance_text(pair.p),
            chance_text(pair.p_holm),
            significant_text(pair),
            joined(
                f"{count_text(pair.wins)}, {count_text(pair.ties)}, {count_text(pair.losses)}",
                share_strip(
                    f"{pair.metric}: rows in which {pair.b} is better, alike, worse",
                    [("wins", pair.wins or 0), ("ties", pair.ties or 0), ("losses", pair.losses or 0)],
                ),
            ),
        )
        for pair in comparison.pairs
    ]
    return document.table(head, rows, numbers=(2, 3, 5, 6))


def _means(comparison: Comparison) -> Markup:
    ends = [
        x
        for side in comparison.sides
        for scores in side.scores
        for x in (scores.mean, scores.low, scores.high)
        if x is not None
    ]
    axis = axis_of(ends)
    rows = [
        (
            scores.metric,
            name,
            score_text(scores.mean),
            interval_text(scores.low, scores.high),
            interval_strip(
                f"{scores.metric} of {name}: {score_text(scores.mean)}",
                axis,
                scores.mean,
                scores.low,
                scores.high,
            ),
        )
        for metric in comparison.metrics
        for side, name in zip(comparison.sides, comparison.names, strict=True)
        for scores in side.scores
        if scores.metric == metric
    ]
    interval = f"{percent_text(comparison.confidence)} interval"
    head = ("metric", "of", "mean", interval, f"{score_text(axis.low)} to {score_text(axis.high)}")
    return section("Means", document.table(head, rows, numbers=(2, 3)))


def _costs(comparison: Comparison) -> Markup | None:
    usages = [usage_of(side.usage, side.ran) for side in comparison.sides]
    named = list(dict.fromkeys(name for usage in usages for name, value in usage.items() if value))
    latencies = [name for name in ("p50", "p99") if any(name in side.latency_ms for side in comparison.sides)]
    if not named and not latencies:
        return None
    rows = [
        (
            name,
            *[usage.get(key) or score_text(None) for key in named],
            *[duration_text(number_of(side.latency_ms.get(key))) for key in latencies],
        )
        for name, side, usage in zip(comparison.names, comparison.sides, usages, strict=True)
    ]
    head = ("", *named, *[f"{name} of a row" for name in latencies])
    return section("Cost and time", document.table(head, rows, numbers=range(1, len(head))))
