"""EXPERIMENTS: what a report reads of runs while they pass: their names, and how metrics went over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .figures import number_of
from .shapes import Record, list_of, map_of, maps_of, text_of

MAX_NAMES: Final = 40
"""Parameters, and metrics, that have a column of their own."""
MAX_DRAWN: Final = 8
"""Runs in one drawing: more lines are not told apart."""

Line = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A run in drawings: its name, and by metric its values over steps."""

    name: str
    lines: dict[str, Line]


class Runs:
    """What is counted of an experiment's runs.

    Attributes:
        params: Names, in the order in which they are met.
        metrics: The same of metrics.
        best: By metric the run with the highest last value, and that value.
        drawn: The first runs that have values over time.
    """

    def __init__(self) -> None:
        self.total = 0
        self.params: dict[str, None] = {}
        self.metrics: dict[str, None] = {}
        self.best: dict[str, tuple[str, float]] = {}
        self.drawn: list[Drawn] = []

    def add(self, runs: Sequence[Record]) -> None:
        """Count some more."""
        for run in runs:
            self.total += 1
            _note(self.params, map_of(run.get("params")))
            _note(self.metrics, map_of(run.get("metrics")))
            for metric in map_of(run.get("metrics")):
                last = last_of(run, metric)
                if last is not None and (metric not in self.best or last > self.best[metric][1]):
                    self.best[metric] = name_of(run), last
            if len(self.drawn) < MAX_DRAWN and (lines := _lines_of(run)):
                self.drawn.append(Drawn(name_of(run), lines))

    @property
    def over_time(self) -> dict[str, list[tuple[str, Line]]]:
        """By metric the lines of runs, where one has more than a single value."""
        found = {
            metric: [(run.name, run.lines[metric]) for run in self.drawn if metric in run.lines]
            for metric in self.metrics
        }
        return {metric: lines for metric, lines in found.items() if any(len(line) > 1 for _, line in lines)}


def name_of(run: Record) -> str:
    """What a run is called."""
    return text_of(run.get("run"))


def last_of(run: Record, metric: str) -> float | None:
    """The last value of a metric."""
    return number_of(map_of(map_of(run.get("metrics")).get(metric)).get("last"))


def _note(known: dict[str, None], names: Record) -> None:
    for name in names:
        if len(known) < MAX_NAMES:
            known[name] = None


def _lines_of(run: Record) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    for point in maps_of(list_of(run.get("points"))):
        step, value = number_of(point.get("step")), number_of(point.get("value"))
        if step is not None and value is not None:
            lines.setdefault(text_of(point.get("name")), []).append((step, value))
    return {metric: sorted(line) for metric, line in lines.items()}
