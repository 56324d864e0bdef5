"""Jobs whose store is away, whose leases lapse, whose hosts come and go, and whose time is over."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.job_servers import (
    LEASE_S,
    JobServer,
    ended,
    events,
    get,
    hurry,
    job_server,
    submit,
    until,
)
from tests.support.servers import count
from tests.support.stores import MemoryPlace, Place
from tests.support.wavering_store import WaveringStore, wavering

from dspex_pool.client import Client
from dspex_pool.jobs import records, steps
from dspex_pool.jobs.shelf import Shelf
from dspex_pool.store import Change, Fence, Key, Put, Record, Store, Unavailable
from dspex_protocol import DSPexError

__all__ = ["hurry"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hurry")]

ROUNDS = count("job_rounds", 30)
SUBMISSIONS = count("job_submissions", 20)
RECONNECTS = count("job_reconnects", 100)


def lines(ledger: Path) -> int:
    """Requests that were really made."""
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


async def result(client: Client, job: str) -> Any:
    answer: Any = await client.call("job.result", {"job": job})
    return answer["result"]


async def test_a_job_outlives_thirty_deaths(tmp_path: Path) -> None:
    """Of its worker, its server, its store's answers: identical, and at most four requests a death more."""
    place, drawn = MemoryPlace(), random.Random(11)
    unsteady, store = wavering(place.build())
    request = {"steps": 150, "at_once": 4, "ms": 3}
    async with job_server(place.build()) as server:
        wanted_job = await submit(server.client, request)
        await ended(server.client, wanted_job)
        wanted = await result(server.client, wanted_job)
    server = JobServer(store)
    await server.start()
    job = await submit(server.client, {**request, "ledger": str(tmp_path / "ledger")})
    kills = 0
    for _ in range(ROUNDS):
        await until(lambda: server.running_process() is not None or is_over(server))  # noqa: B023
        await asyncio.sleep(drawn.uniform(0.0, 0.04))
        match drawn.choice(("worker", "worker", "server", "away", "lossy")):
            case "worker":
                process = server.running_process()
                kills += process is not None
                if process is not None:
                    process.die("SIGKILL")
            case "server":
                kills += 1
                await server.kill()
                await place.advance(LEASE_S * 1.1)
                server = JobServer(store)
                await server.start()
            case "away":
                unsteady.is_away = True
                await asyncio.sleep(0.1)
                unsteady.is_away = False
            case _:
                unsteady.loses = drawn.choice((0.0, 0.3))
    unsteady.loses = 0.0
    try:
        row = await ended(server.client, job)
        assert ("done", 0) == (row["state"], row["replay"]["diverged"])
        assert wanted == await result(server.client, job)
        assert 600 <= lines(tmp_path / "ledger") <= 600 + 4 * kills
        told = [event["step"] for event in await events(server.client, job) if event["type"] == "step"]
        assert list(range(1, 151)) == told
    finally:
        await server.kill()


def is_over(server: JobServer) -> bool:
    """Whether nothing runs since the job has ended."""
    return not server.supervisor.info()["jobs"]


async def test_many_who_submit_at_once_have_one_job(store: Store) -> None:
    """Thirty-two at a time, again and again."""
    async with job_server(store, job_workers=0) as one, job_server(store, job_workers=0) as two:
        for number in range(SUBMISSIONS):
            payload = {"kind": "toil", "request": {"steps": 1}, "key": f"key {number}"}
            answers: list[Any] = await asyncio.gather(
                *((one, two)[at % 2].client.call("job.submit", payload) for at in range(32))
            )
            assert 1 == len({answer["job"] for answer in answers})
            assert 1 == sum(answer["created"] for answer in answers)


async def test_a_follower_that_is_cut_off_goes_on(tmp_path: Path) -> None:
    """At two servers in turn, in the middle of anything: no event is missing, none comes twice."""
    store = MemoryPlace().build()
    async with job_server(store) as runs, job_server(store, job_workers=0) as looks:
        job = await submit(runs.client, {"steps": RECONNECTS, "ms": 2})
        told: list[int] = []
        is_done = False
        drawn = random.Random(3)
        while not is_done:
            client = await (runs, looks)[drawn.randrange(2)].connect()
            stream = client.stream_call("job.follow", {"job": job, "after": told[-1] if told else 0})
            wanted = drawn.randrange(1, 4)
            async for item in stream:
                event: Any = item
                if "event" in event:
                    told.append(event["event"]["n"])
                    is_done = event["event"]["type"] == "done"
                    wanted -= 1
                if wanted == 0:
                    break
            await client.aclose()
        assert list(range(1, RECONNECTS + 4)) == told


