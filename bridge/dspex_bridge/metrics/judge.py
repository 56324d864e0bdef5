"""A metric that is a program: a language model judges, and an output of its signature is the score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import dspy

from dspex_protocol.errors import describe_value, error
from dspex_protocol.records import Doc, Length

from ..adapters.choosing import adapter_of
from ..modules.running import run_module
from ..programs.live import LiveProgram
from ..refusals import refusal, unknown_field
from ..signatures.signatures import check_inputs
from .classes import Building, MetricClass
from .compared import text_of
from .metric import Asking, Metric
from .rows import Row
from .scores import Score, no_score, shortened


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What a program says of a prediction: an output of its signature is the score."""

    program: Annotated[object, Doc("the spec of the judge: {module, signature, options}")]
    score: Annotated[
        str, Length(1, 128), Doc("the output that is the score: a number on the scale, or a boolean")
    ] = "score"
    scale: Annotated[
        list[float], Length(2, 2), Doc("the numbers that stand for 0 and for 1; the first may be the higher")
    ] = field(default_factory=lambda: [0.0, 1.0])
    feedback: Annotated[str | None, Length(1, 128), Doc("the output that is the feedback, a text")] = None
    inputs: Annotated[
        dict[str, Annotated[str, Length(1, 256)]],
        Doc(
            "what feeds the judge's inputs: `example.FIELD` or `prediction.FIELD`;"
            " by default what has the same name, in the prediction before the example"
        ),
    ] = field(default_factory=dict[str, str])
    lm: Annotated[str | None, Length(1, 128), Doc("the language model that judges; default: the call's")] = (
        None
    )


def _build(given: Judge, path: str, building: Building) -> Metric:
    program = building.program(given.program, f"{path}.program")
    _check(given, program, path)
    if given.lm is not None:
        building.lms.get(given.lm, f"{path}.lm")

    async def ask(row: Row) -> Score:
        inputs = check_inputs(program.signature, _inputs(given, program, row))
        running = program.for_one_call()
        with _settings(given, program, building, path):
            prediction: Any = await run_module(running.module, inputs, is_async=program.template.runs_async)
        if prediction is None:
            raise error("prediction_failed", "no attempt of the judge gave a prediction")
        return _score(given, prediction)

    return Asking("judge", ask, asks_models=True)


def _check(given: Judge, program: LiveProgram, path: str) -> None:
    template = program.template
    if template.runs_code or template.module_class.call_inputs:
        got = f"{template.spec['module']}, which runs code or takes more than its signature's inputs"
        raise refusal(f"{path}.program.module", "a module that is asked with its signature's inputs", got)
    for option, name in (("score", given.score), ("feedback", given.feedback)):
        if name is not None and name not in template.outputs:
            raise refusal(f"{path}.{option}", f"one of the outputs {', '.join(template.outputs)}", repr(name))
    if template.outputs[given.score].get("type") in ("str", None):
        raise refusal(f"{path}.score", "an output that is a number or a boolean", f"{given.score}, a string")
    low, high = given.scale
    if low == high or not math.isfinite(low) or not math.isfinite(high):
        raise refusal(f"{path}.scale", "two numbers that differ", f"{low} and {high}")
    for name, source in given.inputs.items():
        if name not in program.signature.input_fields:
            raise unknown_field(f"{path}.inputs", name, program.signature.input_fields)
        if source.partition(".")[0] not in ("example", "prediction") or not source.partition(".")[2]:
            raise refusal(
                f"{path}.inputs.{name}", "example.FIELD or prediction.FIELD", describe_value(source)
            )


def _inputs(given: Judge, program: LiveProgram, row: Row) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for name, info in program.signature.input_fields.items():
        source = given.inputs.get(name)
        if source is not None:
            whose, _, field_ = source.partition(".")
            inputs[name] = row.wanted(field_) if whose == "example" else row.given(field_)
        elif name in row.prediction:
            inputs[name] = row.given(name)
        elif name in row.example or info.is_required():
            inputs[name] = row.wanted(name)
    return inputs


def _settings(given: Judge, program: LiveProgram, building: Building, path: str) -> Any:
    """DSPy's settings for the judge: its language model and adapter, and no trace of the caller's."""
    template = program.template
    settings: dict[str, Any] = {
        "adapter": adapter_of(template.adapter, template.retries, building.lms, f"{path}.program.adapter"),
        "trace": [] if template.wants_trace else None,
        "disable_history": True,
    }
    if given.lm is not None:
        settings["lm"] = building.lms.get(given.lm, f"{path}.lm")
    return dspy.context(**settings)


def _score(given: Judge, prediction: Mapping[str, Any]) -> Score:
    value = prediction[given.score]
    feedback = None if given.feedback is None else text_of(prediction[given.feedback])
    told = shortened(feedback) if feedback else None
    if isinstance(value, bool):
        return Score(score=float(value), passed=value, feedback=told)
    low, high = given.scale
    expected = f"a number from {min(low, high):g} to {max(low, high):g}, or a boolean"
    if not isinstance(value, int | float) or not min(low, high) <= value <= max(low, high):
        raise no_score(f"judge.{given.score}", expected, describe_value(value))
    return Score(score=min(max((value - low) / (high - low), 0.0), 1.0), feedback=told)


JUDGE: Final = MetricClass(
    name="judge",
    doc=(Judge.__doc__ or "").partition("\n")[0],
    options=Judge,
    build=_build,
    kind="dspex",
    asks="model",
)
