"""Optimizers as jobs against DSPy's own in process: the same questions, and the same program."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest
from dspy.utils.callback import BaseCallback
from tests.bridge.jobs.job_hop import JobHop
from tests.support.hops import worker_here
from tests.support.optimizing import (
    LMS,
    METRIC,
    OPTIMIZERS,
    SIGNATURE,
    THREADS,
    examples,
    in_process,
    request,
)

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.metrics.called import FeedbackMetric
from dspex_bridge.metrics.catalog import MetricBuilder
from dspex_bridge.optimizers.taming import tamed
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.records import Spec
from dspex_bridge.programs.state import dump_state
from dspex_bridge.sim.model import SimModel
from dspex_protocol import decode_value, encode_value
from dspex_protocol.handshake import LMConfig
from dspex_protocol.records import read


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What the offline model was asked, each question once."""
    questions: set[str] = set()
    answer = SimModel.answer

    def listening(model: Any, messages: Any, temperature: Any = None, *more: Any) -> Any:
        questions.add(repr((list(messages), temperature)))
        return answer(model, messages, temperature, *more)

    monkeypatch.setattr(SimModel, "answer", listening)
    return questions


def by_dspy(name: str) -> dict[str, object]:
    """The state of what DSPy makes of the task by itself."""
    lms = LanguageModels(HostFunctions())
    lms.configure({key: read(LMConfig, config, key) for key, config in LMS.items()}, {})
    lm = lms.get(None)
    student: Any = Builder().build(Spec(module="Predict", signature=SIGNATURE)).module
    student.signature = student.signature.with_instructions(student.signature.instructions)
    settings = {
        "lm": lm,
        "num_threads": THREADS,
        "disable_history": True,
        "trace": None,
        "callbacks": [Quiet()],
    }
    with dspy.context(**settings), tamed(dspy.Parallel, 0):
        if name == "BetterTogether":
            student.set_lm(lm)
        metric = MetricBuilder(Builder(), lms).metric(METRIC, "metric")
        feedback = FeedbackMetric(metric, asyncio.get_running_loop())
        optimizer, compiling = in_process(name, lm, feedback)
        compiled = optimizer.compile(student, trainset=examples(), **compiling)
    state: Any = decode_value(encode_value(dump_state(compiled)))
    return dict(state)


class Quiet(BaseCallback):  # type: ignore[misc]
    """Nothing but a reason for DSPy to go its long way to the model, as it does in a job."""


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
async def test_it_is_dspys_own(name: str, asked: set[str]) -> None:
    """To the last demo and word."""
    async with worker_here(LMS) as (hop, _):
        reply = await JobHop(hop).run(request(name), "optimize")
    by_job = set(asked)
    asked.clear()
    assert by_dspy(name) == reply["result"]["program"]["state"]
    assert asked == by_job
