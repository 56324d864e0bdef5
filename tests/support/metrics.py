"""Metrics of specs, and their scores of rows, without a worker."""

from __future__ import annotations

import importlib.util
from typing import Any, Final

import dspy
import pytest

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.metrics.catalog import MetricBuilder
from dspex_bridge.metrics.metric import Metric
from dspex_bridge.metrics.rows import Row
from dspex_bridge.metrics.scores import Score
from dspex_bridge.metrics.scoring import PartFailed, failure_of, measure
from dspex_bridge.programs.builder import Builder
from dspex_protocol import DSPexError

needs_rapidfuzz: Final = pytest.mark.skipif(
    importlib.util.find_spec("rapidfuzz") is None,
    reason="needs the extra metrics, which `make setup` installs",
)


def spec(name: str, /, **options: object) -> dict[str, object]:
    """As it stands in a call."""
    return {"metric": name, "options": options}


def build(what: object) -> Metric:
    """A metric that asks nobody."""
    return MetricBuilder(Builder(), LanguageModels(HostFunctions())).metric(what, "metric")


def row(example: dict[str, Any], prediction: dict[str, Any]) -> Row:
    """Of plain fields."""
    return Row(dspy.Example(example), dspy.Prediction(prediction))


def score(what: object, example: dict[str, Any], prediction: dict[str, Any]) -> Score:
    """What a metric says of a row."""
    return measure(build(what), row(example, prediction))


def failure(what: object, example: dict[str, Any], prediction: dict[str, Any]) -> DSPexError:
    """Why it says nothing."""
    with pytest.raises(PartFailed) as failed:
        score(what, example, prediction)
    return failure_of(failed.value)


def refusal(what: object) -> DSPexError:
    """How a spec is refused."""
    with pytest.raises(DSPexError) as refused:
        build(what)
    return refused.value
