"""Metrics made of others: what holds for all of them, whatever the parts say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.metrics import failure, refusal, score, spec

from dspex_bridge.metrics.composed import AllOf, AnyOf, ByField, Negate, Threshold, Weighted, all_, not_
from dspex_bridge.metrics.scores import Score

SCORES = st.builds(
    Score, score=st.floats(0, 1), passed=st.none() | st.booleans(), feedback=st.none() | st.text()
)
NAMES = st.text("abc", min_size=1, max_size=3)
PARTS = st.dictionaries(NAMES, SCORES, min_size=1, max_size=5)
ONE = st.fixed_dictionaries({"metric": SCORES})

RIGHT: Final = spec("exact_match", field="a")
LONG: Final = spec("token_f1", field="b")


def specs_of(parts: Mapping[str, Score]) -> dict[str, object]:
    """Specs for parts whose scores are given."""
    return dict.fromkeys(parts, RIGHT)


@given(parts=PARTS, weights=st.data())
def test_a_weighted_mean_is_between_its_parts(parts: dict[str, Score], weights: st.DataObject) -> None:
    """Whatever the weights; and that of equal scores is that score."""
    drawn = weights.draw(
        st.dictionaries(st.sampled_from(sorted(parts)), st.floats(0, 1e9), max_size=len(parts))
    )
    if not any(drawn.get(name, 1.0) for name in parts):
        return
    found = Weighted(parts=specs_of(parts), weights=drawn).combine(parts)
    scores = [part.score for part in parts.values()]
    assert min(scores) <= found.score <= max(scores)
    assert parts == found.parts


@given(parts=PARTS, name=st.data())
def test_a_part_without_weight_does_not_count(parts: dict[str, Score], name: st.DataObject) -> None:
    """The mean is that of the others."""
    light = name.draw(st.sampled_from(sorted(parts)))
    others = {name: part for name, part in parts.items() if name != light}
    if others:
        found = Weighted(parts=specs_of(parts), weights={light: 0.0}).combine(parts)
        expected = Weighted(parts=specs_of(others)).combine(others)
        assert expected.score == pytest.approx(found.score)


@given(part=ONE)
def test_what_is_negated_twice_is_as_it_was(part: dict[str, Score]) -> None:
    """But for the last digit."""
    negate = Negate(metric=RIGHT)
    twice = negate.combine({"metric": negate.combine(part)})
    assert part["metric"].score == pytest.approx(twice.score, abs=1e-15)
    assert part["metric"].passed == twice.passed


@given(parts=PARTS)
def test_all_and_any_are_each_others_contrary(parts: dict[str, Score]) -> None:
    """As de Morgan says, also where some verdicts are open."""
    negated = {name: Negate(metric=RIGHT).combine({"metric": part}) for name, part in parts.items()}
    found = AnyOf(parts=specs_of(parts)).combine(parts)
    contrary = AllOf(parts=specs_of(parts)).combine(negated)
    assert found.score == pytest.approx(1 - contrary.score, abs=1e-15)
    assert found.passed == not_(contrary.passed)


@given(parts=PARTS)
def test_all_is_never_above_any(parts: dict[str, Score]) -> None:
    """And both are among the parts' scores; the mean over fields is between them."""
    lowest, highest = AllOf(parts=specs_of(parts)).combine(parts), AnyOf(parts=specs_of(parts)).combine(parts)
    mean = ByField(fields=specs_of(parts)).combine(parts)
    assert lowest.score <= highest.score
    assert {lowest.score, highest.score} <= {part.score for part in parts.values()}
    assert lowest.score - 1e-15 <= mean.score <= highest.score + 1e-15
    assert lowest.passed == mean.passed


@given(part=ONE, at=st.floats(0, 1))
def test_a_threshold_is_yes_or_no(part: dict[str, Score], at: float) -> None:
    """And yes where it is just reached."""
    found = Threshold(metric=RIGHT, at=at).combine(part)
    assert (part["metric"].score >= at) == found.passed == bool(found.score)
    assert Threshold(metric=RIGHT, at=part["metric"].score).combine(part).passed


