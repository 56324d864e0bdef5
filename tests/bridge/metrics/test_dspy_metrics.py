"""DSPy's own metrics: all are found, and say what DSPy says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import dspy
import dspy.evaluate
import dspy.evaluate.auto_evaluation as judging
import dspy.evaluate.metrics as of_dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.hops import worker_here
from tests.support.metrics import failure, refusal, score, spec

from dspex_bridge.metrics.dspy_metrics import found_metrics

WORDS = st.lists(
    st.sampled_from(["the", "a", "cat", "Cat", "sat,", "yes", "no", "noanswer", "Ünï", "3.5", "!", "x"]),
    max_size=5,
).map(" ".join) | st.text(max_size=8)
SEVERAL = st.lists(WORDS, min_size=1, max_size=3)


def test_every_metric_of_the_installed_dspy_is_found() -> None:
    """What its modules for evaluation define and takes a prediction and something to hold against it."""
    defined = [
        (name, inspect.signature(getattr(found, "forward", found)).parameters)
        for module in (of_dspy, judging)
        for name, found in vars(module).items()
        if not name.startswith("_") and getattr(found, "__module__", "") == module.__name__
    ]
    wanted = {name for name, parameters in defined if {"pred", "prediction"} & set(parameters)}
    assert wanted >= {"SemanticF1", "EM", "answer_passage_match"}
    assert wanted == set(found_metrics())


@pytest.mark.parametrize("name", ["EM", "F1", "HotPotF1"])
@given(wanted=SEVERAL, came=WORDS)
def test_those_over_several_answers_say_what_dspy_says(name: str, wanted: list[str], came: str) -> None:
    """On texts of words that matter to them."""
    function: Callable[..., float] = getattr(of_dspy, name)
    found = score(spec(name, field="answer"), {"answer": wanted}, {"answer": came})
    assert float(function(came, wanted)) == found.score
    assert (found.passed is not None) == (name == "EM")


@pytest.mark.parametrize("name", ["em_score", "f1_score", "hotpot_f1_score", "precision_score"])
@given(wanted=WORDS, came=WORDS)
def test_those_over_one_answer_say_what_dspy_says(name: str, wanted: str, came: str) -> None:
    """The same; and the field of the example may have another name."""
    function: Callable[..., float] = getattr(of_dspy, name)
    found = score(spec(name, field="answer", expected="label"), {"label": wanted}, {"answer": came})
    assert float(function(came, wanted)) == found.score


@given(wanted=SEVERAL, came=WORDS)
def test_of_several_answers_the_best_counts(wanted: list[str], came: str) -> None:
    """Also for those of DSPy's that take one."""
    several = {"answer": wanted}, {"answer": came}
    assert of_dspy.F1(came, wanted) == score(spec("f1_score", field="answer"), *several).score
    assert of_dspy.EM(came, wanted) == score(spec("em_score", field="answer"), *several).passed


@given(wanted=SEVERAL, came=WORDS, frac=st.floats(0, 1))
def test_a_match_of_answers_is_dspys(wanted: list[str], came: str, frac: float) -> None:
    """With its option, and with fields that are called otherwise."""
    example, prediction = dspy.Example(answer=wanted), dspy.Prediction(answer=came)
    expected = of_dspy.answer_exact_match(example, prediction, frac=frac)
    renamed = spec("answer_exact_match", frac=frac, example={"answer": "gold"}, prediction={"answer": "out"})
    found = score(renamed, {"gold": wanted}, {"out": came})
    assert (float(expected), expected) == (found.score, found.passed)


@given(wanted=SEVERAL, passages=st.lists(WORDS, max_size=3))
def test_a_match_of_passages_is_dspys(wanted: list[str], passages: list[str]) -> None:
    """Over the field `context`."""
    expected = of_dspy.answer_passage_match(dspy.Example(answer=wanted), dspy.Prediction(context=passages))
    assert expected == score(spec("answer_passage_match"), {"answer": wanted}, {"context": passages}).passed


@given(wanted=SEVERAL, came=WORDS)
def test_ours_over_dspys_words_say_the_same(wanted: list[str], came: str) -> None:
    """But that two texts without a word are the same to us."""
    ours = {"field": "answer", "normalize": "dspy", "any_of": True}
    assert (
        of_dspy.EM(came, wanted)
        == score(spec("exact_match", **ours), {"answer": wanted}, {"answer": came}).passed
    )
    found = score(spec("token_f1", **ours), {"answer": wanted}, {"answer": came}).score
    if of_dspy.normalize_text(came):
        assert of_dspy.F1(came, wanted) == pytest.approx(found)
    else:
        assert float(any(not of_dspy.normalize_text(one) for one in wanted)) == found


@pytest.mark.parametrize(
    ("name", "example", "prediction"),
    [
        ("SemanticF1", {"question": "q", "response": "It is wet."}, {"response": "Water is wet."}),
        (
            "CompleteAndGrounded",
            {"question": "q", "response": "wet"},
            {"response": "Wet.", "context": "Rain is wet."},
        ),
    ],
)
async def test_those_that_ask_a_model_say_what_dspy_says(
    name: str, example: dict[str, Any], prediction: dict[str, Any]
) -> None:
    """With the same model, and what it cost is the call's."""
    metric = getattr(dspy.evaluate, name)()
    async with worker_here() as (hop, worker):
        with dspy.context(lm=worker.lms.get(None), disable_history=True):
            alone = metric(dspy.Example(**example), dspy.Prediction(**prediction)).score
        told = await hop.call(
            "metric.score", {"metric": spec(name), "rows": [{"example": example, "prediction": prediction}]}
        )
    assert 0 <= alone <= 1
    assert alone == told["results"][0]["score"] == told["mean"]
    assert (1 if name == "SemanticF1" else 2) == told["usage"]["lm_calls"]


def test_a_field_that_dspy_reads_is_named_where_it_is_missing() -> None:
    """By the name that the row should have it under."""
    failed = failure(spec("answer_exact_match"), {"question": "q"}, {"answer": "a"})
    assert ("metric_failed", "example.answer") == (failed.code, failed.details["field"])
    refused = refusal(spec("answer_exact_match", example={"response": "x"}))
    assert "metric.options.example.response" == refused.details["field"]


@pytest.mark.parametrize(
    ("name", "options"),
    [("HotPotF1", {"field": "answer"}), ("answer_exact_match", {}), ("answer_passage_match", {})],
)
def test_long_texts_are_refused_before_dspy_reads_them(name: str, options: dict[str, object]) -> None:
    """Those of the prediction count once for each answer: a thread cannot be stopped."""
    long = "a" * 1_000
    came: dict[str, Any] = {"answer": long, "context": [long]}
    assert 0.0 == score(spec(name, **options), {"answer": ["x"] * 100}, came).score
    failed = failure(spec(name, **options), {"answer": ["x"] * 2_000}, came)
    assert ("metric_failed", "row", "2002000") == (
        failed.code,
        failed.details["field"],
        failed.details["got"],
    )


def test_what_dspy_raises_is_an_error_of_the_row() -> None:
    """With the class and the place."""
    failed = failure(spec("answer_exact_match"), {"answer": "a"}, {"answer": 3})
    assert ("metric_failed", "TypeError", "answer_exact_match") == (
        failed.code,
        failed.details["class"],
        failed.details["metric"],
    )
