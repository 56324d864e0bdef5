"""What an optimizer's work is told as: trials with their scores, the best so far, figures.

Trials are numbered in the order in which the optimizer makes them, which is the same in every
attempt of a job. All of this comes from what DSPy tells its callbacks, from the metric's calls and
from attributes of the optimizer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol

import dspy

from ..programs.state import named_learners

MAX_WORDS: Final = 400
"""Characters of a candidate's instructions in an event; the best program has all of them."""

MAX_HISTORY: Final = 2_000
"""Trials in a result; the events have all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A program that was tried.

    Attributes:
        number: From 1.
        score: Mean over its rows; a row that failed counts as DSPy counts it.
        rows: How many it was tried on.
        full: On all that it is measured on, and not on a part.
        candidate: What it has learned, in short, by predictor.
        is_best: It is better than those before it that were tried on as many.
        step: The optimizer within which it was tried, where that is part of another.
    """

    number: int
    score: float
    rows: int
    full: bool
    candidate: Mapping[str, object]
    is_best: bool
    step: str | None = None

    def told(self) -> dict[str, object]:
        """As an event's fields, and as a row of the history."""
        told: dict[str, object] = {
            "trial": self.number,
            "score": self.score,
            "rows": self.rows,
            "full": self.full,
            "candidate": dict(self.candidate),
            "is_best": self.is_best,
        }
        return told if self.step is None else {**told, "step": self.step}


class Listener(Protocol):
    """Who is told, from the thread that optimizes."""

    def event(self, type_: str, fields: Mapping[str, object]) -> None:
        """Something that happened, in the same order in each attempt."""
        ...

    def best(self, score: float, program: dspy.Module, trial: int) -> None:
        """A program that is the best so far."""
        ...

    def progress(self, figures: Mapping[str, object]) -> None:
        """Latest figures; from any thread."""
        ...


@dataclass(slots=True)
class _Best:
    score: float = float("-inf")
    rows: int = 0


class Teller:
    """Keeps count, and tells.

    Args:
        listener: Who is told.
        total: How many trials there will be, where that is known.
        is_start: Whether a program is as it was before.
        clock: Seconds.

    Attributes:
        history: The trials so far.
        start_score: Of the program as it was, once it was tried on all rows.
        scored: How often the metric was asked.
    """

    def __init__(
        self,
        listener: Listener,
        total: int | None = None,
        is_start: Callable[[dspy.Module], bool] = lambda program: False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._listener = listener
        self._total = total
        self._is_start = is_start
        self.start_score: float | None = None
        self._clock = clock
        self._began_s = clock()
        self._best = _Best()
        self._lock = threading.Lock()
        self._phase: tuple[str, str | None] | None = None
        self.history: list[Trial] = []
        self.scored = 0

    @property
    def best_score(self) -> float | None:
        """Of the trials so far on all rows."""
        return self._best.score if self._best.rows else None

    def phase(self, phase: str, step: str | None = None) -> None:
        """Another kind of work has begun; the same again is not told."""
        if self._phase != (phase, step):
            self._phase = phase, step
            self._listener.event("phase", {"phase": phase, **({} if step is None else {"step": step})})
            self._listener.progress({"phase": phase})

    def trial(self, score: float, rows: int, program: Any, *, full: bool, step: str | None = None) -> None:
        """A program was tried."""
        better = full and (rows > self._best.rows or score > self._best.score)
        if better:
            self._best = _Best(score, rows)
        trial = Trial(
            number=len(self.history) + 1,
            score=score,
            rows=rows,
            full=full,
            candidate=summary_of(program),
            is_best=better,
            step=step,
        )
        self.history.append(trial)
        if full and self.start_score is None and isinstance(program, dspy.Module):
            self.start_score = score if self._is_start(program) else None
        self._listener.event("trial", trial.told())
        if better and isinstance(program, dspy.Module):
            self._listener.best(score, program, trial.number)
        self._listener.progress(self._figures(score))

    def counted(self) -> None:
        """The metric was asked; from any thread."""
        with self._lock:
            self.scored += 1
            scored = self.scored
        self._listener.progress({"scored_rows": scored})

    def used(self, done: int, left: int | None) -> None:
        """How much of what an optimizer was allowed it has used, where it says so itself."""
        total = None if left is None else done + left
        self._listener.progress({"done": done, "total": total, **self._remaining(done, total)})

    def _figures(self, score: float) -> dict[str, object]:
        done = len(self.history)
        figures: dict[str, object] = {"trials": done, "score": score, "best_score": self.best_score}
        if self._total is not None:
            figures |= {"done": done, "total": max(done, self._total), **self._remaining(done, self._total)}
        return figures

    def _remaining(self, done: int, total: int | None) -> dict[str, object]:
        if total is None or not done:
            return {}
        return {"remaining_s": round((self._clock() - self._began_s) / done * max(0, total - done), 1)}

    def history_told(self) -> list[dict[str, object]]:
        """The trials as rows of a result: all of them, or the last and the best of too many."""
        kept = self.history
        if len(kept) > MAX_HISTORY:
            late = kept[-MAX_HISTORY:]
            kept = [trial for trial in kept[:-MAX_HISTORY] if trial.is_best] + late
        return [trial.told() for trial in kept]


def summary_of(program: Any) -> dict[str, object]:
    """What a program has learned, in short: of each predictor its instructions and how many demos."""
    if not isinstance(program, dspy.Module):
        return {}
    return {name: _summary(part) for name, part in named_learners(program)}


def _summary(part: Any) -> dict[str, object]:
    source = getattr(part, "module_src", None)
    if isinstance(source, str):
        return {"source": source[:MAX_WORDS]}
    return {"instructions": part.signature.instructions[:MAX_WORDS], "demos": len(part.demos)}
