"""DSPy by itself: one process that predicts as fast as it can, for comparison.

    python -m bench.plain COUNT OUTSTANDING LM [START_AT]

LM is `ours`, the class that workers use, or `dspy`, DSPy's own around the same model: the
first compares what the bridge adds, the second what a program without DSPex would have.

Waits until the monotonic clock reads START_AT, so that several processes run together,
and prints `{"per_s": …}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import dspy

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.answering import AsyncEngine, Engine
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.sim import SimModel, SimOptions, SimSource
from dspex_protocol import LMConfig

SIGNATURE = "question -> answer"


def instant_lm(kind: str) -> dspy.LM:
    """The offline model, in DSPy's own LM or in ours.

    Args:
        kind: `dspy` or `ours`.
    """
    if kind == "dspy":
        source = SimSource(SimModel(SimOptions()), None)
        return dspy.LM("sim/bench", cache=False, engine=Engine(source), async_engine=AsyncEngine(source))
    models = LanguageModels(HostFunctions())
    models.configure({"default": LMConfig(model="sim/bench")}, {})
    return models.get(None)


async def main(count: int, outstanding: int, kind: str, start_at: float) -> None:
    """Predict `count` times, `outstanding` at once; 0 for one after another without asyncio."""
    predict = dspy.Predict(SIGNATURE)
    with dspy.context(lm=instant_lm(kind), disable_history=True, trace=None):
        await predict.acall(question="warm up")
        await asyncio.sleep(max(0.0, start_at - time.monotonic()))
        began_s = time.perf_counter()
        if outstanding:
            numbers = iter(range(count))
            await asyncio.gather(*(_run(predict, numbers) for _ in range(outstanding)))
        else:
            for number in range(count):
                predict(question=f"why {number}")
        print(json.dumps({"per_s": count / (time.perf_counter() - began_s)}))


async def _run(predict: dspy.Predict, numbers: object) -> None:
    for number in numbers:  # type: ignore[attr-defined]
        await predict.acall(question=f"why {number}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float((sys.argv[4:] or ["0"])[0])))
