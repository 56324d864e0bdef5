"""Jobs that write datasets and make models, whose workers are killed: once is what is made, and once paid."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestServer
from tests.support.job_servers import ended, events
from tests.support.servers import serving, wait_for
from tests.support.sim_http import served

from dspex_bridge.sim.app import build_app
from dspex_bridge.sim.model import SimModel, SimOptions
from dspex_bridge.sim.tuning import Tunings
from dspex_pool.client import Client

pytestmark = pytest.mark.slow

SIGNATURE = "text -> stars: int"
DOUBLES = "number: int -> double: int"


async def begun(client: Client, kind: str, request: dict[str, Any]) -> str:
    answer = await client.call("job.submit", {"kind": kind, "request": request})
    return str(cast("dict[str, Any]", answer)["job"])


async def killed(client: Client, job: str, new: int) -> None:
    """Kill a job's worker once there are so many new answers and events."""
    before: Any = await client.call("job.get", {"job": job})
    while True:
        told: Any = await client.call("job.get", {"job": job})
        if told["state"] != "running" and told["state"] != "queued":
            return
        if told["events"] + told["answers"] >= before["events"] + before["answers"] + new:
            break
        await asyncio.sleep(0.02)
    snapshot = await wait_for(client, lambda told: bool(told["jobs"]))
    pid = snapshot["jobs"][0]["pid"]
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


async def written(client: Client, dataset: str, kills: int) -> list[Any]:
    """The rows that a job writes."""
    request = {"signature": SIGNATURE, "rows": 40, "dataset": dataset, "parallelism": 2, "seed": 5}
    job = await begun(client, "synthesize", request)
    for _ in range(kills):
        await killed(client, job, 3)
    done = await ended(client, job, 120.0)
    assert "done" == done["state"], done
    assert done["attempt"] > kills > 0 or not kills
    found: Any = await client.call("dataset.rows", {"dataset": dataset, "limit": 1000})
    assert 1 == found["version"]
    assert ["text"] == found["input_keys"]
    return cast("list[Any]", found["rows"])


async def test_a_dataset_is_written_once_whatever_dies() -> None:
    """The same rows as undisturbed, as one version; and no more requests than those that were under way."""
    slow = {"default": {"model": "sim/slow", "options": {"latency_ms": 60, "seed": 7}}}
    async with serving("--workers", "1", lms=slow, limit_s=300) as client:
        undisturbed = await written(client, "calm", kills=0)
        assert 40 == len(undisturbed)
        assert undisturbed == await written(client, "killed", kills=2)


async def test_a_model_is_paid_for_once_whatever_dies() -> None:
    """The provider has one job, and the tuned model is asked by its name."""
    tunings = Tunings(2.0)
    async with TestServer(build_app(SimModel(SimOptions()), (), tunings)) as provider:
        lms = {"small": {"model": "openai/sim-base", "api_base": str(provider.make_url("/v1"))}}
        async with serving("--workers", "1", lms=lms, limit_s=240) as client:
            rows = [{"number": number, "double": 2 * number} for number in range(12)]
            put = {"dataset": "doubles", "rows": rows, "signature": DOUBLES}
            await client.call("dataset.put", put)
            request = {"lm": "small", "dataset": "doubles", "signature": DOUBLES}
            job = await begun(client, "finetune", request)
            await killed(client, job, 3)
            done = await ended(client, job, 120.0)
            assert "done" == done["state"], done
            result: Any = await client.call("job.result", {"job": job})
            lm = cast("dict[str, Any]", result)["result"]["lm"]
            assert 1 == len(tunings.jobs)
            told = [event["message"] for event in await events(client, job) if event["type"] == "provider"]
            assert len(told) == len(set(told)) == len(next(iter(tunings.jobs.values())).moments(1e9))
            spec = {"module": "Predict", "signature": DOUBLES}
            answer: Any = await client.call(
                "program.predict", {"spec": spec, "inputs": {"number": 7}, "lm": lm}
            )
            assert 14 == answer.value["fields"]["double"]


async def test_a_provider_that_is_away_is_waited_for() -> None:
    """A job of hours does not fail for a minute in which nobody answers, and is not begun again."""
    tunings = Tunings(3.0)
    async with served(tunings=tunings) as provider:
        lms = {"small": {"model": "openai/sim-base", "api_base": provider.base}}
        async with serving("--workers", "1", lms=lms, limit_s=240) as client:
            rows = [{"number": number, "double": 2 * number} for number in range(12)]
            await client.call("dataset.put", {"dataset": "doubles", "rows": rows, "signature": DOUBLES})
            request = {"lm": "small", "dataset": "doubles", "signature": DOUBLES}
            job = await begun(client, "finetune", request)
            while not tunings.jobs:
                await asyncio.sleep(0.02)
            provider.is_away = True
            while not await waited(client, job):
                await asyncio.sleep(0.05)
            provider.is_away = False
            done = await ended(client, job, 120.0)
            assert ("done", 1, 1) == (done["state"], done["attempt"], len(tunings.jobs)), done
            assert ["small"] == await waited(client, job)


async def waited(client: Client, job: str) -> list[str]:
    """Models that a job has waited for."""
    return [event["model"] for event in await events(client, job) if event["type"] == "waiting_for_model"]


async def test_cancelling_a_fine_tune_stops_the_provider() -> None:
    """Which would be paid for what nobody wants."""
    tunings = Tunings(60.0)
    async with TestServer(build_app(SimModel(SimOptions()), (), tunings)) as provider:
        lms = {"small": {"model": "openai/sim-base", "api_base": str(provider.make_url("/v1"))}}
        async with serving("--workers", "1", lms=lms, limit_s=180) as client:
            rows = [{"number": number, "double": 2 * number} for number in range(12)]
            put = {"dataset": "doubles", "rows": rows, "signature": DOUBLES}
            await client.call("dataset.put", put)
            request = {"lm": "small", "dataset": "doubles", "signature": DOUBLES}
            job = await begun(client, "finetune", request)
            while not tunings.jobs:
                await asyncio.sleep(0.02)
            await client.call("job.cancel", {"job": job})
            assert "cancelled" == (await ended(client, job, 120.0))["state"]
            (made,) = tunings.jobs.values()
            assert made.cancelled_s is not None
