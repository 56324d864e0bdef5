"""The metrics that there are, and how one is built of a spec."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Annotated, Final

from dspex_protocol.errors import describe_value
from dspex_protocol.records import Doc, Length, describe, read

from ..lms.lms import LanguageModels
from ..modules.composing import names_program
from ..programs.builder import Builder
from ..programs.live import LiveProgram
from ..programs.records import Spec
from ..refusals import refusal
from .classes import MEASURING, MetricClass
from .composed import COMPOSED
from .dspy_metrics import found_metrics
from .host_metric import HOST
from .judge import JUDGE
from .metric import Metric

MAX_METRICS: Final = 256
MAX_DEPTH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """A metric, as it stands in a call."""

    metric: Annotated[str, Length(1, 128), Doc("name of a metric, such as exact_match")]
    options: Annotated[dict[str, object], Doc("the metric's own options")] = field(
        default_factory=dict[str, object]
    )


@functools.cache
def metric_classes() -> Mapping[str, MetricClass]:
    """All kinds of metrics, by name: ours, then DSPy's."""
    ours = {row.name: row for row in (*MEASURING, *COMPOSED, JUDGE, HOST)}
    return MappingProxyType({**ours, **found_metrics()})


def describe_metrics() -> list[dict[str, object]]:
    """Every kind of metric, for `system.describe`.

    Returns:
        Rows of `name`, `doc`, `kind` (`dspex` or `dspy`: whose it is), `asks` (`model`, `host`,
        `parts` or nil), `available` (it can run here), `options`: name to `{type, doc, required}`;
        and the `reason` where it cannot run.
    """
    return [_described(row) for row in metric_classes().values()]


def _described(row: MetricClass) -> dict[str, object]:
    lacking = row.lacking()
    told: dict[str, object] = {
        "name": row.name,
        "doc": row.doc,
        "kind": row.kind,
        "asks": row.asks,
        "available": lacking is None,
        "options": describe(row.options),
    }
    return told if lacking is None else {**told, "reason": f"it needs {lacking}"}


class MetricBuilder:
    """Builds one metric, with its parts.

    Args:
        programs: Builds programs that judge, and knows the host's functions.
        lms: Those that judges may name.
    """

    def __init__(self, programs: Builder, lms: LanguageModels) -> None:
        self.functions = programs.functions
        self.lms = lms
        self._programs = programs
        self._built = 0
        self._depth = 0

    def metric(
        self, spec: object, path: str, defaults: Mapping[str, object] = MappingProxyType({})
    ) -> Metric:
        """The metric of a spec.

        Args:
            spec: A map of `metric` and `options`.
            path: Where it stands, for messages.
            defaults: Options that it has unless it says otherwise, where its kind has such.

        Raises:
            CallerError: `invalid_argument`, `unknown_function` or `unknown_lm` naming the part.
        """
        wanted = read(MetricSpec, spec, path)
        row = self._find(wanted.metric, path)
        self._bound(path)
        known = {one.name for one in fields(row.options)}
        given = {**{key: value for key, value in defaults.items() if key in known}, **wanted.options}
        options: object = read(row.options, given, f"{path}.options")
        self._depth += 1
        try:
            return row.build(options, f"{path}.options", self)
        finally:
            self._depth -= 1

    def program(self, spec: object, path: str) -> LiveProgram:
        """The program of a spec, which a metric asks.

        Raises:
            CallerError: `invalid_argument` naming the part.
        """
        if names_program(spec):
            raise refusal(f"{path}.program", "a spec: {module, signature, options}", "a stored program")
        return self._programs.template(read(Spec, spec, path), path).program

    def _find(self, name: str, path: str) -> MetricClass:
        row = metric_classes().get(name)
        if row is None:
            known = ", ".join(metric_classes())
            raise refusal(f"{path}.metric", f"one of the metrics {known}", describe_value(name))
        lacking = row.lacking()
        if lacking is not None:
            raise refusal(f"{path}.metric", f"a metric that can run here: {name} needs {lacking}", repr(name))
        return row

    def _bound(self, path: str) -> None:
        self._built += 1
        if self._built > MAX_METRICS or self._depth >= MAX_DEPTH:
            raise refusal(path, f"at most {MAX_METRICS} metrics, at most {MAX_DEPTH} deep", "more")
