"""TALLY: what is counted of an evaluation's rows while they pass."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

from .figures import number_of
from .shapes import Record, error_code_of, score_of

MAX_CODES = 200
"""Of errors that are told apart; a code is one of some dozens, unless somebody means ill."""


class Tally:
    """Scores by metric, times, and errors by code.

    Args:
        metrics: Names.
    """

    def __init__(self, metrics: Sequence[str]) -> None:
        self.scores = {metric: array("d") for metric in metrics}
        self.times_ms = array("d")
        self.errors: Counter[str] = Counter()

    def add(self, rows: Sequence[Record]) -> None:
        """Count some more."""
        for row in rows:
            for metric, scores in self.scores.items():
                score = score_of(row, metric)
                if score is not None:
                    scores.append(score)
            took = number_of(row.get("worker_ms"))
            if took is not None:
                self.times_ms.append(took)
            code = error_code_of(row)
            if code and (code in self.errors or len(self.errors) < MAX_CODES):
                self.errors[code] += 1
