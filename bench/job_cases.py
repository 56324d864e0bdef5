"""The case about jobs: what an optimizer that runs costs those who predict."""

from __future__ import annotations

import asyncio
import itertools
from statistics import median
from typing import Any, Final, cast

from dspex_pool.client import Client

from .cases import SPEC, Figures, question, ratio
from .load import PacedLoad

PACE_PER_S: Final = 200
PACED_CALLS: Final = 1200
ROUNDS: Final = 5
SOUNDS: Final = {f"animal {number}": f"sound {number % 7}" for number in range(200)}
ROWS: Final = [{"animal": animal, "sound": sound} for animal, sound in SOUNDS.items()]
LMS: Final[dict[str, object]] = {
    "default": {"model": "sim/quick", "options": {"latency_ms": 20}},
    # It answers at once, so that the job never waits: no optimizer takes more of a processor.
    "learner": {"model": "sim/learner", "options": {"lesson": {"answers": SOUNDS, "start": 0.2}}},
}
_seeds = itertools.count()


async def beside_a_job() -> Figures:
    """A steady load of predictions, alone and while an optimizer runs in the same server, in turn."""
    alone: dict[int, list[float]] = {50: [], 99: []}
    beside: dict[int, list[float]] = {50: [], 99: []}
    flags = ("--workers", "1", "--store", "memory", "--log-level", "error")
    async with Client.start(lms=LMS, flags=flags) as client:
        await client.call("program.create", {"spec": SPEC}, program="qa")
        await _measure(client, {50: [], 99: []})
        for _ in range(ROUNDS):
            await _measure(client, alone)
            job = await _optimizing(client)
            await _measure(client, beside)
            told = await _get(client, job)
            assert "running" == told["state"], "the optimizer was done too soon"
            await client.call("job.cancel", {"job": job})
            await client.call("job.follow", {"job": job}, deadline_ms=60_000)
    return {
        "alone_p50_ms": median(alone[50]),
        "beside_p50_ms": median(beside[50]),
        "alone_p99_ms": median(alone[99]),
        "beside_p99_ms": median(beside[99]),
        "p99_ratio": ratio(beside[99], alone[99]),
    }


async def _measure(client: Client, latencies_ms: dict[int, list[float]]) -> None:
    load = PacedLoad(client, "program.predict", {"program": "qa"}, question, PACED_CALLS, PACE_PER_S)
    await load.run()
    for percent, kept in latencies_ms.items():
        kept.append(load.percentile_ms(percent))


async def _optimizing(client: Client) -> str:
    """A job whose optimizer is at work."""
    request = {
        "spec": {"module": "Predict", "signature": "animal -> sound"},
        "optimizer": {
            "optimizer": "BootstrapFewShotWithRandomSearch",
            "options": {"num_candidate_programs": 200, "max_bootstrapped_demos": 2},
        },
        "metric": {"metric": "exact_match", "options": {"field": "sound"}},
        "trainset": ROWS,
        "lm": "learner",
        "seed": next(_seeds),
    }
    submitted = await client.call("job.submit", {"kind": "optimize", "request": request})
    job = str(cast("dict[str, Any]", submitted)["job"])
    while True:
        if (await _get(client, job))["answers"] >= len(ROWS):
            return job
        await asyncio.sleep(0.05)


async def _get(client: Client, job: str) -> dict[str, Any]:
    return cast("dict[str, Any]", await client.call("job.get", {"job": job}))


CASES = {"beside_a_job": beside_a_job}
