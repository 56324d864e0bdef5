"""P11, one owner at a time: a write of a server that has lost a session is found, be it let through.

A server is stopped in the middle of a turn for longer than its lease, and goes on when another one is
in the middle of the next. `DSPEX_TEST_SERVER_STOPS` has it happen so many times.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final, cast

import pytest
from tests.support.servers import count, has_ready, info, serving, wait_for
from tests.support.state_load import CHAT

from dspex_pool.client import Client
from dspex_protocol import DSPexError

from .planting import planted

HURRIED: Final = """
    from dspex_pool import session_leases, sessions
    sessions.IDLE_S, sessions.SWEEP_S, sessions.RENEW_S = 0.3, 0.1, 60.0
    session_leases.LEASE_S = 0.5
"""
"""Times that a test need not wait for. Leases are not renewed: whoever does that finds out what has
happened, if it comes to it before it writes."""
NO_FENCE: Final = """
    from dspex_pool.store.sqlite_tables import Tables
    commit = Tables.commit
    Tables.commit = lambda self, changes, fences: commit(self, changes, [])
"""


def slow(latency_ms: int) -> dict[str, object]:
    return {"default": {"model": "sim/slow", "options": {"latency_ms": latency_ms}}}


async def outcome_of(call: Awaitable[object]) -> str:
    """`kept`, or the code of the error."""
    try:
        await call
    except DSPexError as failure:
        return failure.code
    return "kept"


def say(client: Client, question: str) -> asyncio.Future[str]:
    """A turn, begun."""
    call = client.call("program.predict", {"inputs": {"question": question}}, session="s")
    return asyncio.ensure_future(outcome_of(call))


async def is_at_work(client: Client) -> None:
    await wait_for(client, lambda now: any(row["calls"] for row in now["workers"]))


async def is_free(client: Client) -> None:
    """Wait until a session can be had: `state.migrate` takes it, and makes no turn."""
    (worker,) = (await info(client))["workers"]
    while True:
        call = client.call("state.migrate", {"worker": worker["worker"]}, session="s")
        if await outcome_of(call) == "kept":
            return
        await asyncio.sleep(0.02)


async def questions(client: Client) -> list[str]:
    got = cast("dict[str, Any]", await client.call("session.get", {}, session="s"))
    return [turn["question"] for turn in got["history"]]


async def interrupted(stopped: Client, other: Client, number: int) -> dict[str, str]:
    """What becomes of a turn whose server stands still meanwhile, and of one of the other server's."""
    await is_free(stopped)
    pid = (await info(stopped))["pid"]
    late = say(stopped, f"late {number}")
    await is_at_work(stopped)
    os.kill(pid, signal.SIGSTOP)
    try:
        await is_free(other)
        turn = say(other, f"turn {number}")
        await is_at_work(other)
    finally:
        os.kill(pid, signal.SIGCONT)
    return {f"late {number}": await late, f"turn {number}": await turn}


async def wrong(path: Path, folder: Path, lines: str, stops: int) -> list[str]:
    """What is wrong with such turns.

    The other server has the session rightly, so its turns are kept. One of the stopped server's is
    kept only where it had been stored before the stop, which is then the order; and what was kept
    is there, and nothing else.
    """
    environment = planted(folder, "serve", HURRIED + lines) | {"DSPEX_STORE": f"sqlite:{path}"}
    one_worker = ("--workers", "1")
    became: dict[str, str] = {}
    limit_s = 60 + 10 * stops
    async with (
        serving(*one_worker, environment=environment, lms=slow(600), limit_s=limit_s) as one,
        serving(*one_worker, environment=environment, lms=slow(1500), limit_s=limit_s) as other,
    ):
        await one.call("program.create", {"spec": CHAT}, program="chat")
        await one.call("session.open", {}, program="chat", session="s")
        for client in (one, other):
            await wait_for(client, has_ready(1))
        for number in range(stops):
            became |= await interrupted(one, other, number)
            if found := wrong_with(became, await questions(other)):
                return found
    return []


def wrong_with(became: dict[str, str], said: list[str]) -> list[str]:
    """By what became of each turn, and what is there."""
    found = [f"{turn}: {end}" for turn, end in became.items() if "turn" in turn and end != "kept"]
    found += [f"{turn}: {end}" for turn, end in became.items() if end not in ("kept", "session_busy")]
    kept = [turn for turn, end in became.items() if end == "kept"]
    return found + ([] if kept == said else [f"{kept} were kept, and {said} are there"])


@pytest.mark.slow
async def test_a_server_that_stood_still_stores_nothing(tmp_path: Path) -> None:
    """Its turn is not kept, which it says; the other server's is."""
    assert [] == await wrong(tmp_path / "state.db", tmp_path, "", count("server_stops", 1))


@pytest.mark.slow
async def test_a_store_that_lets_it_through_is_found(tmp_path: Path) -> None:
    """The planted defect: nobody looks whether the lease is still the writer's."""
    # Where the machine stands still it may take more than one: the late turn must not be stored before.
    assert [] != await wrong(tmp_path / "state.db", tmp_path, NO_FENCE, 5)