@pytest.mark.parametrize("verdicts", list(itertools.product([True, False, None], repeat=2)))
def test_open_verdicts_stay_open_where_they_decide(verdicts: tuple[bool | None, bool | None]) -> None:
    """Kleene's three values: what is open may be either."""
    readings = {
        all(reading)
        for reading in itertools.product(*[[True, False] if one is None else [one] for one in verdicts])
    }
    assert (readings.pop() if len(readings) == 1 else None) == all_(verdicts)


def test_parts_and_their_feedback_are_told_by_name() -> None:
    """Those that are as they should be have none."""
    what = spec("all", parts={"right": RIGHT, "long": spec("threshold", metric=LONG, at=0.9)})
    found = score(what, {"a": 1, "b": "x y"}, {"a": 2, "b": "x"})
    assert ["right", "long"] == list(found.parts)
    assert ("right: expected 1, got 2", 0.0, False) == (found.feedback, found.score, found.passed)
    told: Any = found.told()
    assert 2 / 3 == pytest.approx(told["parts"]["long"]["parts"]["metric"]["score"])


def test_by_field_gives_each_metric_its_field() -> None:
    """Unless it names one, or takes none."""
    inner = spec("all", parts={"x": RIGHT})
    what = spec(
        "by_field", fields={"b": spec("numeric", absolute=1), "c": spec("EM"), "d": RIGHT, "e": inner}
    )
    found = score(what, {"a": 1, "b": 1, "c": "x"}, {"a": 1, "b": 1.5, "c": "X"})
    assert (1.0, True, ["b", "c", "d", "e"]) == (found.score, found.passed, list(found.parts))


@pytest.mark.parametrize(
    ("what", "field"),
    [
        (spec("all"), "metric.options.parts"),
        (spec("all", parts={}), "metric.options.parts"),
        (spec("all", parts=[RIGHT]), "metric.options.parts"),
        (spec("all", parts={"a.b": RIGHT}), "metric.options.parts"),
        (spec("all", parts={"a": spec("oracle")}), "metric.options.parts.a.metric"),
        (spec("any", parts={"a": spec("exact_match")}), "metric.options.parts.a.options.field"),
        (spec("weighted", parts={"a": RIGHT}, weights={"b": 1}), "metric.options.weights.b"),
        (spec("weighted", parts={"a": RIGHT}, weights={"a": -1}), "metric.options.weights.a"),
        (spec("weighted", parts={"a": RIGHT}, weights={"a": 0}), "metric.options.weights"),
        (spec("weighted", parts={"a": RIGHT}, weights={"a": math.inf}), "metric.options.weights.a"),
        (spec("by_field", fields={"a": spec("regex")}), "metric.options.fields.a.options.pattern"),
        (spec("negate", metric=spec("negate")), "metric.options.metric.options.metric"),
        (spec("threshold", metric=RIGHT), "metric.options.at"),
        (spec("threshold", metric=RIGHT, at=1.5), "metric.options.at"),
    ],
)
def test_a_part_is_refused_by_its_path(what: dict[str, object], field: str) -> None:
    """Down to the option."""
    refused = refusal(what)
    assert ("invalid_argument", field) == (refused.code, refused.details["field"])


def test_metrics_are_bounded_in_depth_and_number() -> None:
    """Before anything is scored."""
    deep: dict[str, object] = RIGHT
    for _ in range(16):
        deep = spec("negate", metric=deep)
    assert "at most 16 deep" in str(refusal(deep).details["expected"])
    wide = spec(
        "all", parts={f"p{n}": spec("all", parts={f"q{m}": RIGHT for m in range(60)}) for n in range(5)}
    )
    assert "at most 256 metrics" in str(refusal(wide).details["expected"])


def test_the_part_that_fails_is_named() -> None:
    """By the names down to it, and its kind."""
    inner = spec("negate", metric=spec("numeric", field="c"))
    what = spec("weighted", parts={"right": RIGHT, "deep": spec("any", parts={"not": inner})})
    failed = failure(what, {"a": 1, "c": "x"}, {"a": 1, "c": 2})
    assert ("metric_failed", "deep.not.metric", "numeric", "example.c") == (
        failed.code,
        failed.details["part"],
        failed.details["metric"],
        failed.details["field"],
    )
    assert "the metric numeric (deep.not.metric): example.c: expected a finite number" in failed.message
