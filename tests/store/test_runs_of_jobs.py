"""Jobs that tell of themselves in an experiment, on every backend and whoever dies."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.support.job_servers import LEASE_S, JobServer, ended, hurry, job_server, submit, until
from tests.support.stores import MemoryPlace, Place
from tests.support.wavering_store import wavering

from dspex_pool.client import Client
from dspex_pool.store import Store
from dspex_protocol import DSPexError

__all__ = ["hurry"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hurry")]


async def runs(client: Client, experiment: str = "e") -> list[dict[str, Any]]:
    answer: Any = await client.call("experiment.runs", {"experiment": experiment})
    return answer["runs"]  # type: ignore[no-any-return]


async def points(client: Client, run: str, metric: str) -> list[tuple[int, float]]:
    wish = {"experiment": "e", "run": run, "metric": metric}
    answer: Any = await client.call("experiment.points", wish)
    return [(point["step"], point["value"]) for point in answer["points"]]


async def test_a_job_is_a_run_from_its_submission_to_its_end(store: Store) -> None:
    """And the run can be told more of as long as it is open."""
    async with job_server(store, job_workers=0) as idle:
        request = {"kind": "toil", "request": {"steps": 3, "save_as": "p"}, "experiment": "e", "key": "k"}
        made: Any = await idle.client.call("job.submit", request)
        again: Any = await idle.client.call("job.submit", request)
        assert ("e", "run-1", True) == (made["experiment"], made["run"], made["created"])
        assert {**made, "created": False} == again
        (run,) = await runs(idle.client)
        assert ("open", {"kind": "toil", "steps": 3, "save_as": "p"}) == (run["state"], run["params"])
        more = {"experiment": "e", "run": "run-1", "params": {"seed": 7}}
        await idle.client.call("experiment.log", more)
    async with job_server(store) as server:
        row = await ended(server.client, made["job"])
        assert ("e", "run-1") == (row["experiment"], row["run"])
        (run,) = await runs(server.client)
        assert ("done", 7, row["ended"]) == (run["state"], run["params"]["seed"], run["ended"])
        lineage = {"job": made["job"], "saved_program": "p", "saved_version": 1}
        assert lineage == run["lineage"]
        assert (3.0, 1) == (run["metrics"]["lm_calls"]["last"], run["metrics"]["lm_calls"]["points"])


async def test_a_run_is_one_and_whole_whatever_dies(place: Place, store: Store) -> None:
    """Its worker, its server, while others look at it: each value once, and in order."""
    drawn = random.Random(3)
    unsteady, wrapped = wavering(store)
    server = JobServer(wrapped)
    await server.start()
    job = await submit(server.client, {"steps": 40, "ms": 5}, experiment="e", note="why")
    for round_ in range(6):
        await asyncio.sleep(drawn.uniform(0.02, 0.08))
        looks = await asyncio.gather(
            *(runs(server.client) for _ in range(4)), return_exceptions=True
        )  # each brings the run up to date
        assert all(isinstance(look, list | DSPexError) for look in looks)
        process = server.running_process()
        if process is not None and round_ % 3:
            process.die("SIGKILL")
        elif not round_ % 3:
            await server.kill()
            await place.advance(LEASE_S * 1.1)
            server = JobServer(wrapped)
            await server.start()
        unsteady.loses = 0.3
    unsteady.loses = 0.0
    try:
        row = await ended(server.client, job)
        assert row["attempt"] > 1
        (run,) = await runs(server.client)
        assert ("done", "why", job) == (run["state"], run["note"], run["lineage"]["job"])
        assert (1, 40.0) == (run["metrics"]["lm_calls"]["points"], run["metrics"]["lm_calls"]["last"])
        assert [(step, float(step)) for step in range(1, 41)] == await points(
            server.client, "run-1", "step.asked"
        )
    finally:
        await server.kill()


async def test_a_store_that_is_away_holds_up_no_job() -> None:
    """Nobody can look at the run meanwhile; afterwards it has everything."""
    unsteady, store = wavering(MemoryPlace().build())
    async with job_server(store) as server:
        job = await submit(server.client, {"steps": 30, "ms": 10}, experiment="e")
        await until(lambda: server.running_process() is not None)
        unsteady.is_away = True
        with pytest.raises(DSPexError) as away:
            await runs(server.client)
        assert "store_unavailable" == away.value.code
        unsteady.is_away = False
        assert "done" == (await ended(server.client, job))["state"]
        assert ["done"] == [run["state"] for run in await runs(server.client)]


async def test_a_run_that_was_deleted_or_ended_stays_so(store: Store) -> None:
    """And the job does what it would have done."""
    async with job_server(store, job_workers=0) as idle:
        jobs = [await submit(idle.client, {"steps": 2}, experiment="e") for _ in range(3)]
        await idle.client.call("experiment.delete", {"experiment": "e", "run": "run-1"})
        await idle.client.call("experiment.end", {"experiment": "e", "run": "run-2"})
    async with job_server(store) as server:
        assert 3 * ["done"] == [(await ended(server.client, job))["state"] for job in jobs]
        assert [("run-3", True), ("run-2", False)] == [
            (run["run"], "lm_calls" in run["metrics"]) for run in await runs(server.client)
        ]
        await server.client.call("job.delete", {"job": jobs[0]})


async def test_a_job_that_is_deleted_has_told_all(store: Store) -> None:
    """Also where nobody had looked at its run before."""
    async with job_server(store) as server:
        job = await submit(server.client, {"steps": 1, "stand_still": True}, experiment="e")
        await until(lambda: server.running_process() is not None)
        await server.client.call("job.cancel", {"job": job})
        await ended(server.client, job)
        await server.client.call("job.delete", {"job": job})
        (run,) = await runs(server.client)
        assert ("failed", "cancelled", job) == (run["state"], run["note"], run["lineage"]["job"])


async def test_a_job_that_is_resumed_goes_on_in_another_run(store: Store) -> None:
    """The first one stays as it has ended; the second has what is new."""
    async with job_server(store) as server:
        request = {"steps": 4, "tokens": 10}
        job = await submit(server.client, request, experiment="e", budget={"tokens": 25}, note="why")
        assert "failed" == (await ended(server.client, job))["state"]
        resumed: Any = await server.client.call("job.resume", {"job": job, "budget": {"tokens": 100}})
        assert "run-2" == resumed["run"]
        assert "done" == (await ended(server.client, job))["state"]
        second, first = await runs(server.client)
        assert ("failed", "why", True) == (
            first["state"],
            first["note"].split("\n")[0],
            "budget_spent" in first["note"],
        )
        assert ("done", "why", "run-1") == (
            second["state"],
            second["note"],
            second["lineage"]["went_on_from"],
        )
        assert (25, 100) == (first["params"].pop("budget.tokens"), second["params"].pop("budget.tokens"))
        assert first["params"] == second["params"]
        steps = [await points(server.client, run, "step.asked") for run in ("run-1", "run-2")]
        assert [(step, float(step)) for step in (1, 2, 3, 4)] == steps[0] + steps[1]
        assert all(steps)
        assert (10.0 * len(steps[0]), 40.0) == tuple(
            run["metrics"]["tokens_in"]["last"] for run in (first, second)
        )


async def test_many_begin_runs_of_one_experiment(store: Store) -> None:
    """Each job has a run of its own."""
    async with job_server(store, job_workers=0) as one, job_server(store, job_workers=0) as two:
        submissions = [submit((one, two)[at % 2].client, {"steps": 1}, experiment="e") for at in range(12)]
        jobs = await asyncio.gather(*submissions)
        found = await runs(one.client)
        assert sorted(jobs) == sorted(run["lineage"]["job"] for run in found)
        assert list(range(12, 0, -1)) == [run["number"] for run in found]


@pytest.mark.parametrize("experiment", ["", "x" * 129, "a\x00b", 7])
async def test_an_experiment_that_cannot_be_is_refused(experiment: object) -> None:
    """Before there is a job."""
    async with job_server(MemoryPlace().build(), job_workers=0) as server:
        with pytest.raises(DSPexError) as refused:
            await server.client.call(
                "job.submit", {"kind": "toil", "request": {"steps": 1}, "experiment": experiment}
            )
        assert ("invalid_argument", "experiment") == (refused.value.code, refused.value.details["field"])
        answer: Any = await server.client.call("job.list", {})
        assert [] == answer["jobs"]


async def test_a_key_belongs_to_its_experiment() -> None:
    """Else a submission into another one would silently be in none."""
    async with job_server(MemoryPlace().build(), job_workers=0) as server:
        await submit(server.client, {"steps": 1}, key="k", experiment="e")
        for other in ({"experiment": "other"}, {}):
            with pytest.raises(DSPexError) as reused:
                await submit(server.client, {"steps": 1}, key="k", **other)
            assert "job_key_reused" == reused.value.code
