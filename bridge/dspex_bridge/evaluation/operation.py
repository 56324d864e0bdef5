"""`evaluation.check` and `evaluation.row`: one program and some metrics, and one row of a dataset by them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Annotated, Final

import dspy

from dspex_protocol.errors import CallerError, DSPexError
from dspex_protocol.limits import MAX_DEADLINE_MS
from dspex_protocol.records import Doc, Length, Range

from ..adapters.choices import Adapter, OnViolation
from ..failures import redact_failure, to_failure, told_failure
from ..lms.usage import counting
from ..metrics.catalog import MetricBuilder
from ..metrics.metric import Metric
from ..metrics.operation import Outcome, judges_lm, told_outcome
from ..metrics.rows import Row, row_of
from ..metrics.scoring import PartFailed, Scoring, failure_of
from ..predicting import Predict, ProgramRun, check_run, program_of
from ..programs.live import LiveProgram
from ..refusals import refusal
from ..rows import Operation, Worker
from ..signatures.signatures import required_inputs
from ..values.outgoing import to_wire
from ..worker.calls import RunningCall
from ..worker.remaining import remaining_s

MAX_METRICS: Final = 16
FOR_METRICS: Final = 0.95
"""Of the time that a row has left, what its metrics may take: their `metric_timeout` then comes with the
prediction, where the end of the row's own time would lose both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What each row is done with."""

    metrics: Annotated[
        dict[str, object], Length(1, MAX_METRICS), Doc("name to a spec: {metric, options}; docs/metrics.md")
    ]
    input_keys: (
        Annotated[list[str], Doc("fields that the program may be given; default: all that it takes")] | None
    ) = None
    spec: Annotated[object, Doc("the program, where meta names none")] = None
    lm: (
        Annotated[
            str, Doc("a configured LM, for what names none, metrics too; default: the one named default")
        ]
        | None
    ) = None
    config: Annotated[dict[str, object], Doc("LM settings of the program's requests")] = field(
        default_factory=dict[str, object]
    )
    adapter: Adapter = None
    on_violation: OnViolation = None
    retriever: (
        Annotated[str, Doc("a host function that dspy.Retrieve asks in modules of plug-ins")] | None
    ) = None
    trace: Annotated[bool, Doc("whether a row has the steps that led to its prediction")] = False
    requests: Annotated[bool, Doc("whether a row has its requests to language models")] = False
    metric_deadline_ms: (
        Annotated[int, Range(1, MAX_DEADLINE_MS), Doc("time of one metric for one row")] | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRow(Evaluation):
    """A row."""

    example: Annotated[dict[str, object], Doc("its fields")]


async def check_evaluation(worker: Worker, call: RunningCall, what: Evaluation) -> object:
    """Build all that each row needs, so that what is wrong with it is told before the first one."""
    metrics = _metrics(worker, what)
    judges_lm(worker.lms, metrics.values(), what.lm)
    program = program_of(worker, call, what.spec)
    check_run(worker, program, _prediction_of(what))
    if what.input_keys is not None:
        for name, expected in required_inputs(program.signature).items():
            if name not in what.input_keys:
                keys = ", ".join(what.input_keys) or "none"
                raise refusal("input_keys", f"{name} among them, which the program needs: {expected}", keys)
    return None


async def evaluate_row(worker: Worker, call: RunningCall, what: EvaluateRow) -> object:
    """Make the prediction of a row, and score it. A program's error is the row's, a metric's the score's."""
    metrics = _metrics(worker, what)
    program = program_of(worker, call, what.spec)
    began_s = monotonic()
    outcome = await _Attempt(worker, call, what, program).outcome()
    worker_ms = (monotonic() - began_s) * 1000
    spent = _figures(call)
    scores: dict[str, object] = {}
    if outcome.prediction is not None:
        row = Row(row_of(what.example, {}, "row").example, outcome.prediction)
        scores = await _scores(worker, call, what, metrics, row)
    return {
        "prediction": outcome.told,
        "error": None if outcome.failure is None else told_failure(outcome.failure),
        "scores": scores,
        "usage": _figures(call),
        "metric_usage": _less(_figures(call), spent),
        "worker_ms": round(worker_ms, 3),
        **outcome.more,
    }


@dataclass(slots=True, kw_only=True)
class _Outcome:
    """What came of a program: a prediction, which is `told` in the form of the wire, or a failure."""

    prediction: dspy.Prediction | None = None
    told: object = None
    failure: DSPexError | None = None
    more: Mapping[str, object] = field(default_factory=dict[str, object])


class _Attempt:
    """A program and a row's inputs."""

    def __init__(self, worker: Worker, call: RunningCall, what: EvaluateRow, program: LiveProgram) -> None:
        self._worker = worker
        self._call = call
        self._example = what.example
        self._keys = what.input_keys
        self._program = program
        self._wanted = _prediction_of(what)
        self._run: ProgramRun | None = None

    async def outcome(self) -> _Outcome:
        """The prediction or the failure.

        Raises:
            CallerError: what is wrong with every row.
        """
        try:
            self._run = run = ProgramRun(
                self._worker, self._call, self._wanted, self._program, self._inputs()
            )
            prediction = await run.prediction()
            return _Outcome(prediction=prediction, told=to_wire(prediction), more=run.told())
        except Exception as reason:
            failure = to_failure(reason)
            if isinstance(failure, CallerError) and not _is_of_row(failure):
                raise
            redact_failure(failure)
            return _Outcome(failure=failure, more=self._told())

    def _inputs(self) -> dict[str, object]:
        names = (*self._program.signature.input_fields, *self._program.template.module_class.call_inputs)
        return {
            name: self._example[name]
            for name in names
            if name in self._example and (self._keys is None or name in self._keys)
        }

    def _told(self) -> Mapping[str, object]:
        """What is known of a run that has failed; nothing where that has no form on the wire."""
        try:
            return {} if self._run is None else self._run.told()
        except DSPexError:
            return {}


def _prediction_of(what: Evaluation) -> Predict:
    """The prediction that a row is to have; its inputs are put in later."""
    return Predict(
        inputs={},
        lm=what.lm,
        config=what.config,
        adapter=what.adapter,
        on_violation=what.on_violation,
        retriever=what.retriever,
        trace=what.trace,
        history=True if what.requests else None,
    )


def _is_of_row(failure: DSPexError) -> bool:
    path = failure.details.get("field")
    return isinstance(path, str) and (path == "inputs" or path.startswith(("inputs.", "inputs[")))


def _metrics(worker: Worker, what: Evaluation) -> dict[str, Metric]:
    builder = worker.programs.builder
    return {
        name: MetricBuilder(builder, worker.lms).metric(spec, f"metrics.{name}")
        for name, spec in what.metrics.items()
    }


async def _scores(
    worker: Worker, call: RunningCall, what: Evaluation, metrics: Mapping[str, Metric], row: Row
) -> dict[str, object]:
    """All metrics at once; each has a score or an error of its own."""
    settings = {
        **judges_lm(worker.lms, metrics.values(), what.lm),
        "disable_history": True,
        "trace": None,
    }
    limit_s = _limit_s(what)
    with counting(call.usage), dspy.context(**settings):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_score(metric, row, limit_s)) for metric in metrics.values()]
    return {name: told_outcome(task.result()) for name, task in zip(metrics, tasks, strict=True)}


