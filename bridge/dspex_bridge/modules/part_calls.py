"""`part.predict`: the host calls a part of the module in whose `forward` it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import dspy

from dspex_protocol.errors import error
from dspex_protocol.records import Doc

from ..refusals import refusal
from ..rows import Worker
from ..signatures.signatures import check_inputs
from ..streams.streaming import run_in_stream
from ..values.outgoing import to_wire
from ..worker.calls import RunningCall, current_call
from .host_module import Running, running
from .running import run_module


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictPart:
    """A prediction by a part."""

    part: Annotated[str, Doc("its name in the module's options.parts")]
    inputs: Annotated[dict[str, object], Doc("value by input field")]


async def predict_part(worker: Worker, call: RunningCall, what: PredictPart) -> object:
    """Run a part, with the settings that hold where the host was called."""
    host_call = worker.calls.host_call(call.meta.get("parent"))
    where = host_call.value_of(running, Running())
    if where.module is None:
        raise refusal("part", "nothing: no module with parts calls this function", repr(what.part[:128]))
    module, signature = where.module.part(what.part)
    inputs: dict[str, Any] = {**check_inputs(signature, what.inputs), **where.settings}

    async def run() -> dspy.Prediction:
        if dspy.settings.send_stream is not None:
            return await run_in_stream(module, inputs)
        return await run_module(module, inputs, worker.threads)

    prediction: Any = await host_call.run(lambda: current_call.set(call), run)
    if prediction is None:
        raise error("prediction_failed", "no attempt gave a prediction")
    return to_wire(prediction)
