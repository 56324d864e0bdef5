"""Jobs with real processes: killed, stopped, cancelled, and done all the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import psutil
import pytest
from tests.support.job_servers import ended, events, get, submit
from tests.support.servers import SUPPORT, count, info, serving, wait_for
from tests.support.survivors import alive_after

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

JOB_KILLS = count("job_kills", 3)
LEASE_S: Final = 3.0
HASTY: Final = (sys.executable, str(SUPPORT / "hasty_server.py"), str(LEASE_S))
PLUGIN: Final = {"DSPEX_PLUGINS": "plugin_jobs"}


def lines(ledger: Path) -> int:
    """Requests that were really made."""
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


def is_working(told: Mapping[str, Any]) -> bool:
    """Whether a job has a process."""
    return bool(told["jobs"] and told["jobs"][0]["pid"])


async def test_a_job_has_a_process_of_its_own(tmp_path: Path) -> None:
    """Behind all others for the processors, with a hash seed of its own, in no slot."""
    async with serving("--workers", "1", environment=PLUGIN) as client:
        job = await submit(client, {"steps": 1, "stand_still": True})
        (row,) = (await wait_for(client, is_working))["jobs"]
        process = psutil.Process(row["pid"])
        assert 10 == process.nice()
        seed = await seed_of(row["pid"])
        assert seed.isdigit()
        assert row["pid"] not in [worker["pid"] for worker in (await info(client))["workers"]]
        process.kill()
        await wait_for(client, lambda told: is_working(told) and told["jobs"][0]["pid"] != row["pid"])
        (again,) = (await info(client))["jobs"]
        assert seed == await seed_of(again["pid"])
        assert "cancelled" == (await cancelled(client, job))["state"]
        await wait_for(client, lambda told: told["jobs"] == [])
        assert [] == await asyncio.to_thread(alive_after, 1.0, [again["pid"]])


async def seed_of(pid: int) -> str:
    """Its hash seed; the kernel shows the environment of a process a moment after that began."""
    while "PYTHONHASHSEED" not in (environment := psutil.Process(pid).environ()):
        await asyncio.sleep(0.01)
    return environment["PYTHONHASHSEED"]


async def cancelled(client: Client, job: str) -> dict[str, Any]:
    """Cancel a job; the job when it has ended."""
    await client.call("job.cancel", {"job": job})
    return await ended(client, job)


async def test_a_job_survives_kills_of_whoever(tmp_path: Path) -> None:
    """Its worker, its server, its host: the result is the same, a death costs four requests at most."""
    request = {"steps": 40, "at_once": 4, "ms": 100}
    flags = ("--workers", "1", "--store", f"sqlite:{tmp_path / 'state.db'}")
    ledger = tmp_path / "ledger"
    kills, result, row = 0, None, {}
    for victim in (*random.Random(7).choices(["worker", "server", "host"], k=JOB_KILLS), "nobody"):
        async with serving(*flags, environment=PLUGIN, command=HASTY, limit_s=200) as client:
            job = await submit(client, {**request, "ledger": str(ledger)}, key="the one")
            if victim == "nobody":
                row = await ended(client, job)
                result = await client.call("job.result", {"job": job})
                break
            await wait_for(client, is_working)
            await asyncio.sleep(random.uniform(0.0, 4.0))
            kills += 1
            if victim == "host":
                continue  # it hangs up in the middle
            told = await info(client)
            pid = told["pid"] if victim == "server" else told["jobs"][0]["pid"] if is_working(told) else 0
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid or 1 << 30, signal.SIGKILL)
            if victim == "worker":
                await wait_for(client, lambda now: not is_working(now) or now["jobs"][0]["pid"] != pid)  # noqa: B023
    undisturbed = await undisturbed_result(request)
    assert undisturbed == cast("dict[str, Any]", result)["result"]
    assert ("done", 0) == (row["state"], row["replay"]["diverged"])
    assert 160 <= lines(ledger) <= 160 + kills * 4


async def undisturbed_result(request: Mapping[str, object]) -> object:
    """What comes of it where nobody is killed."""
    async with serving("--workers", "1", environment=PLUGIN) as client:
        job = await submit(client, {**request, "ms": 0})
        await ended(client, job)
        answer = cast("dict[str, Any]", await client.call("job.result", {"job": job}))
        return answer["result"]


async def test_a_stopped_server_writes_nothing(tmp_path: Path) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: the job is another server's, and its worker dies."""
    flags = ("--workers", "1", "--store", f"sqlite:{tmp_path / 'state.db'}")
    async with (
        serving(*flags, environment=PLUGIN, command=HASTY, limit_s=200) as zombie,
        serving(*flags, "--job-workers", "0", environment=PLUGIN, command=HASTY, limit_s=200) as watcher,
    ):
        job = await submit(zombie, {"steps": 60, "ms": 100})
        told = await wait_for(zombie, is_working)
        while (await get(watcher, job))["events"] < 6:
            await asyncio.sleep(0.05)
        os.kill(told["pid"], signal.SIGSTOP)
        async with serving(*flags, environment=PLUGIN, command=HASTY, limit_s=200) as other:
            await wait_for(other, is_working)
            os.kill(told["pid"], signal.SIGCONT)
            row = await ended(other, job)
            assert ("done", 2, 0) == (row["state"], row["attempt"], row["replay"]["diverged"])
            told_steps = [one["step"] for one in await events(other, job) if one["type"] == "step"]
            assert list(range(1, 61)) == told_steps
            await wait_for(zombie, lambda now: now["jobs"] == [])


