"""Optimizers behind a real server: they are killed and come to what DSPy comes to in process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any, Final, cast

import pytest
from tests.support.job_servers import ended, events, get
from tests.support.optimizing import ANSWERS, ROWS, SIGNATURE, THREADS, MadeByDSPy, by_dspy, request
from tests.support.servers import count, info, serving
from tests.support.sim_http import served

from dspex_bridge.sim import SimOptions
from dspex_bridge.sim.lesson import Lesson
from dspex_pool.client import Client

pytestmark = pytest.mark.slow

KILLS: Final = count("optimizer_kills", 2)
FIVE: Final = ("BootstrapFewShotWithRandomSearch", "COPRO", "GEPA", "MIPROv2", "SIMBA")


COMPLETIONS: Final = {"COPRO": 3}
"""Further answers to the same question, each a request to this model: it wants two once, and three once."""


def learner(latency_ms: float) -> SimOptions:
    """The offline model of the task, behind HTTP."""
    return SimOptions(lesson=Lesson(answers=ANSWERS, start=0.2), latency_ms=latency_ms)


async def submitted(client: Client, what: object, **more: object) -> str:
    """A job of the kind `optimize`."""
    told: Any = await client.call("job.submit", {"kind": "optimize", "request": what, **more})
    return cast("str", told["job"])


@pytest.mark.parametrize("name", FIVE)
async def test_killed_again_and_again_it_comes_to_what_dspy_comes_to(name: str) -> None:
    """A death costs at most as many requests as were under way, and nothing diverges."""
    made = await asyncio.to_thread(by_dspy, name)
    async with served(options=learner(latency_ms=20)) as seen:
        lms = {"default": {"model": "openai/learner", "api_base": seen.base}}
        async with serving("--workers", "1", lms=lms, limit_s=120 + 20 * KILLS) as client:
            job = await submitted(client, request(name))
            kills = await killed(client, job, made)
            row = await ended(client, job)
            answer: Any = await client.call("job.result", {"job": job})
    assert ("done", 0) == (row["state"], row["replay"]["diverged"])
    assert kills + 1 == row["attempt"]
    assert made.state == answer["result"]["program"]["state"]
    paid = row["answers"] + COMPLETIONS.get(name, 0)
    assert paid <= len(seen.bodies) <= paid + kills * THREADS
    assert kills >= KILLS - 1  # the last may come too late


async def killed(client: Client, job: str, made: MadeByDSPy) -> int:
    """Kill the job's worker each time that it has got a little further; how often."""
    kills = 0
    for number in range(1, KILLS + 1):
        pid = await further(client, job, number * len(made.questions) // (KILLS + 2))
        if pid is None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            kills += 1
        while (await get(client, job))["attempt"] < kills + 1:
            await asyncio.sleep(0.02)
    return kills


async def further(client: Client, job: str, answers: int) -> int | None:
    """The process of a job once that many answers are kept; None when it has ended."""
    while True:
        row = await get(client, job)
        if row["state"] not in ("queued", "running"):
            return None
        jobs = (await info(client))["jobs"]
        if row["answers"] >= answers and jobs and jobs[0]["pid"]:
            return cast("int", jobs[0]["pid"])
        await asyncio.sleep(0.02)


async def test_a_model_that_is_away_costs_time_and_no_scores() -> None:
    """The job says for what it waits, also after a death, and comes to what DSPy comes to undisturbed."""
    name = "SIMBA"
    made = await asyncio.to_thread(by_dspy, name)
    async with served(options=learner(latency_ms=20)) as seen:
        lms = {"default": {"model": "openai/learner", "api_base": seen.base, "num_retries": 0}}
        async with serving("--workers", "1", lms=lms, limit_s=180) as client:
            job = await submitted(client, request(name))
            for third in (1, 2):
                pid = await further(client, job, third * len(made.questions) // 3)
                assert pid is not None
                seen.is_away = True
                await waits_for_a_model(client, job, times=third)
                if third == 2:
                    os.kill(pid, signal.SIGKILL)
                    await asyncio.sleep(1)
                seen.is_away = False
            row = await ended(client, job)
            answer: Any = await client.call("job.result", {"job": job})
            told = [
                event for event in await events(client, job) if event["type"].endswith(("_model", "_back"))
            ]
    assert ("done", 2, 0) == (row["state"], row["attempt"], row["replay"]["diverged"])
    assert made.state == answer["result"]["program"]["state"]
    assert answer["result"]["unanswered"] is None
    assert ("waiting_for_model", "default", "lm_unavailable") == (
        told[0]["type"],
        told[0]["model"],
        told[0]["code"],
    )
    assert ("model_is_back", "default") == (told[1]["type"], told[1]["model"])


async def waits_for_a_model(client: Client, job: str, times: int) -> None:
    """Until it has said so that often."""
    while times > sum(event["type"] == "waiting_for_model" for event in await events(client, job)):
        assert (await get(client, job))["state"] == "running"
        await asyncio.sleep(0.05)


async def test_a_budget_that_is_spent_can_be_raised() -> None:
    """The optimizer goes on with what it has paid for, and comes to what it would have come to."""
    name = "COPRO"
    made = await asyncio.to_thread(by_dspy, name)
    half = len(made.questions) // 2
    async with served(options=learner(latency_ms=5)) as seen:
        lms = {"default": {"model": "openai/learner", "api_base": seen.base}}
        async with serving("--workers", "1", lms=lms, limit_s=120) as client:
            job = await submitted(client, request(name), budget={"lm_calls": half})
            row = await ended(client, job)
            assert ("failed", "budget_spent") == (row["state"], row["error"]["code"])
            paid = row["answers"]
            await client.call("job.resume", {"job": job, "budget": {"lm_calls": 10_000}})
            row = await ended(client, job)
            answer: Any = await client.call("job.result", {"job": job})
            trials = [event["trial"] for event in await events(client, job) if event["type"] == "trial"]
    assert ("done", 0, paid) == (row["state"], row["replay"]["diverged"], row["replay"]["answered"])
    assert made.state == answer["result"]["program"]["state"]
    assert len(seen.bodies) == row["answers"] + COMPLETIONS[name]
    assert list(range(len(trials))) == [trial - trials[0] for trial in trials]


async def test_the_result_is_the_next_version_of_the_program() -> None:
    """With its optimizer and scores in the history; the job's events tell of it in order."""
    lms = {"default": {"model": "sim/learner", "options": {"lesson": {"answers": ANSWERS, "start": 0.2}}}}
    async with serving("--workers", "1", lms=lms, limit_s=120) as client:
        spec = {"module": "Predict", "signature": SIGNATURE}
        await client.call("program.create", {"spec": spec}, program="sounds")
        what = {**request("BootstrapFewShot", valset=ROWS), "program": "sounds", "spec": None}
        job = await submitted(client, {key: value for key, value in what.items() if value is not None})
        row = await ended(client, job)
        assert {"program": "sounds", "version": 2} == row["saved"]
        versions: Any = await client.call("program.versions", {}, program="sounds")
        newest = versions["versions"][0]["lineage"]
        answer: Any = await client.call("job.result", {"job": job})
        assert ("BootstrapFewShot", answer["result"]["scores"]) == (newest["by"], newest["scores"])
        right = 0
        for one in ROWS:
            fields = await client.predict("sounds", {"animal": one["animal"]})
            right += fields["sound"] == one["sound"]
        assert answer["result"]["scores"]["best"] == right / len(ROWS)
        kinds = [event["type"] for event in await events(client, job)]
        assert (
            kinds.index("optimizing") < kinds.index("score") < kinds.index("optimized") < kinds.index("done")
        )


async def test_a_metric_of_the_host_is_asked_from_dspys_threads() -> None:
    """Once for each row and program, also after a death."""
    asked: list[str] = []

    async def grade(example: dict[str, Any], prediction: dict[str, Any]) -> float:
        asked.append(example["animal"])
        await asyncio.sleep(0.02)
        return float(example["sound"] == prediction["sound"])

    lms = {"default": {"model": "sim/learner", "options": {"lesson": {"answers": ANSWERS, "start": 0.2}}}}
    metric = {"metric": "host", "options": {"function": "grade"}}
    name = "BootstrapFewShotWithRandomSearch"
    async with serving("--workers", "1", lms=lms, functions={"grade": grade}, limit_s=120) as client:
        undisturbed = await submitted(client, request(name, metric=metric))
        await ended(client, undisturbed)
        whole, first = len(asked), cast("Any", await client.call("job.result", {"job": undisturbed}))
        asked.clear()
        job = await submitted(client, request(name, metric=metric))
        while len(asked) < whole // 2:
            await asyncio.sleep(0.02)
        os.kill((await info(client))["jobs"][0]["pid"], signal.SIGKILL)
        row = await ended(client, job)
        again: Any = await client.call("job.result", {"job": job})
    assert ("done", 2, 0) == (row["state"], row["attempt"], row["replay"]["diverged"])
    assert first["result"]["program"] == again["result"]["program"]
    assert whole <= len(asked) <= whole + THREADS


async def test_a_wrong_request_is_no_job() -> None:
    """It is refused before there is one, by its path."""
    async with serving("--workers", "1", limit_s=120) as client:
        bad = {**request("COPRO"), "optimizer": {"optimizer": "COPRO", "options": {"breadth": 1}}}
        with pytest.raises(Exception, match=r"request\.optimizer\.options\.breadth"):
            await submitted(client, bad)
