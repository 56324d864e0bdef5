"""Cases that look into a worker: what programs' state costs there, and what a prediction does."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from statistics import median
from typing import cast

from dspex_pool.client import Client

from .cases import SIM, SPEC, Figures, question, ratio
from .lm_cases import lm_engines
from .load import Load

ROUNDS = 3


SHARE_ROUNDS = 7
COUNT = 1_500
OUTSTANDING = 32


def _one_worker(plugin: str) -> AbstractAsyncContextManager[Client]:
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    flags = ("--workers", "1", "--plugins", plugin)
    return Client.start(lms=SIM, flags=flags, environment={"PYTHONPATH": path})


async def worker_state() -> Figures:
    """A program of five predictors with four demos each, in a forked worker; medians of its rounds."""
    async with _one_worker("bench.five_predictors") as client:
        rounds = [cast("Figures", await client.call("bench.state", {})) for _ in range(ROUNDS)]
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


async def worker_share() -> Figures:
    """CPU of a prediction in a worker, against DSPy in the same process: with our parts, and as it comes."""
    whole, inside, alone = list[float](), list[float](), list[float]()
    async with _one_worker("bench.cpu_inside") as client:
        await client.call("program.create", {"spec": SPEC}, program="qa")
        await _spent(client)
        for _ in range(SHARE_ROUNDS):
            whole.append(await _spent(client))
            inside.append(await _alone(client, "ours"))
            alone.append(await _alone(client, "dspy"))
    added = [one - other for one, other in zip(whole, inside, strict=True)]
    return {
        "worker_us": median(whole),
        "dspy_with_our_parts_us": median(inside),
        "dspy_alone_us": median(alone),
        "added_to_dspy_alone": ratio(added, alone),
        "added_to_our_parts": ratio(added, inside),
        "worker_to_dspy_alone": ratio(whole, alone),
    }


async def _spent(client: Client) -> float:
    """Microseconds of the worker's for each prediction of a load."""
    load = Load(client, "program.predict", {"program": "qa"}, question, COUNT, OUTSTANDING)
    before = cast("float", await client.call("bench.spent", {}))
    await load.run()
    return (cast("float", await client.call("bench.spent", {})) - before) / COUNT


async def _alone(client: Client, parts: str) -> float:
    what = {"parts": parts, "count": COUNT, "outstanding": OUTSTANDING}
    return cast("float", await client.call("bench.alone", what))


CASES: dict[str, Callable[[], Awaitable[Figures]]] = {
    "worker_state": worker_state,
    "worker_share": worker_share,
    "lm_engines": lm_engines,
}
