"""What a metric says of a row, and what it says where it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import dspy

from dspex_protocol.errors import DSPexError, describe_value, error

MAX_FEEDBACK_CHARACTERS: Final = 8_192
"""What goes into a prompt of an optimizer, many times; a judge may write as much as it likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How good a prediction is.

    Attributes:
        score: From 0 to 1; of a metric that says yes or no, 1 or 0.
        passed: Whether it is good enough; None of a metric that only measures.
        feedback: What is wrong with it, in words, for people and for optimizers that read.
        parts: What a metric made of others has its score from, by name.
    """

    score: float
    passed: bool | None = None
    feedback: str | None = None
    parts: Mapping[str, Score] = field(default_factory=dict[str, "Score"])

    def told(self) -> dict[str, object]:
        """As a value of the wire."""
        return {
            "score": self.score,
            "passed": self.passed,
            "feedback": self.feedback,
            "parts": {name: part.told() for name, part in self.parts.items()},
        }


def verdict(passed: bool, feedback: str | None = None) -> Score:
    """Yes or no; what is wrong only with a no."""
    return Score(score=float(passed), passed=passed, feedback=None if passed else feedback)


def no_score(field: str, expected: str, got: str) -> DSPexError:
    """Why there is no score: what a row or somebody's answer has in place of what is needed."""
    return error(
        "metric_failed",
        f"{field}: expected {expected}, got {got}",
        details={"field": field, "expected": expected, "got": got},
    )


_FIELDS: Final = ("score", "feedback", "passed")


def score_of(result: object) -> Score:
    """The score of what a metric of somebody else's gave.

    Args:
        result: A boolean, a number from 0 to 1, a prediction with `score`, or a map of `score`, and
            maybe `feedback` and `passed`.

    Raises:
        DSPexError: `metric_failed` for anything else.
    """
    if isinstance(result, dspy.Prediction):
        return score_of({name: result[name] for name in _FIELDS if name in result})
    if not isinstance(result, dict):
        return _plain_score(result, "answer")
    given: dict[object, Any] = result
    for name in given:
        if name not in _FIELDS:
            raise no_score("answer", f"one of the fields {', '.join(_FIELDS)}", f"unknown field {name!r:.64}")
    score = _plain_score(given.get("score"), "answer.score")
    passed = score.passed if given.get("passed") is None else given["passed"]
    if not isinstance(passed, bool | None):
        raise no_score("answer.passed", "a boolean or nil", describe_value(passed))
    return Score(score=score.score, passed=passed, feedback=_feedback(given.get("feedback")))


def _plain_score(value: object, path: str) -> Score:
    if isinstance(value, bool):
        return verdict(value)
    if not isinstance(value, int | float) or not 0 <= value <= 1:  # NaN is not either
        raise no_score(path, "a boolean or a number from 0 to 1", describe_value(value))
    return Score(score=float(value))


def _feedback(value: object) -> str | None:
    if not isinstance(value, str | None):
        raise no_score("answer.feedback", "a string or nil", describe_value(value))
    return shortened(value) if value else None


def shortened(feedback: str) -> str:
    """Feedback, cut where it is too long."""
    if len(feedback) <= MAX_FEEDBACK_CHARACTERS:
        return feedback
    return feedback[: MAX_FEEDBACK_CHARACTERS - 1] + "…"
