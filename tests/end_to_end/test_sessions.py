"""Conversations that outlive their workers and their server."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.servers import (
    count,
    has_ready,
    info,
    outcome_code,
    serving,
    wait_for,
    worker_pids,
    workers,
)

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

SLOW = {"default": {"model": "sim/slow", "options": {"seed": 7, "latency_ms": 100}}}
CHAT = {"module": "ChainOfThought", "signature": "question, history: history -> answer"}


async def begin(client: Client, session: str = "talk") -> None:
    await client.call("program.create", {"spec": CHAT}, program="chat")
    await client.call("session.open", {}, program="chat", session=session)


async def say(client: Client, number: int, session: str = "talk") -> object:
    """A turn; the offline model answers what the whole prompt makes it answer, the past included."""
    return await client.call(
        "program.predict", {"inputs": {"question": f"question {number}"}}, session=session
    )


async def past(client: Client, session: str = "talk") -> list[object]:
    got = cast("dict[str, Any]", await client.call("session.get", {}, session=session))
    return cast("list[object]", got["history"])


async def until_at_work(client: Client, turn: asyncio.Future[object]) -> None:
    """Wait until a worker has the turn, or it is over."""
    await wait_for(client, lambda now: turn.done() or any(row["calls"] for row in now["workers"]))


async def undisturbed(turns: int) -> list[object]:
    async with serving() as client:
        await begin(client)
        for number in range(turns):
            await say(client, number)
        return await past(client)


async def test_a_conversation_whose_worker_dies_after_each_turn_is_the_same() -> None:
    """Each turn runs in another worker than the one before."""
    turns = count("turns", 16)
    async with serving(limit_s=120) as client:
        await begin(client)
        for number in range(turns):
            await say(client, number)
            home = cast("dict[str, Any]", await client.call("session.get", {}, session="talk"))["worker"]
            (pid,) = [row["pid"] for row in await workers(client) if row["worker"] == home]
            os.kill(pid, signal.SIGKILL)
        disturbed = await past(client)
    assert turns == len(disturbed)
    assert await undisturbed(turns) == disturbed


async def test_a_conversation_whose_workers_die_in_the_middle_is_the_same() -> None:
    """Whatever they were doing: a turn is made again from the one before, or was stored."""
    turns = count("turns", 16) // 2
    async with serving("--recycle-after-calls", "2", limit_s=120) as client:
        await begin(client)
        for number in range(turns):
            turn = asyncio.ensure_future(say(client, number))
            if number % 3 == 0:
                await until_at_work(client, turn)
                for pid in await worker_pids(client):
                    with suppress(ProcessLookupError):  # it has just been recycled
                        os.kill(pid, signal.SIGKILL)
            await turn
        disturbed = await past(client)
    assert await undisturbed(turns) == disturbed


async def test_a_conversation_goes_on_after_its_server(tmp_path: Path) -> None:
    """Killed in the middle of a turn: what was answered is there, and the talk goes on."""
    environment = {"DSPEX_STORE": f"sqlite:{tmp_path}/state.db"}
    answered = 0
    for life in range(3):
        with suppress(DSPexError):  # the last turn of each life, which has no answer
            async with serving(environment=environment, lms=SLOW) as client:
                if life == 0:
                    await begin(client)
                answered = len(await when_free(client, answered))
                for number in range(3):
                    await say(client, answered + number)
                last = asyncio.ensure_future(say(client, answered + 3))
                answered += 3
                await until_at_work(client, last)
                os.kill((await info(client))["pid"], signal.SIGKILL)
                await last
    async with serving(environment=environment) as client:
        questions = [cast("dict[str, str]", turn)["question"] for turn in await past(client)]
    assert [f"question {number}" for number in range(len(questions))] == questions
    assert answered <= len(questions)


async def when_free(client: Client, least: int) -> list[object]:
    """The past of the session; a server that was killed has it for some seconds still."""
    while await outcome_code(client, "state.migrate", {"worker": 1}, session="talk") == "session_busy":
        await asyncio.sleep(0.2)
    history = await past(client)
    assert least <= len(history)
    return history


async def test_a_session_moves_where_it_is_told(client: Client) -> None:
    """And its worker keeps it, though the other one is idle."""
    await begin(client)
    await say(client, 0)
    for _ in range(4):
        home = cast("dict[str, Any]", await client.call("session.get", {}, session="talk"))["worker"]
        (other,) = [row["worker"] for row in await workers(client) if row["worker"] != home]
        await client.call("state.migrate", {"worker": other}, session="talk")
        await say(client, 1)
        now = cast("dict[str, Any]", await client.call("session.get", {}, session="talk"))["worker"]
        assert other == now


async def test_many_sessions_share_the_workers(client: Client) -> None:
    """Each has its own past and nobody else's, under recycling."""
    await client.call("program.create", {"spec": CHAT}, program="chat")
    names = [f"s{n}" for n in range(20)]
    for name in names:
        await client.call("session.open", {}, program="chat", session=name)
    for turn in range(3):
        calls = [
            client.call("program.predict", {"inputs": {"question": f"{name} {turn}"}}, session=name)
            for name in names
        ]
        for call in calls:
            await call
        await client.call("pool.recycle", {})
    await wait_for(client, has_ready(2))
    for name in names:
        history = cast("list[dict[str, object]]", await past(client, name))
        assert [f"{name} {turn}" for turn in range(3)] == [message["question"] for message in history]