async def test_the_budget_holds_across_deaths(tmp_path: Path) -> None:
    """The error has the best result so far."""
    ledger = tmp_path / "ledger"
    async with serving("--workers", "1", environment=PLUGIN) as client:
        job = await submit(
            client, {"steps": 50, "ms": 50, "ledger": str(ledger)}, budget={"lm_calls": 20, "usd": 5.0}
        )
        await wait_for(client, is_working)
        for _ in range(2):
            await asyncio.sleep(random.uniform(0.5, 4.0))
            with contextlib.suppress(
                ProcessLookupError, IndexError, TypeError
            ):  # it has just come to its end
                os.kill((await info(client))["jobs"][0]["pid"], signal.SIGKILL)
        row = await ended(client, job)
        assert ("failed", "budget_spent", 20) == (
            row["state"],
            row["error"]["code"],
            row["spent"]["lm_calls"],
        )
        assert 18 <= lines(ledger) <= 20
        with pytest.raises(DSPexError) as caught:
            await client.call("job.result", {"job": job})
        best = cast("dict[str, Any]", await client.call("job.best", {"job": job}))
        assert 18 <= best["score"] == row["answers"] <= 20
        assert {"spec": {"step": best["score"]}, "state": {}} == best["content"]
        assert ("budget_spent", best) == (caught.value.code, caught.value.details["best"])


async def test_a_job_that_kills_its_workers_fails() -> None:
    """With what has come of it so far."""
    async with serving("--workers", "1", environment=PLUGIN) as client:
        job = await submit(client, {"steps": 5, "die_at": 3})
        row = await ended(client, job)
        assert ("failed", "worker_died", 3) == (row["state"], row["error"]["code"], row["attempt"])
        assert "SIGSEGV" == row["error"]["details"]["reason"]
        types = [event["type"] for event in await events(client, job)]
        assert ["submitted", "started", "step", "step", "died", "started", "died"] == types[:7]
        assert 2.0 == row["best_score"]


async def test_a_job_and_its_host(tmp_path: Path) -> None:
    """Its functions are whoever's client offers them; where nobody does, it waits."""
    socket = f"stdio,unix:{tmp_path / 's'}"
    async with serving("--workers", "1", "--listen", socket, environment=PLUGIN) as client:

        async def weigh(step: int) -> int:
            await asyncio.sleep(0.3)
            return step

        address = f"unix:{tmp_path / 's'}"
        async with Client.connect(address, functions={"weigh": weigh}) as host:
            job = await submit(host, {"steps": 8, "function": "weigh"})
            async for item in host.stream_call("job.follow", {"job": job}):
                if isinstance(item, dict) and item.get("event", {}).get("type") == "step":
                    break
        stream = client.stream_call("job.follow", {"job": job})
        async for item in stream:
            if isinstance(item, dict) and item.get("event", {}).get("type") == "waiting_for_host":
                break
        async with Client.connect(address, functions={"weigh": weigh}) as host:
            row = await ended(host, job)
        assert ("done", 1) == (row["state"], row["attempt"])
        types = [event["type"] for event in await events(client, job)]
        assert types.index("waiting_for_host") < types.index("host_is_back")


async def test_a_program_that_a_job_made_is_in_the_library() -> None:
    """With its lineage, once, and it predicts."""
    async with serving("--workers", "1", environment=PLUGIN) as client:
        job = await submit(client, {"steps": 1, "save_as": "made"}, note="because")
        row = await ended(client, job)
        assert {"program": "made", "version": 1} == row["saved"]
        program = cast("dict[str, Any]", await client.call("program.get", {}, program="made"))
        lineage = program["lineage"]
        assert ("toil", "because", {"toil": 1.0}) == (lineage["by"], lineage["note"], lineage["scores"])
        assert ["made"] == program["tags"]
        prediction = await client.predict("made", {"question": "Why?"})
        assert prediction
        again = await submit(client, {"steps": 1, "save_as": "made"})
        assert {"program": "made", "version": 2} == (await ended(client, again))["saved"]


async def test_a_bad_submission_is_refused() -> None:
    """Before there is a job, with the field named."""
    async with serving("--workers", "1", environment=PLUGIN) as client:
        for payload, field in (
            ({"kind": "alchemy", "request": {}}, "kind"),
            ({"kind": "toil", "request": {"steps": "many"}}, "request.steps"),
            ({"kind": "toil", "request": {"steps": 1, "colour": "red"}}, "request.colour"),
            ({"kind": "toil", "request": {"steps": 1}, "budget": {"lm_calls": -1}}, "budget.lm_calls"),
            ({"kind": "toil", "request": {"steps": 1}, "deadline_s": 0}, "deadline_s"),
            ({"kind": "toil"}, "request"),
            ({"request": {}}, "kind"),
        ):
            with pytest.raises(DSPexError) as caught:
                await client.call("job.submit", payload)
            assert ("invalid_argument", field) == (caught.value.code, caught.value.details["field"])
        assert {"jobs": [], "next": None} == await client.call("job.list", {})
