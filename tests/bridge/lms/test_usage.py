"""What a call spent: figures of one call, whatever tasks and threads it uses."""

from __future__ import annotations

import asyncio

import dspy
import pytest
from dspy.utils.exceptions import LMServerError

from dspex_bridge.lms.answering import AnsweringLM
from dspex_bridge.lms.usage import counting
from dspex_bridge.sim import SimModel, SimOptions, SimSource

pytestmark = pytest.mark.asyncio


class QA(dspy.Signature):  # type: ignore[misc]
    """Answer."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def sim(num_retries: int = 0, **options: float) -> AnsweringLM:
    """An offline LM."""
    return AnsweringLM("sim/x", SimSource(SimModel(SimOptions(**options))), num_retries=num_retries)  # type: ignore[arg-type]


async def test_the_short_and_the_long_way_count_alike() -> None:
    """An LM with retries goes through DSPy's engine path; answers and figures are the same."""
    seen = []
    for lm in (sim(), sim(num_retries=2)):
        with dspy.context(lm=lm, disable_history=True, trace=None), counting() as usage:
            prediction = await dspy.Predict(QA).acall(question="hi")
        seen.append((prediction.answer, usage.lm_calls, usage.tokens_in, usage.tokens_out))
    assert seen[0] == seen[1]
    assert seen[0][1:3] == (1, 132)
    assert seen[0][3] > 10


async def test_calls_at_the_same_time_do_not_mix() -> None:
    """Each has a record of its own."""

    async def run(times: int) -> int:
        with dspy.context(lm=sim(), disable_history=True, trace=None), counting() as usage:
            for _ in range(times):
                await dspy.Predict(QA).acall(question="hi")
                await asyncio.sleep(0)
        return usage.lm_calls

    assert await asyncio.gather(run(1), run(2), run(3)) == [1, 2, 3]  # type: ignore[comparison-overlap]


async def test_threads_of_a_call_add_to_its_figures() -> None:
    """`asyncio.to_thread` takes the context along."""
    with dspy.context(lm=sim(), disable_history=True, trace=None), counting() as usage:
        await asyncio.gather(*(asyncio.to_thread(dspy.Predict(QA), question=str(n)) for n in range(3)))
    assert usage.lm_calls == 3


async def test_waiting_is_measured() -> None:
    """The LM needs 20 ms, so at least 20 ms were waited."""
    with dspy.context(lm=sim(latency_ms=20), disable_history=True, trace=None), counting() as usage:
        await dspy.Predict(QA).acall(question="hi")
    assert usage.lm_ms >= 20
    assert usage.meta()["lm_calls"] == 1


async def test_failed_requests_count_too() -> None:
    """They took time, and the provider may bill them."""
    settings = dspy.context(lm=sim(error_rate=1), disable_history=True, trace=None)
    with settings, counting() as usage, pytest.raises(LMServerError):
        await dspy.Predict(QA).acall(question="hi")
    assert (usage.lm_calls, usage.tokens_out) == (1, 0)


async def test_a_programs_own_tracker_still_hears_of_its_tokens() -> None:
    """`dspy.track_usage` inside a program works, and the call counts as well."""
    settings = dspy.context(lm=sim(), disable_history=True, trace=None)
    with settings, counting() as usage, dspy.track_usage() as tracker:
        await dspy.Predict(QA).acall(question="hi")
    assert tracker.get_total_tokens()["sim/x"]["prompt_tokens"] == usage.tokens_in == 132


async def test_a_call_without_lms_says_nothing() -> None:
    """Meta carries no zeros."""
    with counting() as usage:
        assert usage.meta() == {}
