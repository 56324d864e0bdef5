"""Servers that share a store: what one writes the others use, and a session is one server's at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import pytest
import pytest_asyncio
from tests.defects.planting import planted
from tests.support.database_servers import PostgresServer
from tests.support.servers import info, serving
from tests.support.state_load import CHAT, PLAIN

from dspex_pool.client import Client
from dspex_pool.library.shelf import HEAD_FRESH_S
from dspex_pool.session_leases import LEASE_S
from dspex_pool.sessions import IDLE_S
from dspex_protocol import DSPexError

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SOON_S: Final = 5.0
"""For what takes a second by itself; the rest is for the machine."""

HURRIED: Final = """
    from dspex_pool import session_leases, sessions
    sessions.IDLE_S, sessions.SWEEP_S, sessions.RENEW_S = 0.4, 0.1, 0.5
    session_leases.LEASE_S = 1.5
    from dspex_pool.library import shelf
    shelf.HEAD_FRESH_S = 0.2
"""
"""Times that a test need not wait for."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store of one machine and one of many, empty; leases of all are tested in `tests/store`."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path_factory.mktemp('store')}/state.db"
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        database = postgres.new_database()
        yield postgres.url(database)
        postgres.give_back_database(database)


@asynccontextmanager
async def two_serving(url: str, **environment: str) -> AsyncGenerator[tuple[Client, Client]]:
    """Clients of two servers."""
    whole = {"DSPEX_STORE": url, **environment}
    flags = ("--workers", "1")
    async with serving(*flags, environment=whole) as one, serving(*flags, environment=whole) as other:
        yield one, other


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Client, Client]]:
    """Two servers in a hurry, for all tests of one store; the last one kills the first server."""
    async with two_serving(url, **planted(tmp_path_factory.mktemp("plant"), "serve", HURRIED)) as both:
        yield both


async def say(client: Client, text: str) -> int:
    """A turn; which it was."""
    outcome = await client.outcome("program.predict", {"inputs": {"question": text}}, session="s")
    return cast("int", outcome.meta["turn"])


async def refused_turn(client: Client) -> DSPexError:
    with pytest.raises(DSPexError) as caught:
        await say(client, "refused")
    assert ("session_busy", True) == (caught.value.code, caught.value.retryable)
    return caught.value


async def say_when_free(client: Client, text: str, within_s: float) -> tuple[int, float]:
    """A turn as soon as the session is free: which it was, and after how long."""
    began_s = time.monotonic()
    while True:
        try:
            return await say(client, text), time.monotonic() - began_s
        except DSPexError as refusal:
            assert "session_busy" == refusal.code
            assert time.monotonic() - began_s < within_s
        await asyncio.sleep(0.05)


async def questions(client: Client) -> list[str]:
    got = cast("dict[str, Any]", await client.call("session.get", {}, session="s"))
    return [turn["question"] for turn in got["history"]]


async def test_a_version_is_used_by_other_servers_after_a_second(pair: tuple[Client, Client]) -> None:
    """And what one has deleted the others do not use for longer."""
    one, other = pair
    await one.call("program.create", {"spec": PLAIN}, program="p")
    await other.predict("p", {"question": "?"})
    await one.call("program.update", {}, program="p")
    assert 2 == await settled(other, 2)
    await one.call("program.delete", {}, program="p")
    assert "unknown_program" == await settled(other, "unknown_program")


async def settled(client: Client, until: object) -> object:
    """On which version predictions run, or how they fail, once that is as expected."""
    async with asyncio.timeout(SOON_S):
        while (ran := await version_that_runs(client)) != until:
            await asyncio.sleep(0.02)
    return ran


async def version_that_runs(client: Client) -> object:
    try:
        outcome = await client.outcome("program.predict", {"inputs": {"question": "?"}}, program="p")
    except DSPexError as failure:
        return failure.code
    return outcome.meta["version"]


async def test_one_server_makes_the_turns(pair: tuple[Client, Client]) -> None:
    """The other one hears when to come back, and may read; idle it is given away."""
    one, other = pair
    await one.call("program.create", {"spec": CHAT}, program="chat")
    await one.call("session.open", {}, program="chat", session="s")
    assert 1 == await say(one, "one")
    assert (await refused_turn(other)).retry_after_ms
    assert ["one"] == await questions(other)
    assert 2 == (await say_when_free(other, "two", SOON_S))[0]
    await refused_turn(one)
    assert 3 == (await say_when_free(one, "three", SOON_S))[0]


async def test_a_session_goes_on_after_the_death_of_its_server(pair: tuple[Client, Client]) -> None:
    """When its lease is over, from the turn that was answered last."""
    one, other = pair
    assert 4 == (await say_when_free(one, "four", SOON_S))[0]
    os.kill((await info(one))["pid"], signal.SIGKILL)
    assert 5 == (await say_when_free(other, "five", SOON_S))[0]
    assert ["one", "two", "three", "four", "five"] == await questions(other)


async def test_how_long_it_takes(tmp_path: Path) -> None:
    """A version a second; a session two after its last turn, and fifteen after a server's death."""
    assert (1.0, 2.0, 15.0) == (HEAD_FRESH_S, IDLE_S, LEASE_S)  # as the protocol says
    async with two_serving(f"sqlite:{tmp_path}/state.db") as (one, other):
        await one.call("program.create", {"spec": PLAIN}, program="p")
        await other.predict("p", {"question": "?"})
        await one.call("program.update", {}, program="p")
        assert 2 == await settled(other, 2)
        await one.call("program.create", {"spec": CHAT}, program="chat")
        await one.call("session.open", {}, program="chat", session="s")
        await say(one, "one")
        turn, waited_s = await say_when_free(other, "two", IDLE_S + SOON_S)
        assert 2 == turn
        assert waited_s > IDLE_S / 2
        refusal = await refused_turn(one)
        assert refusal.retry_after_ms is not None
        assert LEASE_S * 500 < refusal.retry_after_ms <= LEASE_S * 1000
