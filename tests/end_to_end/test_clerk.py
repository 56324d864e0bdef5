"""The clerk as a process: what it answers, what dies with it, and that it dies with its server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any, Final, cast

import pytest
from tests.support.servers import info, outcome_code, serving, wait_for, worker_pids
from tests.support.survivors import alive_after

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

MOODS: Final = "question -> mood: Literal['good', 'bad', 'odd']"
ROWS: Final = 400
WHY: Final = "why " * 500
WISH: Final = {"evaluation": "a", "format": "html"}


async def evaluated(client: Client, more: str = "", **options: object) -> None:
    """An evaluation of rows that are two kilobytes long, and as much more."""
    rows = [{"question": f"{n} {WHY}", "mood": "good", "more": more} for n in range(ROWS)]
    await client.call(
        "evaluation.run",
        {
            "evaluation": "a",
            "spec": {"module": "Predict", "signature": MOODS},
            "rows": rows,
            "input_keys": ["question"],
            "metrics": {"right": {"metric": "exact_match", "options": {"field": "mood"}}},
            **options,
        },
    )


async def pid_of(client: Client) -> int:
    """The clerk's, once there is one."""
    told = await wait_for(client, lambda told: told["clerk"] is not None)
    return int(told["clerk"]["pid"])


async def indexes(client: Client) -> list[int]:
    """Of all rows, page by page."""
    found: list[int] = []
    offset: int | None = 0
    while offset is not None:
        wish = {"evaluation": "a", "offset": offset, "limit": 100}
        page = cast("dict[str, Any]", await client.call("evaluation.rows", wish))
        found += [row["index"] for row in page["rows"]]
        offset = page["next"]
    return found


async def test_it_reads_what_is_stored_and_is_asked_again_when_it_dies() -> None:
    """A call that comes to a clerk that is dying, or dead, is answered by the next one."""
    async with serving("--workers", "2") as client:
        await evaluated(client)
        assert (await info(client))["clerk"] is None
        assert list(range(ROWS)) == await indexes(client)
        before = await pid_of(client)
        os.kill(before, signal.SIGKILL)
        assert list(range(ROWS)) == await indexes(client)
        assert before != await pid_of(client)


async def test_an_experiment_is_reported_with_what_its_runs_tell_of() -> None:
    """The clerk writes nothing: the supervisor brings the runs up to date for it."""
    async with serving("--workers", "2") as client:
        await evaluated(client, experiment="x")
        whole = cast(
            "dict[str, Any]", await client.call("report.make", {"experiment": "x", "format": "json"})
        )
        (run,) = json.loads(whole["text"])["runs"]
        assert ("done", True) == (run["state"], "right" in run["metrics"])


async def test_a_report_that_it_dies_of_says_so() -> None:
    """With the last piece that came; the same report is made by the next clerk."""
    async with serving("--workers", "2") as client:
        await evaluated(client)
        stream = client.stream_call("report.make", WISH)
        await anext(aiter(stream))
        os.kill(await pid_of(client), signal.SIGKILL)
        with pytest.raises(DSPexError) as died:
            await stream.result()
        assert ("worker_died", True, False) == (
            died.value.code,
            died.value.retryable,
            died.value.maybe_executed,
        )
        assert "last_seq" in died.value.details
        assert "SIGKILL" == died.value.details["reason"]
        stream = client.stream_call("report.make", WISH)
        pieces = [cast("dict[str, str]", item)["text"] async for item in stream]
        assert "".join(pieces).startswith("<!doctype html>")


async def test_one_that_stands_still_is_killed_with_the_call() -> None:
    """The call ends by its deadline; the clerk within the grace period; and nobody else waits for it."""
    async with serving("--workers", "2") as client:
        await evaluated(client)
        await indexes(client)
        before = await pid_of(client)
        os.kill(before, signal.SIGSTOP)
        wish = {"evaluation": "a"}
        assert "deadline" == await outcome_code(client, "evaluation.failures", wish, deadline_ms=200)
        assert 1 == await client.call("system.ping", 1)
        await wait_for(client, lambda told: told["clerk"] is None)
        assert "ok" == await outcome_code(client, "evaluation.failures", wish)
        assert before != await pid_of(client)


async def test_a_call_that_is_given_up_leaves_it_as_it_is() -> None:
    """It hears of it, and goes on with others."""
    async with serving("--workers", "2") as client:
        await evaluated(client)
        await indexes(client)
        before = await pid_of(client)
        given_up = [asyncio.ensure_future(client.call("report.make", WISH)) for _ in range(8)]
        await wait_for(client, lambda told: told["clerk"]["calls"] > 1)
        for task in given_up:
            task.cancel()
        await wait_for(client, lambda told: told["clerk"]["calls"] == 0)
        assert list(range(ROWS)) == await indexes(client)
        assert before == await pid_of(client)


async def test_what_dead_workers_leave_behind_is_swept_and_the_clerk_is_not() -> None:
    """It is a child of the supervisor's that sits in no slot, as orphans do."""
    async with serving("--workers", "2") as client:
        await evaluated(client)
        await indexes(client)
        before = await pid_of(client)
        for deaths in range(1, 4):
            orphan = await client.call("misbehave.spawn_detached", {})
            assert isinstance(orphan, int)
            os.kill(min(await worker_pids(client)), signal.SIGKILL)
            os.kill(max(await worker_pids(client)), signal.SIGKILL)
            assert [] == await asyncio.to_thread(alive_after, 30.0, [orphan])
            await wait_for(client, lambda told: told["ready_workers"] == 2)
            assert list(range(ROWS)) == await indexes(client)
            assert before == await pid_of(client), deaths


async def test_one_that_needs_too_much_memory_is_killed(tmp_path: Path) -> None:
    """By `memory_hard_mb`, as a worker is; its call is told why, and the server goes on."""
    store = ("--workers", "1", "--store", f"sqlite:{tmp_path}/state.db")
    async with serving(*store) as client:
        await evaluated(client, more="x" * 30_000)
    async with serving(*store, "--memory-hard-mb", "1", "--memory-soft-mb", "0") as client:
        with pytest.raises(DSPexError) as died:
            await client.call("report.make", {**WISH, "format": "json"})
        assert ("worker_died", True) == (died.value.code, died.value.retryable)
        assert "memory_hard_mb" in str(died.value.details["reason"])
        assert 1 == await client.call("system.ping", 1)
