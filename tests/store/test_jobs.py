"""Jobs on every backend: one owner at a time, whoever dies, and nothing paid for twice."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from tests.support import plugin_jobs
from tests.support.job_servers import LEASE_S, JobServer, ended, events, get, hurry, job_server, submit, until
from tests.support.stores import Place

from dspex_bridge.worker import serve
from dspex_pool.store import Store
from dspex_protocol import DSPexError

__all__ = ["hurry"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hurry")]


def lines(ledger: Path) -> int:
    """Requests that were really made."""
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


async def result(server: JobServer, job: str) -> Any:
    answer: Any = await server.client.call("job.result", {"job": job})
    return answer["result"]


async def test_a_job_is_done_and_known(store: Store, tmp_path: Path) -> None:
    """Its record, events, best result and result are in the store, for any server of it."""
    async with job_server(store) as server:
        job = await submit(
            server.client, {"steps": 3, "at_once": 2, "ledger": str(tmp_path / "l")}, note="why"
        )
        row = await ended(server.client, job)
        assert ("done", 1, 6, "why") == (row["state"], row["attempt"], row["spent"]["lm_calls"], row["note"])
        types = [event["type"] for event in await events(server.client, job)]
        assert ["submitted", "started", "step", "step", "step", "done"] == types
        said = await result(server, job)
    async with job_server(store, job_workers=0) as other:
        assert said == await result(other, job)
        assert 3.0 == (await get(other.client, job))["best_score"]
        assert [job] == [row["job"] for row in (await listed(other))]
        await other.client.call("job.delete", {"job": job})
        assert [] == await listed(other)


async def listed(server: JobServer, **wish: object) -> list[dict[str, Any]]:
    answer: Any = await server.client.call("job.list", wish)
    return answer["jobs"]  # type: ignore[no-any-return]


async def test_one_key_is_one_job(store: Store) -> None:
    """However many submit it at the same time, at two servers."""
    async with job_server(store, job_workers=0) as one, job_server(store, job_workers=0) as two:
        clients = [server.client for server in (one, two)]
        request = {"kind": "toil", "request": {"steps": 1, "at_once": 2}, "key": "k"}
        again = {**request, "request": {"at_once": 2, "steps": 1}}  # the order of keys means nothing
        answers: list[Any] = await asyncio.gather(
            *(clients[at % 2].call("job.submit", again if at % 3 else request) for at in range(32))
        )
        assert 1 == len({answer["job"] for answer in answers})
        assert 1 == sum(answer["created"] for answer in answers)
        with pytest.raises(DSPexError) as other:
            await one.client.call("job.submit", {**request, "request": {"steps": 2}})
        assert ("job_key_reused", answers[0]["job"]) == (other.value.code, other.value.details["job"])
        assert 1 == len(await listed(one))


async def test_a_job_survives_its_workers(store: Store, tmp_path: Path) -> None:
    """Each death costs at most the requests that were under way, and the result is the same."""
    request = {"steps": 12, "at_once": 4, "ms": 4, "ledger": str(tmp_path / "undisturbed")}
    async with job_server(store) as server:
        undisturbed = await submit(server.client, request)
        await ended(server.client, undisturbed)
        wanted = await result(server, undisturbed)
        job = await submit(server.client, {**request, "ledger": str(tmp_path / "killed")})
        kills = 0
        for _ in range(8):
            await asyncio.sleep(random.uniform(0.005, 0.05))
            process = server.running_process()
            if process is not None:
                process.die("SIGKILL")
                kills += 1
        row = await ended(server.client, job)
        assert ("done", kills) == (row["state"], row["attempt"] - 1)
        assert wanted == await result(server, job)
        assert 48 <= lines(tmp_path / "killed") <= 48 + kills * 4
        assert row["replay"]["diverged"] == 0
        told = [event["step"] for event in await events(server.client, job) if event["type"] == "step"]
        assert list(range(1, 13)) == told
        counts = (await info(server))["job_counts"]
        assert (2 + kills, kills, 2, 0) == tuple(
            counts[name] for name in ("attempts", "died", "done", "failed")
        )
        assert 96 == counts["answers_kept"] == counts["lm_calls"]
        assert row["replay"]["answered"] <= counts["answers_replayed"]


async def info(server: JobServer) -> dict[str, Any]:
    """The snapshot of a server."""
    told: Any = await server.client.call("system.info", {})
    return told  # type: ignore[no-any-return]


async def test_jobs_are_told_in_a_servers_snapshot(store: Store) -> None:
    """Those that run with how far they are, those that wait and those that have ended by their number."""
    async with job_server(store) as server:
        job = await submit(server.client, {"steps": 2, "at_once": 3, "stand_still": True})
        # Of two that are submitted within a millisecond either may be begun first.
        await until(lambda: server.running_process() is not None)
        waiting = await submit(server.client, {"steps": 1})
        while not (told := await info(server))["jobs"] or told["jobs"][0]["progress"].get("done") != 2:
            await asyncio.sleep(0.01)
        (row,) = told["jobs"]
        assert (job, "toil", "running", 1) == tuple(row[name] for name in ("job", "kind", "state", "attempt"))
        assert ("toil", 2, 2) == tuple(row["progress"][name] for name in ("phase", "done", "total"))
        assert (2.0, 6) == (row["best_score"], row["spent"]["lm_calls"])
        assert 0 <= row["elapsed_s"] < 60
        while (await info(server))["job_counts"]["open"] != 2:
            await asyncio.sleep(0.01)
        await server.client.call("job.cancel", {"job": job})
        await ended(server.client, waiting)
        while (await info(server))["job_counts"]["open"]:
            await asyncio.sleep(0.01)
        told = await info(server)
        assert ([], 1, 1) == (told["jobs"], told["job_counts"]["done"], told["job_counts"]["cancelled"])


@pytest.mark.parametrize("other_prompts", [False, True])
async def test_a_job_that_goes_on_under_other_versions_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, other_prompts: bool
) -> None:
    """Before anything else of that attempt, once; and how much of what was paid for was of no use."""
    old, new = {"dspex": "1.0", "dspy": "3.4.1"}, {"dspex": "1.0", "dspy": "3.5.0"}
    monkeypatch.setattr(serve, "VERSIONS", old)
    async with job_server(store) as server:
        job = await submit(server.client, {"steps": 2, "at_once": 3, "stand_still": True})
        while (await get(server.client, job))["events"] < 4:  # submitted, started, and both steps
            await asyncio.sleep(0.01)
        assert {"begun": old, "latest": old} == (await get(server.client, job))["versions"]
        monkeypatch.setattr(serve, "VERSIONS", new)
        await another_attempt(server, replayed=6)
        if other_prompts:
            monkeypatch.setattr(plugin_jobs, "TEXT", "{step} anew")
        await another_attempt(server, replayed=12)
        while (await get(server.client, job))["answers"] < (12 if other_prompts else 6):
            await asyncio.sleep(0.01)
        row = await get(server.client, job)
        assert {"begun": old, "latest": new} == row["versions"]
        changes = [event for event in await events(server.client, job) if event["type"] == "versions_changed"]
        assert [(old, new, 2)] == [(event["from"], event["to"], event["attempt"]) for event in changes]
        told = [event["type"] for event in await events(server.client, job) if event["attempt"] == 2]
        assert ["started", "versions_changed"] == told[:2]
        await server.client.call("job.cancel", {"job": job})
        await ended(server.client, job)
        monkeypatch.setattr(plugin_jobs, "STANDS_STILL", False)
        await server.client.call("job.resume", {"job": job})
        assert (6 if other_prompts else 0) == (await ended(server.client, job))["replay"]["diverged"]


async def another_attempt(server: JobServer, replayed: int) -> None:
    """The worker dies, and its successor gets the answers that there are: so many, with those before it."""
    process = server.running_process()
    assert process is not None
    process.die("SIGKILL")
    await until(lambda: server.running_process() not in (None, process))
    while (await info(server))["job_counts"]["answers_replayed"] < replayed:
        await asyncio.sleep(0.01)


async def test_a_job_survives_its_servers(place: Place, store: Store, tmp_path: Path) -> None:
    """Another one takes it up when the lease of the dead one is over."""
    request = {"steps": 20, "at_once": 3, "ms": 10, "ledger": str(tmp_path / "ledger")}
    server = JobServer(store)
    await server.start()
    job = await submit(server.client, request)
    for _ in range(3):
        await until(lambda: server.running_process() is not None)  # noqa: B023
        await asyncio.sleep(0.05)
        await server.kill()
        await place.advance(LEASE_S * 1.1)
        server = JobServer(store)
        await server.start()
    try:
        row = await ended(server.client, job)
        assert ("done", 4) == (row["state"], row["attempt"])
        assert 60 <= lines(tmp_path / "ledger") <= 60 + 3 * 3
    finally:
        await server.kill()


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
async def test_a_job_that_has_ended_goes_on_from_what_it_has(
    store: Store, tmp_path: Path, ending: str
) -> None:
    """At whichever server, with more to spend: nothing is paid for twice, and the result is the same."""
    request = {"steps": 12, "at_once": 2, "ms": 5}
    limits = {"budget": {"lm_calls": 9}} if ending == "failed" else {}
    async with job_server(store) as server:
        undisturbed = await submit(server.client, request)
        await ended(server.client, undisturbed)
        job = await submit(server.client, {**request, "ledger": str(tmp_path / "ledger")}, **limits)
        if ending == "cancelled":
            await until(lambda: lines(tmp_path / "ledger") > 5)
            await server.client.call("job.cancel", {"job": job})
        row = await ended(server.client, job)
        assert ending == row["state"]
        wanted = await result(server, undisturbed)
        with pytest.raises(DSPexError) as refused:
            await server.client.call("job.resume", {"job": undisturbed})
        assert ("invalid_argument", "job") == (refused.value.code, refused.value.details["field"])
        assert refused.value.message.endswith(f"got {undisturbed}, which is done")
    paid = lines(tmp_path / "ledger")
    async with job_server(store) as other:
        resumed: Any = await other.client.call("job.resume", {"job": job, "budget": {"lm_calls": 100}})
        assert (1, {"lm_calls": 100}, None) == (resumed["resumes"], resumed["budget"], resumed["error"])
        row = await ended(other.client, job)
        assert ("done", 0, 24) == (row["state"], row["replay"]["diverged"], row["spent"]["lm_calls"])
        assert wanted == await result(other, job)
        assert 24 <= lines(tmp_path / "ledger") <= 24 + 2 * (ending == "cancelled")
        assert paid >= row["replay"]["answered"] >= paid - 2
        told = [event["step"] for event in await events(other.client, job) if event["type"] == "step"]
        assert list(range(1, 13)) == told


async def test_many_who_resume_a_job_have_it_go_on_once(store: Store) -> None:
    """Whoever comes later finds it open; with another budget it is refused."""
    async with job_server(store) as one, job_server(store, job_workers=0) as two:
        job = await submit(one.client, {"steps": 2, "stand_still": True}, budget={"lm_calls": 1})
        await ended(one.client, job)
        wish = {"job": job, "budget": {"lm_calls": 5}}
        clients = (one.client, two.client)
        rows: list[Any] = await asyncio.gather(
            *(clients[at % 2].call("job.resume", wish) for at in range(16))
        )
        assert {1} == {row["resumes"] for row in rows}
        with pytest.raises(DSPexError) as refused:
            await two.client.call("job.resume", {"job": job, "budget": {"lm_calls": 6}})
        assert "job_not_done" == refused.value.code
        types = [event["type"] for event in await events(two.client, job)]
        assert 1 == types.count("resumed")
        await two.client.call("job.cancel", {"job": job})
        assert "cancelled" == (await ended(one.client, job))["state"]
        await one.client.call("job.delete", {"job": job})
        with pytest.raises(DSPexError) as gone:
            await one.client.call("job.resume", {"job": job})
        assert "unknown_job" == gone.value.code


async def test_a_server_that_ends_in_order_leaves_its_jobs_to_others_at_once(store: Store) -> None:
    """Nobody has to wait until a lease is over."""
    server = JobServer(store)
    await server.start()
    job = await submit(server.client, {"steps": 1, "stand_still": True})
    await until(lambda: server.running_process() is not None)
    await server.close()
    async with job_server(store) as other:
        await until(lambda: other.running_process() is not None, limit_s=0.9)
        await other.client.call("job.cancel", {"job": job})
        assert "cancelled" == (await ended(other.client, job))["state"]


async def test_a_server_that_was_stopped_writes_nothing(place: Place, store: Store, tmp_path: Path) -> None:
    """When it goes on, its lease is another's: its worker is killed, and the job is the other's alone."""
    ledger = tmp_path / "ledger"
    zombie = JobServer(store)
    await zombie.start()
    job = await submit(zombie.client, {"steps": 30, "ms": 100, "ledger": str(ledger)})
    await until(lambda: lines(ledger) >= 3)
    zombie.timers.is_stopped = True  # no heartbeat goes out any more; its worker goes on
    held = zombie.running_process()
    assert held is not None
    await place.advance(LEASE_S * 1.5)
    other = JobServer(store)
    await other.start()
    try:
        await until(lambda: other.running_process() is not None)
        before = (await get(other.client, job))["attempt"]
        zombie.timers.go_on()
        row = await ended(other.client, job)
        assert ("done", before) == (row["state"], row["attempt"])
        assert held.killed
        told = [event["step"] for event in await events(other.client, job) if event["type"] == "step"]
        assert list(range(1, 31)) == told
    finally:
        await zombie.kill()
        await other.kill()
