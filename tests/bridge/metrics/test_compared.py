"""Metrics of one field: what they say of a row, what they refuse, and that nothing holds them up."""

from __future__ import annotations

import json
import math
import threading
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.metrics import failure, needs_rapidfuzz, refusal, score, spec

ANSWER: Final = {"field": "answer"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)

SCORES: Final[list[tuple[str, dict[str, object], Any, Any, float, bool | None]]] = [
    ("exact_match", {}, "yes", "yes", 1.0, True),
    ("exact_match", {}, "yes", "Yes", 0.0, False),
    ("exact_match", {"normalize": "case"}, "Straße  a", "STRASSE A", 1.0, True),
    ("exact_match", {"normalize": "dspy"}, "The cat!", "cat", 1.0, True),
    ("exact_match", {}, [1, {"a": None}], [1, {"a": None}], 1.0, True),
    ("exact_match", {}, 1, True, 0.0, False),
    ("exact_match", {}, 1, 1.0, 1.0, True),
    ("exact_match", {}, math.nan, math.nan, 1.0, True),
    ("exact_match", {}, 1, "1", 0.0, False),
    ("exact_match", {"any_of": True}, ["a", "b"], "b", 1.0, True),
    ("exact_match", {"any_of": True}, ["a", "b"], ["a", "b"], 0.0, False),
    ("contains", {}, "cat", "a cat sat", 1.0, True),
    ("contains", {}, "Cat", "a cat sat", 0.0, False),
    ("contains", {"normalize": "case"}, "Cat", "a cat sat", 1.0, True),
    ("contains", {"any_of": True}, ["dog", "sat"], "a cat sat", 1.0, True),
    ("contains", {}, "4", 42, 1.0, True),
    ("contains", {}, "cat", None, 0.0, False),
    ("numeric", {}, 3, 3.0, 1.0, True),
    ("numeric", {}, 3, "3", 1.0, True),
    ("numeric", {}, 3, "three", 0.0, False),
    ("numeric", {}, 3, True, 0.0, False),
    ("numeric", {}, 3, math.nan, 0.0, False),
    ("numeric", {}, 3, "1e999", 0.0, False),
    ("numeric", {}, 3, 10**400, 0.0, False),
    ("numeric", {"absolute": 0.5}, 3, 3.5, 1.0, True),
    ("numeric", {"absolute": 0.5}, 3, 3.6, 0.0, False),
    ("numeric", {"relative": 0.1}, -100, -91, 1.0, True),
    ("numeric", {"relative": 0.1}, -100, -89, 0.0, False),
    ("numeric", {"absolute": 20, "relative": 0.1}, -100, -81, 1.0, True),
    ("numeric", {}, 2**60, 2**60 + 1, 0.0, False),
    ("numeric", {}, Decimal("0.5"), 0.5, 1.0, True),
    ("json_match", {}, {"a": [1, 2]}, '{"a": [1, 2]}', 1.0, True),
    ("json_match", {}, '{"a": 1}', {"a": 2}, 0.0, False),
    ("json_match", {"ignore": ["a"]}, {"a": 1, "b": 2}, {"b": 2}, 1.0, True),
    (
        "json_match",
        {"ignore": ["rows[*].id"]},
        {"rows": [{"id": 1}, {}]},
        {"rows": [{}, {"id": 2}]},
        1.0,
        True,
    ),
    ("json_match", {"ignore": ["*.id"]}, {"x": {"id": 1}}, {"x": {"id": 2}}, 1.0, True),
    ("json_match", {"ignore": ["rows[0]"]}, {"rows": [1, 2]}, {"rows": [9, 3]}, 0.0, False),
    ("json_match", {}, {}, "{'a': 1}", 0.0, False),
    ("json_match", {}, 1, "NaN", 0.0, False),
    ("json_match", {}, 1, "9" * 10_000, 0.0, False),
    ("json_match", {}, [], "[" * 100_000, 0.0, False),
    ("token_f1", {}, "the cat sat", "cat, SAT!", 0.8, None),
    ("token_f1", {}, "", "", 1.0, None),
    ("token_f1", {}, "a", "", 0.0, None),
    ("token_f1", {"any_of": True}, ["dog", "cat"], "cat", 1.0, None),
    ("set_f1", {}, ["a", "b"], ["B", "a", "a"], 1.0, None),
    ("set_f1", {}, ["a", "b"], ["a", "c"], 0.5, None),
    ("set_f1", {}, [], [], 1.0, None),
    ("set_f1", {}, ["a"], [], 0.0, None),
    ("set_f1", {}, [{"x": 1}, 2], [2.0, {"x": 1}], 1.0, None),
    ("set_f1", {}, [1], [True], 0.0, None),
    ("set_f1", {}, ["a"], "a", 0.0, False),
]


