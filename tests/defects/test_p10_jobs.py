"""P10: a job survives any kills, for at most so many requests more; and defects that must show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.job_servers import JobServer, ended, events, hurry, job_server, submit, until
from tests.support.stores import MemoryPlace

from dspex_bridge.jobs.answers import Answers
from dspex_bridge.jobs.budget import Budget, Cost, Purse
from dspex_pool.jobs import steps
from dspex_pool.jobs.keeping import Keeper
from dspex_pool.jobs.records import Job
from dspex_pool.store.memory import MemoryStore

__all__ = ["hurry"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hurry")]

AT_ONCE = 4
KILLS = 3


def lines(ledger: Path) -> int:
    """Requests that were really made."""
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


async def broken_by_kills(ledger: Path) -> list[str]:
    """Kill the worker of a job a few times; what of the promise does not hold."""
    async with job_server(MemoryPlace().build()) as server:
        request = {"steps": 20, "at_once": AT_ONCE, "ms": 5, "ledger": str(ledger)}
        wanted = await outcome(server, {**request, "ledger": ""})
        job = await submit(server.client, request)
        for kill in range(1, KILLS + 1):
            await until(lambda: lines(ledger) >= kill * 5 * AT_ONCE)  # noqa: B023
            process = server.running_process()
            assert process is not None
            process.die("SIGKILL")
        row = await ended(server.client, job)
        came: Any = await server.client.call("job.result", {"job": job})
        told = [event.get("step") for event in await events(server.client, job) if event["type"] == "step"]
    broken = {
        "another result": came["result"] != wanted,
        "too many requests": lines(ledger) > 20 * AT_ONCE + KILLS * AT_ONCE,
        "divergence": row["replay"]["diverged"] > 0,
        "events twice": told != list(range(1, 21)),
    }
    return [name for name, is_so in broken.items() if is_so]


async def outcome(server: JobServer, request: dict[str, object]) -> object:
    """What comes of it undisturbed."""
    job = await submit(server.client, request)
    await ended(server.client, job)
    came: Any = await server.client.call("job.result", {"job": job})
    return came["result"]


async def test_kills_cost_at_most_what_was_under_way(tmp_path: Path) -> None:
    """And nothing else."""
    assert [] == await broken_by_kills(tmp_path / "ledger")


def keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are used and never kept."""

    def answered(job: Job, entries: object) -> steps.Made:
        return steps.Made(job)

    monkeypatch.setattr(steps, "answered", answered)


def miscount(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every equal request gets the first one's number."""
    begin: Callable[..., Any] = Answers._begin

    def always_first(self: Answers, kind: str, key: bytes) -> Any:
        self._asked[kind, key] = 0
        return begin(self, kind, key)

    monkeypatch.setattr(Answers, "_begin", always_first)


def tell_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of an attempt are kept, whether an attempt before has told them or not."""

    def told(job: Job, number: int, event: Mapping[str, object], now_ms: int, *, is_anew: bool) -> steps.Made:
        return steps.happened(job, event, now_ms)

    monkeypatch.setattr(steps, "event_told", told)


@pytest.mark.parametrize("plant", [keep_nothing, miscount, tell_again])
async def test_a_planted_defect_shows(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the test above would prove little."""
    plant(monkeypatch)
    assert [] != await broken_by_kills(tmp_path / "ledger")


async def overdrawn(ledger: Path) -> int:
    """Requests beyond a budget of ten, over two attempts."""
    async with job_server(MemoryPlace().build()) as server:
        request = {"steps": 40, "ms": 5, "ledger": str(ledger)}
        job = await submit(server.client, request, budget={"lm_calls": 10})
        await until(lambda: lines(ledger) >= 5)
        process = server.running_process()
        assert process is not None
        process.die("SIGKILL")
        await ended(server.client, job)
    return lines(ledger) - 10


async def test_a_budget_is_of_all_attempts(tmp_path: Path) -> None:
    """What was under way when one of them was killed counts."""
    assert await overdrawn(tmp_path / "ledger") <= 0


async def test_a_budget_that_begins_anew_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The planted defect: an attempt does not know what the others have spent."""
    build: Callable[..., None] = Purse.__init__

    def forgetful(self: Purse, budget: Budget, spent: Cost) -> None:
        build(self, budget, Cost())

    monkeypatch.setattr(Purse, "__init__", forgetful)
    assert await overdrawn(tmp_path / "ledger") > 0


async def zombie_writes(ledger: Path) -> bool:
    """Have a server lose its job, and be the only one who does not know; whether it writes all the same."""
    place = MemoryPlace()
    store = place.build()
    zombie = JobServer(store)
    await zombie.start()
    job = await submit(zombie.client, {"steps": 400, "ms": 10, "ledger": str(ledger)})
    await until(lambda: lines(ledger) >= 3)
    zombie.timers.is_stopped = True
    await place.advance(1.5)
    other = JobServer(store)
    await other.start()
    try:
        await until(lambda: other.running_process() is not None)
        await until(lambda: zombie.running_process() is None, limit_s=5.0)
        await other.client.call("job.cancel", {"job": job})
        return bool((await ended(other.client, job))["state"] != "cancelled")
    except TimeoutError:
        return True  # it goes on
    finally:
        await zombie.kill()
        await other.kill()


async def test_who_has_lost_a_job_writes_nothing(tmp_path: Path) -> None:
    """Its worker's next answer is refused, and that is its end."""
    assert not await zombie_writes(tmp_path / "ledger")


async def test_a_fence_that_nobody_looks_at_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The planted defect: neither epoch nor revision counts."""
    commit: Callable[..., Any] = MemoryStore.commit

    async def unfenced(self: MemoryStore, changes: Any, fences: Any = ()) -> Any:
        return await commit(self, [without_expectation(change) for change in changes], ())

    monkeypatch.setattr(MemoryStore, "commit", unfenced)
    monkeypatch.setattr(Keeper, "_renew", renew_blindly)
    assert await zombie_writes(tmp_path / "ledger")


def without_expectation(change: Any) -> Any:
    """A change that is made whatever is there."""
    for name in ("expect", "after"):
        if hasattr(change, name):
            object.__setattr__(change, name, None)
    return change


async def renew_blindly(self: Keeper) -> None:
    """Take it for granted that the job is ours."""
    self._waiting.popleft().kept.set_result(None)
