"""The steps of a prediction, as a plain DSPy program would keep them."""

from __future__ import annotations

from typing import Any, Final

import dspy
import pytest
from dspy.utils import DummyLM
from tests.support.hops import Hop, worker_here

from dspex_bridge.values.tracing import steps_of

LMS: Final[dict[str, Any]] = {"default": {"model": "sim/one", "options": {"seed": 1}}}
SPEC: Final = {"module": "ChainOfThought", "signature": "question -> answer"}


async def predicted(hop: Hop, **more: Any) -> dict[str, Any]:
    payload = {"inputs": {"question": "x"}, "spec": SPEC, **more}
    prediction = await hop.call("program.predict", payload)
    parts: dict[str, Any] = prediction.value
    return parts


async def test_a_trace_comes_only_when_it_was_asked_for() -> None:
    """And holds what the predictor was given and what it gave, by its name in the program."""
    async with worker_here(LMS) as (hop, _):
        assert "trace" not in await predicted(hop)
        parts = await predicted(hop, trace=True)
        assert [{"predictor": "predict", "inputs": {"question": "x"}, "outputs": parts["fields"]}] == parts[
            "trace"
        ]
        assert "trace" not in await predicted(hop)


async def test_what_is_no_boolean_is_refused() -> None:
    """By its field."""
    async with worker_here(LMS) as (hop, _):
        payload = {"inputs": {"question": "x"}, "spec": SPEC, "trace": "yes"}
        refused = await hop.failure("program.predict", payload)
        assert ("invalid_argument", "trace") == (refused.code, refused.details["field"])


async def test_every_completion_comes_where_several_were_asked_for() -> None:
    """The fields are the first one's; the trace has one step for all of them."""
    async with worker_here(LMS) as (hop, _):
        parts = await predicted(hop, config={"n": 3, "temperature": 1.0}, trace=True)
        assert 3 == len(parts["completions"])
        assert parts["fields"] == parts["completions"][0] == parts["trace"][0]["outputs"]


class Twice(dspy.Module):  # type: ignore[misc]
    """Runs a copy of one of its predictors and a predictor that is nobody's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict("question -> draft")
        self.second = dspy.Predict("draft -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        draft: Any = self.first.deepcopy()(question=question)
        dspy.Predict("draft -> note")(draft=draft.draft)
        return self.second(draft=draft.draft)


def test_steps_are_dspys_own_and_copies_have_the_names_of_their_originals() -> None:
    """Held against the trace of the same program in this process."""
    module, trace = Twice(), list[Any]()
    with dspy.context(lm=DummyLM([{"draft": "d"}, {"note": "n"}, {"answer": "a"}]), trace=trace):
        module(question="x")
    steps: Any = steps_of(module, trace)
    assert ["first", None, "second"] == [step["predictor"] for step in steps]
    assert [(given, dict(made)) for _, given, made in trace] == [
        (step["inputs"], step["outputs"]) for step in steps
    ]


@pytest.mark.parametrize("wanted", [False, True])
async def test_a_call_leaves_no_trace_for_others(wanted: bool) -> None:
    """The list is the call's own."""
    async with worker_here(LMS) as (hop, _):
        traces = [(await predicted(hop, trace=wanted)).get("trace", []) for _ in range(3)]
        assert [1 if wanted else 0] * 3 == [len(trace) for trace in traces]
