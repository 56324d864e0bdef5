"""The kinds of metrics that a spec may name: a row for each, with its options as a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..host_functions import HostFunctions
from ..lms.lms import LanguageModels
from ..programs.live import LiveProgram
from .json_equality import JsonMatch
from .lists import SetF1
from .metric import Metric, Plain
from .numbers import Numeric
from .rows import Row
from .scores import Score
from .texts import Contains, EditDistance, ExactMatch, Regex, TokenF1


class Building(Protocol):
    """What a metric may be built of."""

    functions: HostFunctions
    lms: LanguageModels

    def metric(self, spec: object, path: str, defaults: Mapping[str, object] = ...) -> Metric:
        """Build a part; `defaults` are options that its spec may leave out, where its kind has them."""
        ...

    def program(self, spec: object, path: str) -> LiveProgram:
        """Build a program that a metric asks."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricClass:
    """A kind of metric.

    Attributes:
        name: In a spec.
        doc: What it measures, in a sentence.
        options: Record of its options.
        build: Of the options that were read, where they stand, and what it may be built of.
        kind: Whose it is: `dspy` or `dspex`.
        asks: Whom it asks: `model`, `host`, or nobody; of one made of others, what its parts ask.
        lacking: What it needs to run, in words, where that is missing.
    """

    name: str
    doc: str
    options: type
    build: Callable[[Any, str, Building], Metric]
    kind: str
    asks: str | None = None
    lacking: Callable[[], str | None] = lambda: None


class Measuring(Protocol):
    """Options that measure."""

    def check(self, path: str) -> None:
        """Refuse what no dataclass can say."""
        ...

    def measure(self, row: Row) -> Score:
        """Score a row."""
        ...


def _measuring(name: str, options: type, lacking: Callable[[], str | None] = lambda: None) -> MetricClass:
    def build(given: Measuring, path: str, building: Building) -> Metric:
        given.check(path)
        return Plain(name, given.measure)

    doc = (options.__doc__ or "").partition("\n")[0]
    return MetricClass(name=name, doc=doc, options=options, build=build, kind="dspex", lacking=lacking)


MEASURING: Final = (
    _measuring("exact_match", ExactMatch),
    _measuring("contains", Contains),
    _measuring("regex", Regex),
    _measuring("numeric", Numeric),
    _measuring("json_match", JsonMatch),
    _measuring("token_f1", TokenF1),
    _measuring("set_f1", SetF1),
    _measuring("edit_distance", EditDistance, EditDistance.lacking),
)