async def test_a_slow_follower_gets_everything(store: Store) -> None:
    """Item by item, as it gives credit."""
    async with job_server(store) as server:
        job = await submit(server.client, {"steps": 20})
        await ended(server.client, job)
        call_id, pending = server.client.open(
            "job.follow", {"job": job}, {"credit": 1}, items=(items := asyncio.Queue[Any]())
        )
        numbers = []
        for _ in range(23):
            item = await asyncio.wait_for(items.get(), 20)
            numbers.append(item["event"]["n"])
            server.client.credit(call_id, 1)
        assert list(range(1, 24)) == numbers
        await pending.answer


async def test_a_job_waits_for_its_store(tmp_path: Path) -> None:
    """While that is away for longer than the lease nothing is lost, and nothing is asked for twice."""
    place = MemoryPlace()
    unsteady, store = wavering(place.build())
    ledger = tmp_path / "ledger"
    async with job_server(store) as server:
        job = await submit(server.client, {"steps": 20, "ms": 10, "ledger": str(ledger)})
        await until(lambda: lines(ledger) >= 5)
        unsteady.is_away = True
        await place.advance(LEASE_S * 2)
        await asyncio.sleep(LEASE_S)
        made = lines(ledger)
        await asyncio.sleep(0.1)
        assert made == lines(ledger)  # it stands still
        unsteady.is_away = False
        row = await ended(server.client, job)
        assert ("done", 1, 20) == (row["state"], row["attempt"], lines(ledger))


async def test_a_deadline_ends_a_job(place: Place, store: Store) -> None:
    """One that runs, and one that nobody has room for; by the store's clock."""
    async with job_server(store) as server:
        runs = await submit(server.client, {"steps": 1, "stand_still": True}, deadline_s=1.0)
        await until(lambda: server.running_process() is not None)
        waits = await submit(server.client, {"steps": 1}, deadline_s=0.2)
        await place.advance(1.1)
        for job in (runs, waits):
            row = await ended(server.client, job, limit_s=20)
            assert ("failed", "deadline") == (row["state"], row["error"]["code"])


async def test_a_job_is_cancelled_from_anywhere(place: Place, store: Store) -> None:
    """At the server that runs it, at another one, while it waits, and when its server is dead."""
    async with job_server(store) as runs, job_server(store, job_workers=0) as other:
        job = await submit(runs.client, {"steps": 2, "stand_still": True})
        await until(lambda: runs.running_process() is not None)
        waits = await submit(runs.client, {"steps": 1})
        row: Any = await other.client.call("job.cancel", {"job": waits})
        assert "cancelled" == row["state"]
        row = await other.client.call("job.cancel", {"job": job})
        assert ("running", True) == (row["state"], row["cancelling"])
        assert "cancelled" == (await ended(other.client, job))["state"]
        await until(lambda: runs.running_process() is None)
        last = await submit(runs.client, {"steps": 1, "stand_still": True})
        await until(lambda: runs.running_process() is not None)
        await runs.kill()
        await place.advance(LEASE_S * 1.1)
        row = await other.client.call("job.cancel", {"job": last})
        assert "cancelled" == row["state"]
        again: Any = await other.client.call("job.cancel", {"job": last})
        assert row == again
        with pytest.raises(DSPexError) as caught:
            await other.client.call("job.result", {"job": last})
        assert "cancelled" == caught.value.code


class ClosedStore(WaveringStore):
    """One that takes wishes, and does not let jobs end once it `is_closed`."""

    is_closed = False

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """But for jobs' own records."""
        if self.is_closed and any(isinstance(one, Put) and one.key.collection == "job" for one in changes):
            raise Unavailable("it is closed")
        return await super().commit(changes, fences)


async def test_who_cancels_is_told_that_the_store_is_away() -> None:
    """And does not wait for it, though a job would: the wish is kept, and seen to in time."""
    place = MemoryPlace()
    closed = ClosedStore(place.build())
    async with job_server(cast("Store", closed), job_workers=0) as server:
        job = await submit(server.client, {"steps": 1})
        closed.is_closed = True
        with pytest.raises(DSPexError) as caught:
            await server.client.call("job.cancel", {"job": job}, deadline_ms=10_000)
        assert ("store_unavailable", True) == (caught.value.code, caught.value.maybe_executed)
        row = await get(server.client, job)
        assert ("queued", True) == (row["state"], row["cancelling"])
        closed.is_closed = False
        await place.advance(LEASE_S * 1.1)
        async with job_server(place.build()) as other:
            assert "cancelled" == (await ended(other.client, job))["state"]


