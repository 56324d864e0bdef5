"""A plug-in for the bench: what a worker's process has spent, and what DSPy alone would spend in it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import dspy

from dspex_bridge.adapters.adapters import ADAPTERS, DEFAULT
from dspex_bridge.rows import Nothing, Operation, Worker
from dspex_bridge.worker.calls import RunningCall
from dspex_protocol.records import Doc

from .plain import SIGNATURE, instant_lm

ADAPTER: Final = {"ours": ADAPTERS[DEFAULT], "dspy": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """Predictions of DSPy's, without a call around each."""

    parts: Annotated[Literal["ours", "dspy"], Doc("whose class of LM, and whose adapter")]
    count: int
    outstanding: int


def _spent(worker: Worker, call: RunningCall, nothing: Nothing) -> float:
    return time.process_time() * 1e6


async def _alone(worker: Worker, call: RunningCall, what: Alone) -> float:
    predict, numbers = dspy.Predict(SIGNATURE), iter(range(what.count))

    async def run() -> None:
        for number in numbers:
            await predict.acall(question=f"why {number}")

    began_s = time.process_time()
    with dspy.context(
        lm=instant_lm(what.parts), adapter=ADAPTER[what.parts], disable_history=True, trace=None
    ):
        await asyncio.gather(*(run() for _ in range(what.outstanding)))
    return (time.process_time() - began_s) / what.count * 1e6


OPERATIONS = [
    Operation(
        method="bench.spent", parameters=Nothing, run=_spent, inline=True, doc="CPU of this process, in µs."
    ),
    Operation(
        method="bench.alone", parameters=Alone, run=_alone, doc="CPU of a prediction of DSPy's, in µs."
    ),
]