@pytest.mark.parametrize(("metric", "options", "wanted", "came", "expected", "passed"), SCORES)
def test_a_field_is_scored(
    metric: str, options: dict[str, object], wanted: Any, came: Any, expected: float, passed: bool | None
) -> None:
    """From 0 to 1, with a verdict where the metric has one, and words only where it is below 1."""
    found = score(spec(metric, **ANSWER, **options), {"answer": wanted}, {"answer": came})
    assert expected == pytest.approx(found.score)
    assert passed == found.passed
    assert found.feedback is None or not found.passed


@pytest.mark.parametrize(
    ("metric", "options"),
    [
        ("exact_match", {}),
        ("contains", {}),
        ("numeric", {"absolute": 1.0}),
        ("json_match", {}),
        ("token_f1", {}),
        pytest.param("edit_distance", {}, marks=needs_rapidfuzz),
    ],
)
def test_what_is_expected_may_stand_elsewhere(metric: str, options: dict[str, object]) -> None:
    """In another field of the example, or in the spec."""
    elsewhere = spec(metric, field="answer", expected="label", **options)
    assert 1.0 == score(elsewhere, {"label": "7"}, {"answer": "7"}).score
    constant = spec(metric, field="answer", value="7", **options)
    assert 1.0 == score(constant, {}, {"answer": "7"}).score


@pytest.mark.parametrize(
    ("options", "text", "passed"),
    [
        ({"pattern": r"\d+"}, "about 42", True),
        ({"pattern": r"\d+", "whole": True}, "about 42", False),
        ({"pattern": r"\p{Lu}+", "whole": True}, "ÄÖ", True),
        ({"pattern": "cat"}, "CAT", False),
        ({"pattern": "cat", "ignore_case": True}, "CAT", True),
        ({"pattern": "4"}, 42, True),
        ({"pattern": "."}, None, False),
    ],
)
def test_a_text_fits_a_pattern(options: dict[str, object], text: object, passed: bool) -> None:
    """As `regex` has it."""
    assert passed == score(spec("regex", **ANSWER, **options), {}, {"answer": text}).passed


@given(value=JSON)
def test_json_is_the_same_as_a_value_and_as_a_text(value: Any) -> None:
    """And every value is the same as itself."""
    assert score(
        spec("json_match", **ANSWER), {"answer": json.dumps(value)}, {"answer": json.dumps(value)}
    ).passed
    if not isinstance(value, str):
        assert score(spec("json_match", **ANSWER), {"answer": value}, {"answer": json.dumps(value)}).passed
    assert score(spec("exact_match", **ANSWER), {"answer": value}, {"answer": value}).passed


@given(one=JSON, other=JSON)
def test_values_that_python_tells_apart_differ(one: Any, other: Any) -> None:
    """Whichever comes first."""
    forth = score(spec("exact_match", **ANSWER), {"answer": one}, {"answer": other}).passed
    assert forth == score(spec("exact_match", **ANSWER), {"answer": other}, {"answer": one}).passed
    if one != other:
        assert not forth


