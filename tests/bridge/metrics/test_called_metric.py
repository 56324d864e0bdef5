"""A metric as DSPy calls one: by `Evaluate` and by optimizers, from their threads, while the loop runs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import dspy
import pytest
from dspy.teleprompt import BootstrapFewShot
from dspy.utils import DummyLM
from tests.support.metrics import build, spec

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.lms.usage import counting
from dspex_bridge.metrics.called import CalledMetric, FeedbackMetric
from dspex_bridge.metrics.catalog import MetricBuilder
from dspex_bridge.metrics.metric import Metric
from dspex_bridge.programs.builder import Builder
from dspex_protocol import DSPexError, LMConfig

RIGHT: Final = spec("exact_match", field="answer")
EXAMPLES: Final = [
    dspy.Example(question=str(n), answer="yes" if n % 2 else "no").with_inputs("question") for n in range(8)
]


class Parity(dspy.Module):  # type: ignore[misc]
    """Says yes, and is wrong half of the time."""

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer="yes")


def asking(answer: Callable[[Mapping[str, Any]], object]) -> Metric:
    """A metric of the host's, on the event loop at hand."""

    async def call_host(name: str, args: Mapping[str, Any]) -> object:
        await asyncio.sleep(0)
        return answer(args)

    functions = HostFunctions(call_host, asyncio.get_running_loop())
    functions.configure(["grade"])
    builder = Builder(functions=functions)
    return MetricBuilder(builder, LanguageModels(functions)).metric(spec("host", function="grade"), "metric")


def same(args: Mapping[str, Any]) -> object:
    """What the host says of a row."""
    right = args["example"]["answer"] == args["prediction"]["answer"]
    about = f" ({args['predictor']})" if "predictor" in args else ""
    return {"score": float(right), "passed": right, "feedback": None if right else f"wrong{about}"}


async def evaluated(metric: CalledMetric, threads: int) -> Any:
    """What DSPy's `Evaluate` makes of a metric, in threads of its own."""
    run = dspy.Evaluate(devset=EXAMPLES, metric=metric, num_threads=threads, display_progress=False)
    return await asyncio.to_thread(run, Parity())


@pytest.mark.parametrize("threads", [1, 4])
async def test_evaluate_takes_a_metric_that_asks_nobody(threads: int) -> None:
    """As one of Python's."""
    result = await evaluated(CalledMetric(build(RIGHT), asyncio.get_running_loop()), threads)
    assert 50.0 == result.score
    assert [0.0, 1.0] * 4 == [score for _, _, score in result.results]


@pytest.mark.parametrize("threads", [1, 4])
async def test_evaluate_takes_one_that_asks_the_host(threads: int) -> None:
    """Each thread waits for its own answer, and the loop goes on."""
    result = await evaluated(CalledMetric(asking(same), asyncio.get_running_loop()), threads)
    assert [0.0, 1.0] * 4 == [score for _, _, score in result.results]


async def test_a_judge_is_counted_where_the_thread_counts() -> None:
    """With the language model that holds there."""
    lms = LanguageModels(HostFunctions())
    lms.configure({"default": LMConfig(model="sim/x")}, {})
    judge = spec("judge", program={"module": "Predict", "signature": "answer -> score: bool"})
    metric = CalledMetric(MetricBuilder(Builder(), lms).metric(judge, "metric"), asyncio.get_running_loop())

    def run() -> tuple[float, int]:
        with counting() as usage, dspy.context(lm=lms.get(None), disable_history=True):
            return metric(EXAMPLES[0], dspy.Prediction(answer="x")), usage.lm_calls

    score, calls = await asyncio.to_thread(run)
    assert 1 == calls
    assert score in {0.0, 1.0}


async def test_bootstrapping_keeps_what_has_passed() -> None:
    """With a trace it is the verdict that counts, so a demo is never one of half a score."""
    half = spec("weighted", parts={"right": RIGHT, "never": spec("exact_match", field="answer", value="!")})
    strict = CalledMetric(build(spec("threshold", metric=half, at=0.5)), asyncio.get_running_loop())
    lm = DummyLM([{"answer": "yes"}] * 20)

    def run() -> Any:
        with dspy.context(lm=lm):
            optimizer = BootstrapFewShot(metric=strict, max_bootstrapped_demos=8, max_labeled_demos=0)
            return optimizer.compile(dspy.Predict("question -> answer"), trainset=EXAMPLES)

    compiled = await asyncio.to_thread(run)
    assert ["1", "3", "5", "7"] == [demo.question for demo in compiled.demos]


async def test_gepas_form_has_feedback_and_the_predictor() -> None:
    """A prediction of both, with words also where the metric has none."""
    loop = asyncio.get_running_loop()
    metric = FeedbackMetric(asking(same), loop)
    inspect.signature(metric).bind(None, None, None, None, None)  # what GEPA looks for
    wrong, right = dspy.Prediction(answer="?"), dspy.Prediction(answer="no")
    told = await asyncio.to_thread(metric, EXAMPLES[0], wrong, [], "self.predict", [])
    assert (0.0, "wrong (self.predict)") == (told.score, told.feedback)
    told = await asyncio.to_thread(metric, EXAMPLES[0], right)
    assert (1.0, "This is as it should be.") == (told.score, told.feedback)
    plain = FeedbackMetric(build(spec("token_f1", field="answer")), loop)
    assert "This scores 0 of 1." == plain(EXAMPLES[0], wrong).feedback


async def test_a_row_without_a_score_raises_what_it_lacks() -> None:
    """Which DSPy's `Evaluate` counts as an error."""
    metric = CalledMetric(build(spec("negate", metric=RIGHT)), asyncio.get_running_loop())
    with pytest.raises(DSPexError, match=r"the metric exact_match \(metric\): prediction.answer") as failed:
        metric(EXAMPLES[0], dspy.Prediction(reply="x"))
    assert "metric_failed" == failed.value.code


async def test_a_metric_that_hangs_ends_at_its_limit() -> None:
    """In its thread."""
    functions = HostFunctions(lambda name, args: asyncio.Event().wait(), asyncio.get_running_loop())
    functions.configure(["grade"])
    metric = MetricBuilder(Builder(functions=functions), LanguageModels(functions)).metric(
        spec("host", function="grade"), "metric"
    )
    called = CalledMetric(metric, asyncio.get_running_loop(), limit_s=0.01)
    with pytest.raises(DSPexError, match=r"gave no score in 0\.01 s") as failed:
        await asyncio.to_thread(called, EXAMPLES[0], dspy.Prediction(answer="x"))
    assert "metric_timeout" == failed.value.code


async def test_one_that_asks_is_refused_on_the_event_loop() -> None:
    """It would never end."""
    metric = CalledMetric(asking(same), asyncio.get_running_loop())
    with pytest.raises(DSPexError, match="would never end"):
        metric(EXAMPLES[0], dspy.Prediction(answer="x"))
