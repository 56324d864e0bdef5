"""DSPy by itself: one process that predicts as fast as it can, for comparison.

    python -m bench.plain COUNT OUTSTANDING [START_AT]

Waits until the monotonic clock reads START_AT, so that several processes run together,
and prints `{"per_s": …}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import dspy

from dspex_bridge.lms import LanguageModels
from dspex_protocol import LMConfig

SIGNATURE = "question -> answer"


async def no_host(function: str, args: object) -> object:
    """There is no host here."""
    raise LookupError(function)


async def main(count: int, outstanding: int, start_at: float) -> None:
    """Predict `count` times, `outstanding` at once; 0 for one after another without asyncio."""
    models = LanguageModels(no_host, asyncio.get_running_loop())
    models.configure({"default": LMConfig(model="sim/bench")}, {}, [])
    predict = dspy.Predict(SIGNATURE)
    with dspy.context(lm=models.get(None), disable_history=True, trace=None):
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
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0))
