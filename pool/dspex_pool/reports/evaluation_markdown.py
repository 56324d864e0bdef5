"""An evaluation as Markdown: scores, cost, failures, and the first rows without a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .evaluation_words import (
    MAX_CLUSTERS,
    brief,
    cluster_text,
    facts_of,
    incomplete_text,
    kind_text,
    metric_usage_text,
    passed_text,
    rows_of,
    share_text,
    usage_of,
)
from .evaluations import Evaluation, evaluation_of
from .figures import count_text, duration_text, interval_text, number_of, percent_text, score_text
from .markdown import facts, heading, paragraph, sections, table
from .shapes import Record, error_code_of, map_of, maps_of, text_of

MAX_ROWS: Final = 20
"""Of a report: it is to be read, not searched."""


class EvaluationMarkdown:
    """Writes one: scores, cost, failures, and the first rows that have an error."""

    def __init__(self, record: Record, failures: Record | None = None) -> None:
        self._evaluation = evaluation_of(record)
        self._failures = failures
        self._with_error: list[Record] = []

    def begin(self) -> str:
        """Nothing yet."""
        return ""

    def add(self, rows: Sequence[Record]) -> str:
        """Look at some rows."""
        for row in rows:
            code = error_code_of(row)
            if code and len(self._with_error) < MAX_ROWS:
                self._with_error.append(row)
        return ""

    def end(self) -> str:
        """All of it."""
        evaluation = self._evaluation
        incomplete = incomplete_text(evaluation)
        return "".join(
            sections(
                (
                    heading(1, f"Evaluation of {evaluation.title}"),
                    paragraph(evaluation.note) if evaluation.note else None,
                    facts(facts_of(evaluation)),
                    paragraph(incomplete) if incomplete else None,
                    _scores(evaluation),
                    cost_table([evaluation], [evaluation.title]),
                    paragraph(words) if (words := metric_usage_text(evaluation)) else None,
                    _clusters(self._failures),
                    self._rows_with_error(),
                )
            )
        )

    def _rows_with_error(self) -> str | None:
        if not self._with_error:
            return None
        rows = [
            (
                text_of(row.get("row")),
                brief(row.get("example")),
                error_code_of(row),
                text_of(map_of(row.get("error")).get("message")),
            )
            for row in self._with_error
        ]
        title = heading(2, "The first rows without a prediction")
        return title + table(("row", "given", "error", "message"), rows)


def _scores(evaluation: Evaluation) -> str:
    rows = [
        (
            scores.metric,
            score_text(scores.mean),
            interval_text(scores.low, scores.high),
            passed_text(scores),
            count_text(scores.scored),
            count_text(scores.failed),
        )
        for scores in evaluation.scores
    ]
    interval = f"{percent_text(evaluation.confidence)} interval"
    head = ("metric", "mean", interval, "passed", "scored", "not scored")
    about = f"A row without a score counts as {score_text(evaluation.failure_score)}."
    return heading(2, "Scores") + table(head, rows, numbers=range(1, 6)) + paragraph(about)


def _clusters(failures: Record | None) -> str | None:
    clusters = maps_of((failures or {}).get("clusters"))[:MAX_CLUSTERS]
    if not clusters:
        return None
    rows = [(kind_text(c), cluster_text(c), share_text(c), rows_of(c)) for c in clusters]
    head = ("what failed", "what is alike", "rows", "such as row")
    return heading(2, "Failures") + table(head, rows, numbers=(2,))


def cost_table(sides: Sequence[Evaluation], names: Sequence[str]) -> str | None:
    """What each cost, and how long its rows took."""
    usages = [usage_of(side.usage, side.ran) for side in sides]
    keys = list(dict.fromkeys(key for usage in usages for key, value in usage.items() if value))
    times = [name for name in ("p50", "p99") if any(name in side.latency_ms for side in sides)]
    if not keys and not times:
        return None
    rows = [
        (
            name,
            *[usage.get(key) or score_text(None) for key in keys],
            *[duration_text(number_of(side.latency_ms.get(time))) for time in times],
        )
        for name, side, usage in zip(names, sides, usages, strict=True)
    ]
    head = ("of", *keys, *[f"{time} of a row" for time in times])
    return heading(2, "Cost and time") + table(head, rows, numbers=range(1, len(head)))