class ResumingStore(WaveringStore):
    """One in which a job that was seen to be unwanted ends and is resumed before anything is done."""

    def __init__(self, store: Store, shelf: Shelf) -> None:
        super().__init__(store)
        self._shelf = shelf
        self.has_resumed = False

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """And then that."""
        found = await super().get(keys)
        if keys[0].collection == records.CANCEL and found[0] is not None and not self.has_resumed:
            self.has_resumed = True
            job = await self._shelf.get(keys[0].id)
            made = steps.cancelled(job.job, 1)
            key = records.key_of(records.JOB, job.job.job)
            put = Put(key=key, body=records.write_job(made.job), expect=job.revision)
            await self._store.commit([put, *made.changes])
            await self._shelf.resume(job.job.job, None, None)
        return found


async def test_a_job_that_was_resumed_is_not_ended_by_an_older_wish() -> None:
    """A server that was about to end it looks again when it has it."""
    store = MemoryPlace().build()
    shelf = Shelf(store, wall_ms=lambda: 1, new_id=lambda: "id")
    async with job_server(store, job_workers=0) as other:
        job = await submit(other.client, {"steps": 1})
        await shelf.want_end(job)
        resuming = ResumingStore(store, shelf)
        async with job_server(cast("Store", resuming)):
            assert "done" == (await ended(other.client, job))["state"]
        assert resuming.has_resumed


async def test_what_runs_is_neither_deleted_nor_has_a_result(store: Store) -> None:
    """It says so, and that it may be later."""
    async with job_server(store) as server:
        job = await submit(server.client, {"steps": 1, "stand_still": True})
        for method in ("job.delete", "job.result"):
            with pytest.raises(DSPexError) as caught:
                await server.client.call(method, {"job": job})
            assert ("job_not_done", True) == (caught.value.code, caught.value.retryable)
        for method in ("job.get", "job.events", "job.follow", "job.cancel", "job.best", "job.delete"):
            with pytest.raises(DSPexError) as nobody:
                await server.client.call(method, {"job": "job-none"})
            assert "unknown_job" == nobody.value.code


async def test_a_hosts_function_is_asked_of_whoever_offers_it(store: Store) -> None:
    """When its client goes in the middle it is asked again of another one; what that calls in turn runs."""
    asked: list[str] = []

    def weighing(name: str, waits: float) -> Any:
        async def weigh(step: int) -> int:
            asked.append(f"{name} {step}")
            await asyncio.sleep(waits)
            return step

        return {"weigh": weigh}

    async with job_server(store) as server:
        first = await server.connect(weighing("first", 30))
        job = await submit(server.client, {"steps": 3, "function": "weigh"})
        await until(lambda: asked == ["first 1"])
        await first.aclose()
        stream = server.client.stream_call("job.follow", {"job": job})
        async for item in stream:
            event: Any = item
            if event.get("event", {}).get("type") == "waiting_for_host":
                break
        assert "weigh" == (await get(server.client, job))["progress"]["waiting_for"]
        await server.connect(weighing("second", 0))
        assert "done" == (await ended(server.client, job))["state"]
        assert ["first 1", "second 1", "second 2", "second 3"] == asked


async def test_a_server_that_drains_sends_its_followers_away(store: Store) -> None:
    """They would wait for hours; others go on."""
    async with job_server(store) as server:
        job = await submit(server.client, {"steps": 1, "stand_still": True})
        follows = asyncio.ensure_future(ended(server.client, job))
        await until(lambda: server.running_process() is not None)
        server.supervisor.drain()
        with pytest.raises(DSPexError) as caught:
            await follows
        assert "draining" == caught.value.code
        with contextlib.suppress(DSPexError):
            await server.client.aclose()


async def test_versions_are_pinned_at_the_first_look(store: Store) -> None:
    """A dataset that grows meanwhile does not lead the next attempt another way."""
    async with job_server(store) as server:
        rows = [{"n": number} for number in range(3)]
        put = {"dataset": "mine", "rows": rows, "input_keys": ["n"]}
        await server.client.call("dataset.put", put)
        job = await submit(server.client, {"steps": 30, "ms": 10, "rows": "mine"})
        await until(lambda: server.running_process() is not None)
        while not (await get(server.client, job))["best_score"]:
            await asyncio.sleep(0.01)
        await server.client.call("dataset.append", {"dataset": "mine", "rows": rows})
        process = server.running_process()
        assert process is not None
        process.die("SIGKILL")
        row = await ended(server.client, job)
        assert ("done", 2) == (row["state"], row["attempt"])
        assert 3 == (await result(server.client, job))["rows"]
