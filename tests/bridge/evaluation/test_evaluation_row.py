"""`evaluation.row` and `evaluation.check` in a worker: whose error is whose, and what a program is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import dspy
import pytest
from tests.support.hops import Hop, worker_here
from tests.support.metrics import spec

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.worker.serve import WorkerProcess
from dspex_protocol import CANCEL, FAIL, DSPexError

LMS: Final[dict[str, Any]] = {
    "default": {"model": "sim/one", "options": {"seed": 1}},
    "broken": {"model": "sim/one", "options": {"error_rate": 1.0}},
    "host": {"model": "host/judge"},
}
SPEC: Final = {"module": "Predict", "signature": "question -> answer"}
RIGHT: Final = spec("exact_match", field="answer")
EXAMPLE: Final = {"question": "Why?", "answer": "So.", "note": 7}
HOST: Final = spec("host", function="judge")


def asked(**more: object) -> dict[str, object]:
    return {"spec": SPEC, "metrics": {"right": RIGHT}, "example": EXAMPLE, **more}


@asynccontextmanager
async def with_host(answer: Any) -> AsyncGenerator[tuple[Hop, WorkerProcess]]:
    """A worker whose host has the function `judge`."""

    async def call_host(name: str, args: Any) -> object:
        return await answer(dict(args))

    async with worker_here(LMS) as (hop, worker):
        functions = HostFunctions(call_host, asyncio.get_running_loop())
        functions.configure(["judge"])
        worker.functions = worker.programs.builder.functions = functions
        yield hop, worker


async def row(hop: Hop, **more: object) -> dict[str, Any]:
    told: dict[str, Any] = await hop.call("evaluation.row", asked(**more))
    return told


async def test_a_row_has_its_prediction_and_all_scores() -> None:
    """As of a prediction and of `metric.score`, with what both cost."""
    metrics = {"right": RIGHT, "long": spec("regex", field="answer", pattern=".{5,}")}
    async with worker_here(LMS) as (hop, _):
        told = await row(hop, metrics=metrics, trace=True, requests=True)
        alone = await hop.call("program.predict", {"spec": SPEC, "inputs": {"question": "Why?"}})
    assert alone.value["fields"] == told["prediction"].value["fields"]
    assert {"right": 0.0, "long": 1.0} == {name: score["score"] for name, score in told["scores"].items()}
    assert (None, 1, {}) == (told["error"], told["usage"]["lm_calls"], told["metric_usage"])
    assert [{"question": "Why?"}] == [step["inputs"] for step in told["trace"]]
    assert 1 == len(told["requests"])
    assert told["worker_ms"] > 0


async def test_a_program_sees_its_inputs_and_no_label() -> None:
    """Of those that are declared; without a declaration those of its signature, whatever they are."""
    both = {"module": "Predict", "signature": "question, answer: str = 'none' -> verdict"}
    async with worker_here(LMS) as (hop, _):
        free = await row(hop, spec=both, trace=True)
        bound = await row(hop, spec=both, trace=True, input_keys=["question", "note"])
        lacking = await row(hop, example={"answer": "So."})
    assert "So." == free["trace"][0]["inputs"]["answer"]
    assert bound["trace"][0]["inputs"].get("answer") != "So."
    error = lacking["error"]
    assert ("invalid_argument", "inputs.question") == (error["code"], error["details"]["field"])
    assert (None, {}) == (lacking["prediction"], lacking["scores"])


async def test_a_programs_error_is_the_rows() -> None:
    """With its requests and what they cost; no metric is asked."""
    async with worker_here(LMS) as (hop, _):
        told = await row(hop, lm="broken", requests=True, trace=True)
    assert "lm_unavailable" == told["error"]["code"]
    assert (None, {}, []) == (told["prediction"], told["scores"], told["trace"])
    assert [told["error"]["code"]] == [one["error"] for one in told["requests"]]
    assert told["usage"]["lm_calls"] >= 1


async def test_what_has_no_form_on_the_wire_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as one, and not scored."""

    async def forward(self: object, **given: object) -> dspy.Prediction:
        return dspy.Prediction(answer=object())

    monkeypatch.setattr(dspy.Predict, "aforward", forward)
    async with worker_here(LMS) as (hop, _):
        told = await row(hop)
    assert told["error"]["code"] in ("value_unencodable", "prediction_failed")
    assert {} == told["scores"]