async def _score(metric: Metric, row: Row, limit_s: float | None) -> Outcome:
    try:
        return await Scoring().within(metric, row, limit_s)
    except (PartFailed, DSPexError) as failed:
        return failure_of(failed)


def _limit_s(what: Evaluation) -> float | None:
    limits: Sequence[float | None] = (
        None if what.metric_deadline_ms is None else what.metric_deadline_ms / 1000,
        None if (left_s := remaining_s()) is None else max(0.001, left_s * FOR_METRICS),
    )
    return min((limit for limit in limits if limit is not None), default=None)


def _figures(call: RunningCall) -> dict[str, int | float]:
    return {name: figure for name, figure in call.usage.meta().items() if not isinstance(figure, str)}


def _less(all_: Mapping[str, int | float], some: Mapping[str, int | float]) -> dict[str, int | float]:
    """What is left of figures; empty where that is nothing."""
    left = {name: round(figure - some.get(name, 0), 12) for name, figure in all_.items()}
    return left if any(left.values()) else {}


CHECK_EVALUATION: Final = Operation(
    method="evaluation.check",
    parameters=Evaluation,
    run=check_evaluation,
    doc="Checks the program and the metrics of an evaluation; no row is run.",
)
EVALUATE_ROW: Final = Operation(
    method="evaluation.row",
    parameters=EvaluateRow,
    run=evaluate_row,
    doc="Makes the prediction of one row of an evaluation, and scores it.",
)
