"""TRIALS: what an optimizer tried, in its order, out of the history of a job's result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .figures import number_of
from .marks import in_line
from .shapes import Record, map_of, maps_of, text_of

NAMES: Final = ("trial", "n", "number", "step", "candidate")
NO_FACTS: Final = frozenset(("score", *NAMES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One of them.

    Attributes:
        name: Its number.
        score: What it reached; None where it has none.
        facts: What else is known of it, such as instructions by predictor.
    """

    name: str
    score: float | None
    facts: Record

    @property
    def summary(self) -> str:
        """The beginning of its first text, or the names of what is known."""
        text = _first_text(self.facts)
        return in_line(text, 90) if text else in_line(", ".join(self.facts), 90)


def trials_of(job: Record) -> list[Trial]:
    """Those of a job's result; while it runs those of its progress."""
    found = maps_of(map_of(job.get("result")).get("history")) or maps_of(
        map_of(job.get("progress")).get("history")
    )
    return [_trial(n, record) for n, record in enumerate(found, 1)]


def best_so_far(trials: Sequence[Trial]) -> list[float | None]:
    """The best score of all until each."""
    best: list[float | None] = []
    for trial in trials:
        known = [score for score in (best[-1] if best else None, trial.score) if score is not None]
        best.append(max(known) if known else None)
    return best


def _trial(n: int, record: Record) -> Trial:
    name = next((text_of(record[key]) for key in NAMES if text_of(record.get(key))), str(n))
    facts = {key: value for key, value in record.items() if key not in NO_FACTS and value is not None}
    return Trial(name=name, score=number_of(record.get("score")), facts=facts)


def _first_text(value: object) -> str:
    if isinstance(value, str):
        return value
    for item in map_of(value).values():
        if found := _first_text(item):
            return found
    return ""
