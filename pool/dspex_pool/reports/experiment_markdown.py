"""An experiment as Markdown: the highest values, and the runs with their parameters and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .experiments import Runs, last_of, name_of
from .figures import score_text
from .markdown import facts, heading, sections, table
from .shapes import Record, map_of, text_of

MAX_RUNS: Final = 50
MAX_COLUMNS: Final = 6
"""Of metrics, and of parameters: a table that is wider is read by nobody."""


class ExperimentMarkdown:
    """Writes one."""

    def __init__(self, record: Record) -> None:
        self._name = text_of(record.get("experiment"))
        self._runs = Runs()
        self._first: list[Record] = []

    def begin(self) -> str:
        """Nothing yet."""
        return ""

    def add(self, rows: Sequence[Record]) -> str:
        """Look at some runs."""
        self._runs.add(rows)
        self._first += list(rows)[: MAX_RUNS - len(self._first)]
        return ""

    def end(self) -> str:
        """All of it."""
        return "".join(
            sections(
                (
                    heading(1, f"Experiment {self._name}"),
                    facts({"runs": f"{self._runs.total:,}"}),
                    self._best(),
                    self._table(),
                )
            )
        )

    def _best(self) -> str | None:
        rows = [(metric, score_text(value), run) for metric, (run, value) in self._runs.best.items()]
        head = ("metric", "last value", "run")
        return heading(2, "Highest") + table(head, rows, numbers=(1,)) if rows else None

    def _table(self) -> str | None:
        if not self._first:
            return None
        metrics, params = list(self._runs.metrics)[:MAX_COLUMNS], list(self._runs.params)[:MAX_COLUMNS]
        rows = [
            (
                name_of(run),
                text_of(run.get("state")),
                *[score_text(last_of(run, metric)) for metric in metrics],
                *[text_of(map_of(run.get("params")).get(name)) for name in params],
            )
            for run in self._first
        ]
        title = (
            f"The first {MAX_RUNS} of {self._runs.total:,} runs" if self._runs.total > MAX_RUNS else "Runs"
        )
        head = ("run", "state", *metrics, *params)
        return heading(2, title) + table(head, rows, numbers=range(2, 2 + len(metrics)))
