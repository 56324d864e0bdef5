"""A metric as DSPy's optimizers and its `Evaluate` call one: a function, from any of their threads."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy

from dspex_protocol.errors import DSPexError, error

from .metric import Metric
from .rows import Row
from .scores import Score
from .scoring import PartFailed, Scoring, failure_of, measure


class CalledMetric:
    """A metric in the form that DSPy wants.

    A metric that asks nobody is measured in the thread that calls. One that asks does so on the
    worker's event loop, with the settings and the usage of the thread that calls and waits for it.

    Args:
        metric: It.
        loop: The worker's event loop.
        limit_s: Seconds for one row of a metric that asks.
    """

    def __init__(self, metric: Metric, loop: asyncio.AbstractEventLoop, limit_s: float | None = None) -> None:
        self._metric = metric
        self._loop = loop
        self._limit_s = limit_s

    def __call__(
        self,
        example: dspy.Example,
        prediction: dspy.Prediction,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,
    ) -> float | bool:
        """The score, or with a trace the verdict where there is one: what is to be a demo must have passed.

        Raises:
            DSPexError: why there is no score, naming the part.
        """
        score = self.score(Row(example, prediction, trace, pred_name))
        return score.score if trace is None or score.passed is None else score.passed

    def score(self, row: Row) -> Score:
        """The whole score.

        Raises:
            DSPexError: as a call.
        """
        try:
            return self._asked(row) if self._metric.asks else measure(self._metric, row)
        except (PartFailed, DSPexError) as failed:
            raise failure_of(failed) from None

    def _asked(self, row: Row) -> Score:
        if _running_loop() is self._loop:
            raise error(
                "program_failed",
                f"the metric {self._metric.name} was called on the event loop, and would never end",
            )
        scoring = Scoring().within(self._metric, row, self._limit_s)
        return asyncio.run_coroutine_threadsafe(scoring, self._loop).result()


class FeedbackMetric(CalledMetric):
    """The same for GEPA, which reads: the score with what is wrong in words."""

    def __call__(
        self,
        example: dspy.Example,
        prediction: dspy.Prediction,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,
    ) -> Any:
        """A prediction of `score` and `feedback`.

        Raises:
            DSPexError: why there is no score, naming the part.
        """
        score = self.score(Row(example, prediction, None, pred_name))
        return dspy.Prediction(score=score.score, feedback=score.feedback or _in_words(score))


def _in_words(score: Score) -> str:
    return "This is as it should be." if score.score == 1 else f"This scores {score.score:g} of 1."


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