async def test_metrics_fail_each_for_itself() -> None:
    """In their own time; the prediction and the other scores are there."""

    async def judge(args: dict[str, Any]) -> object:
        await asyncio.sleep(60)
        return 1

    metrics = {"slow": HOST, "right": RIGHT, "none": spec("exact_match", field="other")}
    async with with_host(judge) as (hop, _):
        told = await row(hop, metrics=metrics, metric_deadline_ms=50)
        call_id = await hop.start("evaluation.row", asked(metrics=metrics), deadline_ms=400)
        bounded = await hop.end(call_id)
    assert ["metric_timeout", None, "metric_failed"] == [
        score.get("error", {}).get("code") for score in told["scores"].values()
    ]
    assert "metric_timeout" == bounded["scores"]["slow"]["error"]["code"]
    assert told["prediction"] is not None is not bounded["prediction"]


async def test_judges_are_counted_apart() -> None:
    """And asked by the model of the call, where they name none."""
    judge = spec("judge", program={"module": "Predict", "signature": "question, answer -> score: bool"})
    async with worker_here(LMS) as (hop, _):
        told = await row(hop, metrics={"judge": judge, "right": RIGHT})
    assert (2, 1) == (told["usage"]["lm_calls"], told["metric_usage"]["lm_calls"])
    assert 0 < told["metric_usage"]["tokens_in"] < told["usage"]["tokens_in"]


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"metrics": {}}, "invalid_argument", "metrics"),
        ({"metrics": {f"m{n}": RIGHT for n in range(17)}}, "invalid_argument", "metrics"),
        ({"metrics": {"m": spec("nope")}}, "invalid_argument", "metrics.m.metric"),
        ({"metrics": {"m": HOST}}, "unknown_function", "metrics.m.options.function"),
        ({"spec": None}, "invalid_argument", "spec"),
        ({"spec": {"module": "Nope"}}, "invalid_argument", "spec.module"),
        ({"lm": "nobody"}, "unknown_lm", None),
        ({"adapter": "yaml"}, "invalid_argument", "adapter"),
        ({"config": {"api_key": "x"}}, "invalid_argument", None),
        ({"input_keys": ["note"]}, "invalid_argument", "input_keys"),
        ({"metric_deadline_ms": 0}, "invalid_argument", "metric_deadline_ms"),
        ({"retriever": "none"}, "unknown_function", None),
    ],
)
async def test_what_is_wrong_with_every_row_is_told_by_a_check(
    more: dict[str, object], code: str, field: str | None
) -> None:
    """And ends the call of a row too, but for what only a dataset can lack."""
    async with worker_here(LMS) as (hop, _):
        assert None is await hop.call("evaluation.check", _without_example(asked()))
        refused = await hop.failure("evaluation.check", _without_example(asked(**more)))
        assert code == refused.code
        if field is not None:
            assert field == refused.details["field"]
        if "input_keys" not in more:
            assert code == (await hop.failure("evaluation.row", asked(**more))).code


def _without_example(payload: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in payload.items() if key != "example"}


async def test_a_cancel_stops_program_and_metrics() -> None:
    """Whoever is asked hears no more."""
    stopped = asyncio.Event()

    async def judge(args: dict[str, Any]) -> object:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.set()
            raise
        return 1

    async with with_host(judge) as (hop, _):
        call_id = await hop.start("evaluation.row", asked(metrics={"slow": HOST}))
        await asyncio.sleep(0.3)
        await hop.say(CANCEL, call_id, None, {}, None)
        with pytest.raises(DSPexError) as ended:
            await hop.end(call_id)
        assert "cancelled" == ended.value.code
        assert [FAIL] == [frame.kind for frame in hop.heard if frame.id == call_id]
        async with asyncio.timeout(5):
            await stopped.wait()
