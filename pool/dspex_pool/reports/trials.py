"""TRIALS: what an optimizer tried, in its order: of a job's result, or without one of its events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .figures import number_of
from .marks import in_line
from .shapes import Record, map_of, maps_of, text_of

MAX_KEPT: Final = 5_000
"""Of events; a result has fewer."""
NO_FACTS: Final = frozenset(("trial", "score", "rows", "full", "is_best", "type", "n", "at", "attempt"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One of them.

    Attributes:
        name: Its number.
        score: What it reached; None where it has none.
        rows: On how many rows it was tried.
        is_full: On all that it is measured on: scores on a part say little, and are not the best.
        is_best: Better than all before; None where nobody said.
        facts: What else is known of it, such as instructions by predictor.
    """

    name: str
    score: float | None
    rows: float | None
    is_full: bool
    is_best: bool | None
    facts: Record

    @property
    def summary(self) -> str:
        """The beginning of its first text, or the names of what is known."""
        text = _first_text(self.facts)
        return in_line(text, 90) if text else in_line(", ".join(self.facts), 90)


class Trials:
    """Those of a job, as its events pass."""

    def __init__(self, job: Record) -> None:
        self._told = [
            _trial(n, one) for n, one in enumerate(maps_of(map_of(job.get("result")).get("history")), 1)
        ]
        self._seen: list[Trial] = []

    def add(self, events: Sequence[Record]) -> None:
        """Look at some events."""
        for event in events:
            if event.get("type") == "trial" and len(self._seen) < MAX_KEPT:
                self._seen.append(_trial(len(self._seen) + 1, event))

    @property
    def all(self) -> list[Trial]:
        """Those of the result; without one those of the events."""
        return self._told or self._seen


def best_so_far(trials: Sequence[Trial]) -> list[float | None]:
    """The best score of all until each."""
    best: list[float | None] = []
    for trial in trials:
        before = best[-1] if best else None
        best.append(trial.score if _is_better(trial, before) else before)
    return best


def _is_better(trial: Trial, before: float | None) -> bool:
    if trial.score is None or not trial.is_full:
        return False
    return trial.is_best if trial.is_best is not None else before is None or trial.score > before


def _trial(n: int, record: Record) -> Trial:
    is_best, candidate = record.get("is_best"), map_of(record.get("candidate"))
    facts = {key: value for key, value in record.items() if key not in NO_FACTS and value is not None}
    if candidate:
        facts = {**candidate, **{key: value for key, value in facts.items() if key != "candidate"}}
    return Trial(
        name=text_of(record.get("trial")) or str(n),
        score=number_of(record.get("score")),
        rows=number_of(record.get("rows")),
        is_full=record.get("full") is not False,
        is_best=is_best if isinstance(is_best, bool) else None,
        facts=facts,
    )


def _first_text(value: object) -> str:
    if isinstance(value, str):
        return value
    for item in map_of(value).values():
        if found := _first_text(item):
            return found
    return ""
