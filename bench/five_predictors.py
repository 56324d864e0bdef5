"""A plug-in for the bench: a program of five predictors, and what its state costs in a worker.

The figures are taken inside the worker, so that nothing of the way there is in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import dspy

from dspex_bridge.modules.catalog import CONFIG, ModuleClass
from dspex_bridge.predicting import Predict, predict
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec, read_record
from dspex_bridge.rows import Nothing, Operation, Worker
from dspex_bridge.worker.calls import RunningCall
from dspex_protocol import decode_value, encode_value

VERSIONS = 60
DEMOS = 4
SIGNATURE: dict[str, Any] = {
    "instructions": "Answer.",
    "inputs": [{"name": "question"}, {"name": "context", "type": "list[str]"}],
    "outputs": [{"name": "answer"}, {"name": "score", "type": "float", "ge": 0}],
}
SPEC = Spec(module="FivePredictors", signature=SIGNATURE)
INPUTS: dict[str, object] = {"question": "Why?", "context": ["since"]}


class FivePredictors(dspy.Module):  # type: ignore[misc]
    """Thinks four times before it answers."""

    def __init__(self, signature: Any, **config: Any) -> None:
        super().__init__()
        self.drafts = [dspy.Predict(signature, **config) for _ in range(4)]
        self.answer = dspy.Predict(signature, **config)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """As DSPy calls it."""
        for draft in self.drafts:
            await draft.acall(**inputs)
        return await self.answer.acall(**inputs)


def _learned(version: int, predictor: str) -> dict[str, object]:
    """150 words of instructions and four demos, other ones in each version."""
    demo = {"context": ["passage " * 60, "passage " * 60], "answer": "word " * 60, "score": 0.5}
    return {
        "instructions": f"{version} {predictor} {'word ' * 150}",
        "demos": [{"question": f"{version} {n} " * 20, **demo} for n in range(DEMOS)],
    }


async def _measure(worker: Worker, call: RunningCall, nothing: Nothing) -> dict[str, float]:
    builder = worker.programs.builder
    predictors = dict(builder.template(SPEC).module.named_predictors())
    state = {name: _learned(0, name) for name in predictors}
    records = [
        encode_value(
            builder.build(SPEC, {**state, **{name: _learned(version, name) for name in state}}).record()
        )
        for version in range(VERSIONS)
    ]
    live: list[LiveProgram] = []
    incoming = _timed(lambda version: live.append(builder.load(read_record(decode_value(records[version])))))
    outgoing = _timed(lambda version: encode_value(live[version].record()))
    revised = _timed(
        lambda version: builder.revise(
            live[version], None, {"answer": _learned(-1 - version, "answer")}
        ).record()
    )
    first, again = await _predictions(worker, [decode_value(record) for record in records])
    return {
        "record_bytes": len(records[0]),
        "record_in_ms": median(incoming),
        "record_in_p95_ms": _p95(incoming),
        "record_out_ms": median(outgoing),
        "record_out_p95_ms": _p95(outgoing),
        "revise_ms": median(revised),
        "first_predict_ms": median(first),
        "later_predict_ms": median(again),
        "switch_ms": median(one - other for one, other in zip(first, again, strict=True)),
    }


def _timed(measured: Callable[[int], object]) -> list[float]:
    times = list[float]()
    for version in range(VERSIONS):
        began_s = time.perf_counter()
        measured(version)
        times.append((time.perf_counter() - began_s) * 1000)
    return times


def _p95(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


async def _predictions(worker: Worker, records: list[object]) -> tuple[list[float], list[float]]:
    """Of each version the first prediction, with its loading, and a later one."""
    first, again = list[float](), list[float]()
    for version, record in enumerate(records, 1):
        began_s = time.perf_counter()
        worker.programs.load("bench", version, record)
        await _predict(worker, version)
        first.append((time.perf_counter() - began_s) * 1000)
        began_s = time.perf_counter()
        await _predict(worker, version)
        again.append((time.perf_counter() - began_s) * 1000)
        worker.programs.forget("bench", version)
    return first, again


async def _predict(worker: Worker, version: int) -> None:
    call = RunningCall(0, {"program": "bench", "version": version}, lambda frame: None)
    call.program = worker.programs.named(call.meta)
    await predict(worker, call, Predict(inputs=dict(INPUTS)))


MODULES = [
    ModuleClass(name="FivePredictors", make=FivePredictors, options={"config": CONFIG}, keeps_state=False)
]
OPERATIONS = [
    Operation(method="bench.state", parameters=Nothing, run=_measure, doc="Measures programs' state in here.")
]