@pytest.mark.parametrize(
    ("metric", "options", "field"),
    [
        ("exact_match", {}, "metric.options.field"),
        ("exact_match", {"field": ""}, "metric.options.field"),
        ("exact_match", {"field": 3}, "metric.options.field"),
        ("exact_match", {**ANSWER, "case": 1}, "metric.options.case"),
        ("exact_match", {**ANSWER, "normalize": "squad"}, "metric.options.normalize"),
        ("exact_match", {**ANSWER, "expected": "a", "value": "b"}, "metric.options.value"),
        ("numeric", {**ANSWER, "absolute": -1}, "metric.options.absolute"),
        ("numeric", {**ANSWER, "absolute": math.nan}, "metric.options.absolute"),
        ("regex", {**ANSWER}, "metric.options.pattern"),
        ("regex", {**ANSWER, "pattern": "(a"}, "metric.options.pattern"),
        ("regex", {**ANSWER, "pattern": "a" * 501}, "metric.options.pattern"),
        ("json_match", {**ANSWER, "ignore": ["a..b"]}, "metric.options.ignore[0]"),
        ("json_match", {**ANSWER, "ignore": ["a[x]"]}, "metric.options.ignore[0]"),
        ("json_match", {**ANSWER, "ignore": "a"}, "metric.options.ignore"),
        ("oracle", {}, "metric.metric"),
    ],
)
def test_a_spec_is_refused_by_its_path(metric: str, options: dict[str, object], field: str) -> None:
    """When it is made, before any row."""
    refused = refusal(spec(metric, **options))
    assert ("invalid_argument", field) == (refused.code, refused.details["field"])


@pytest.mark.parametrize("what", [None, "exact_match", [], {}, {"metric": 3}, {"metric": "EM", "option": {}}])
def test_what_is_no_spec_is_refused(what: object) -> None:
    """By what of it is wrong."""
    assert "invalid_argument" == refusal(what).code


def test_an_unknown_metric_lists_those_that_there_are() -> None:
    """Ours and DSPy's."""
    assert "exact_match, contains, regex" in refusal(spec("oracle")).message
    assert "SemanticF1" in refusal(spec("oracle")).message


@pytest.mark.parametrize(
    ("what", "example", "prediction", "field"),
    [
        (spec("exact_match", **ANSWER), {}, {"answer": 1}, "example.answer"),
        (spec("exact_match", **ANSWER), {"answer": 1}, {"reply": 1}, "prediction.answer"),
        (spec("exact_match", **ANSWER, any_of=True), {"answer": "a"}, {"answer": "a"}, "example.answer"),
        (spec("exact_match", **ANSWER, any_of=True), {"answer": []}, {"answer": "a"}, "example.answer"),
        (spec("contains", **ANSWER), {"answer": None}, {"answer": "a"}, "example.answer"),
        (
            spec("contains", **ANSWER, any_of=True),
            {"answer": ["a", []]},
            {"answer": "a"},
            "example.answer[1]",
        ),
        (spec("numeric", **ANSWER), {"answer": "x"}, {"answer": 1}, "example.answer"),
        (spec("numeric", **ANSWER), {"answer": math.nan}, {"answer": 1}, "example.answer"),
        (spec("numeric", **ANSWER, value="x"), {}, {"answer": 1}, "value"),
        (spec("json_match", **ANSWER), {"answer": "{"}, {"answer": "{"}, "example.answer"),
        (spec("set_f1", **ANSWER), {"answer": "a"}, {"answer": ["a"]}, "example.answer"),
        (spec("regex", **ANSWER, pattern="a"), {}, {"answer": "a" * 1_000_001}, "prediction.answer"),
    ],
)
def test_a_row_without_what_is_needed_has_no_score(
    what: dict[str, object], example: dict[str, Any], prediction: dict[str, Any], field: str
) -> None:
    """That is no 0: the fault is not the prediction's."""
    failed = failure(what, example, prediction)
    assert ("metric_failed", field, what["metric"]) == (
        failed.code,
        failed.details["field"],
        failed.details["metric"],
    )


