"""Metrics made of others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

from dspex_protocol.errors import invalid_argument
from dspex_protocol.records import Doc, Length, Range

from ..refusals import refusal, unknown_field
from .classes import Building, MetricClass
from .metric import Composed, Metric
from .scores import Score, shortened

MAX_PARTS: Final = 64

Specs = Annotated[
    dict[str, object], Length(1, MAX_PARTS), Doc("the metrics that it is made of: name to {metric, options}")
]
Spec = Annotated[object, Doc("the metric that it is about: {metric, options}")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Several metrics."""

    parts: Specs


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One metric."""

    metric: Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted(Parts):
    """The mean of its parts' scores, each as heavy as it is said to be."""

    weights: Annotated[
        dict[str, Annotated[float, Range(0.0, 1e9)]], Doc("by part; one that is not there weighs 1")
    ] = field(default_factory=dict[str, float])

    def check(self, path: str) -> None:
        """Refuse weights of nothing, and those that come to nothing.

        Raises:
            CallerError: `invalid_argument`.
        """
        for name in self.weights:
            if name not in self.parts:
                raise unknown_field(f"{path}.weights", name, self.parts)
        if not self._total():
            raise refusal(f"{path}.weights", "a weight above 0", "only zeros")

    def combine(self, parts: Mapping[str, Score]) -> Score:
        """Between the lowest and the highest of them."""
        scores = [part.score for part in parts.values()]
        mean = math.fsum(self._weight(name) * part.score for name, part in parts.items()) / self._total()
        # A sum of products may be off in its last digit.
        return _made(min(max(mean, min(scores)), max(scores)), None, parts)

    def _weight(self, name: str) -> float:
        return self.weights.get(name, 1.0)

    def _total(self) -> float:
        return math.fsum(self._weight(name) for name in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllOf(Parts):
    """The lowest score of its parts; passed when all have."""

    def combine(self, parts: Mapping[str, Score]) -> Score:
        """Not passed when one has not, and open when one is."""
        return _made(min(part.score for part in parts.values()), _all(parts), parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf(Parts):
    """The highest score of its parts; passed when one has."""

    def combine(self, parts: Mapping[str, Score]) -> Score:
        """Passed when one has, and open when none has and one is open."""
        passed = not_(all_(not_(part.passed) for part in parts.values()))
        made = _made(max(part.score for part in parts.values()), passed, parts)
        return replace(made, feedback=None) if passed else made  # of those that were not needed


@dataclass(frozen=True, slots=True, kw_only=True)
class ByField:
    """The mean over several fields, each by a metric of its own; passed when all have."""

    fields: Annotated[
        dict[str, object],
        Length(1, MAX_PARTS),
        Doc("field to {metric, options}, whose option `field` is that one unless it says another"),
    ]

    def combine(self, parts: Mapping[str, Score]) -> Score:
        """All fields count the same."""
        mean = math.fsum(part.score for part in parts.values()) / len(parts)
        return _made(mean, _all(parts), parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(Part):
    """Whether a score is high enough: 1 or 0."""

    at: Annotated[float, Range(0.0, 1.0), Doc("the lowest score that is high enough")]

    def combine(self, parts: Mapping[str, Score]) -> Score:
        """Yes or no."""
        passed = parts["metric"].score >= self.at
        return _made(float(passed), passed, parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Negate(Part):
    """What a score lacks to 1; passed when the other has not."""

    def combine(self, parts: Mapping[str, Score]) -> Score:
        """Open where the other is open."""
        part = parts["metric"]
        passed = not_(part.passed)
        feedback = "it is what it must not be" if passed is False else None
        return Score(score=1.0 - part.score, passed=passed, feedback=feedback, parts=parts)


def all_(passed: Iterable[bool | None]) -> bool | None:
    """Whether all have passed; None where that is open."""
    known = list(passed)
    if False in known:
        return False
    return None if None in known else True


def not_(passed: bool | None) -> bool | None:
    """The contrary; None stays open."""
    return None if passed is None else not passed


def _all(parts: Mapping[str, Score]) -> bool | None:
    return all_(part.passed for part in parts.values())


def _made(score: float, passed: bool | None, parts: Mapping[str, Score]) -> Score:
    told = [f"{name}: {part.feedback}" for name, part in parts.items() if part.feedback]
    feedback = shortened("\n".join(told)) if told else None
    return Score(score=score, passed=passed, feedback=feedback, parts=parts)


def _of_parts(name: str, options: type) -> MetricClass:
    def build(given: Any, path: str, building: Building) -> Metric:
        _check_names(given.parts, f"{path}.parts")
        if isinstance(given, Weighted):
            given.check(path)
        parts = {key: building.metric(spec, f"{path}.parts.{key}") for key, spec in given.parts.items()}
        return Composed(name, parts, given.combine)

    return _class(name, options, build)


def _of_one(name: str, options: type) -> MetricClass:
    def build(given: Any, path: str, building: Building) -> Metric:
        return Composed(name, {"metric": building.metric(given.metric, f"{path}.metric")}, given.combine)

    return _class(name, options, build)


def _of_fields(given: ByField, path: str, building: Building) -> Metric:
    parts = {
        key: building.metric(spec, f"{path}.fields.{key}", {"field": key})
        for key, spec in given.fields.items()
    }
    return Composed("by_field", parts, given.combine)


def _check_names(names: Iterable[str], path: str) -> None:
    for name in names:
        if not 1 <= len(name) <= 64 or "." in name:
            raise invalid_argument(path, "names of 1 to 64 characters without '.'", name)


def _class(name: str, options: type, build: Any) -> MetricClass:
    doc = (options.__doc__ or "").partition("\n")[0]
    return MetricClass(name=name, doc=doc, options=options, build=build, kind="dspex", asks="parts")


COMPOSED: Final = (
    _of_parts("weighted", Weighted),
    _of_parts("all", AllOf),
    _of_parts("any", AnyOf),
    _class("by_field", ByField, _of_fields),
    _of_one("threshold", Threshold),
    _of_one("negate", Negate),
)