def test_a_pattern_that_goes_back_for_ever_is_stopped() -> None:
    """With an error of its own, and other threads go on meanwhile."""
    went_on = threading.Event()
    other = threading.Thread(target=went_on.set)
    other.start()
    failed = failure(
        spec("regex", **ANSWER, pattern="(?:a|a)*(?:a|a)*b|(a+)+$"), {}, {"answer": "a" * 5_000 + "!"}
    )
    other.join()
    assert ("metric_timeout", False, True) == (failed.code, failed.retryable, went_on.is_set())


@pytest.mark.parametrize("metric", ["exact_match", "contains", "token_f1", "json_match", "set_f1"])
def test_what_came_is_read_once(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many values would do: it may be as long as a frame."""
    read: list[object] = []

    class Watched(str):
        """A text that tells when it is looked at."""

        __slots__ = ()

        def casefold(self) -> str:
            read.append(self)
            return super().casefold()

    loads = json.loads

    def watched(text: str, **more: Any) -> Any:
        read.append(text)
        return loads(text, **more)

    monkeypatch.setattr(json, "loads", watched)
    monkeypatch.setattr("unicodedata.normalize", lambda form, text: text)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    came: Any = Watched('"came"')
    options = {} if metric == "json_match" else {"normalize": "case"}
    many = [["x"]] * 9 if metric == "set_f1" else ["7"] * 9
    what = spec(metric, **ANSWER, any_of=True, **options)
    score(what, {"answer": many}, {"answer": [came] if metric == "set_f1" else came})
    assert 1 == sum(text is came for text in read)


def test_feedback_is_short_and_says_where() -> None:
    """The first place of JSON that differs; never the whole of a long text."""
    found = score(spec("json_match", **ANSWER), {"answer": {"a": [{"b": 1}]}}, {"answer": {"a": [{"b": 2}]}})
    assert "a[0].b: it is another value" == found.feedback
    found = score(spec("exact_match", **ANSWER), {"answer": "x" * 10_000_000}, {"answer": "y" * 10_000_000})
    assert found.feedback is not None
    assert len(found.feedback) < 500


def test_what_is_nested_deeper_than_the_wire_allows_is_no_match() -> None:
    """And no crash."""
    deep: Any = []
    for _ in range(600):
        deep = [deep]
    found = score(spec("exact_match", **ANSWER), {"answer": deep}, {"answer": deep})
    assert (0.0, False) == (found.score, found.passed)


@needs_rapidfuzz
@given(one=st.text(max_size=12), other=st.text(max_size=12))
def test_edit_distance_is_levenshteins(one: str, other: str) -> None:
    """As the table of the textbook has it."""
    before = list(range(len(other) + 1))
    for n, left in enumerate(one, 1):
        after = [n]
        for m, right in enumerate(other, 1):
            after.append(min(before[m] + 1, after[-1] + 1, before[m - 1] + (left != right)))
        before = after
    longer = max(len(one), len(other))
    expected = 1.0 - before[-1] / longer if longer else 1.0
    found = score(spec("edit_distance", **ANSWER), {"answer": one}, {"answer": other})
    assert expected == pytest.approx(found.score)


@needs_rapidfuzz
def test_edit_distance_bounds_its_texts() -> None:
    """The time is a product."""
    failed = failure(spec("edit_distance", **ANSWER), {"answer": "a"}, {"answer": "a" * 50_001})
    assert ("metric_failed", "prediction.answer") == (failed.code, failed.details["field"])
    several = spec("edit_distance", **ANSWER, any_of=True)
    failed = failure(several, {"answer": ["a" * 501] * 100}, {"answer": "a"})
    assert ("metric_failed", "example.answer") == (failed.code, failed.details["field"])


def test_edit_distance_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""

    def nothing(name: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", nothing)
    refused = refusal(spec("edit_distance", **ANSWER))
    assert "metric.metric" == refused.details["field"]
    assert "pip install 'dspex[metrics]'" in refused.message
