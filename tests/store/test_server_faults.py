"""Stores on servers that die, stand still and come back: nothing acknowledged is lost, nobody waits long."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.support.database_places import PostgresPlace, RedisPlace, ServerPlace
from tests.support.database_servers import DatabaseServer, PostgresServer, RedisServer
from tests.support.servers import count
from tests.support.stores import append, body_of, key, put

from dspex_pool.store import Store, Unavailable

TIMEOUT_S = 0.5
LIMIT_S = 5.0
BACK_S = 5.0
STARTING_S = 30.0

# Each keeps what it acknowledges when it is killed; that is what these tests ask for.
DURABLE_REDIS = {"appendonly": "yes", "appendfsync": "always"}
# After a crash it would open each of its thousand files, to be sure of the disk.
DURABLE_POSTGRES = {"fsync": "on", "full_page_writes": "on", "recovery_init_sync_method": "syncfs"}


@pytest.fixture(scope="module")
def durable_redis() -> Iterator[RedisServer]:
    server = RedisServer(DURABLE_REDIS)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def durable_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer(DURABLE_POSTGRES)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@dataclass
class There:
    """A server, a place on it, a store with a short time limit, and one for looking that is patient."""

    server: DatabaseServer
    place: ServerPlace
    store: Store
    beside: Store


@pytest.fixture(params=["redis", "postgres"])
def new_there(request: pytest.FixtureRequest) -> Callable[[], There]:
    server = request.getfixturevalue(f"durable_{request.param}")

    def new() -> There:
        place = RedisPlace(server) if isinstance(server, RedisServer) else PostgresPlace(server)
        return There(server, place, place.build(timeout_s=TIMEOUT_S), place.build())

    return new


@asynccontextmanager
async def opened(new_there: Callable[[], There]) -> AsyncGenerator[There]:
    there = new_there()
    await there.beside.open()
    await wait_until(there.store.open, STARTING_S)
    try:
        yield there
    finally:
        await there.store.close()
        await there.beside.close()
        await there.place.remove()


async def wait_until(ask: Callable[[], Awaitable[object]], within_s: float) -> None:
    """Ask again until it answers; each time it ends within its limit."""
    until_s = time.monotonic() + within_s
    while True:
        started_s = time.monotonic()
        try:
            await ask()
        except Unavailable:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.01)  # a refusal comes at once
        else:
            return
        finally:
            assert time.monotonic() - started_s < LIMIT_S


async def test_a_server_that_is_not_there_yet(new_there: Callable[[], There]) -> None:
    """Opening fails in time; when it is there, the store is used without being opened again."""
    there = new_there()
    there.server.stop()
    started_s = time.monotonic()
    with pytest.raises(Unavailable):
        await there.store.open()
    assert time.monotonic() - started_s < LIMIT_S
    there.server.start()
    await wait_until(lambda: there.store.commit([put()]), BACK_S)
    await there.store.close()
    await there.place.remove()


@pytest.mark.slow
async def test_a_killed_server_has_what_it_acknowledged(new_there: Callable[[], There]) -> None:
    """Eight write while it dies and comes back, again and again; each number is what was told or tried."""
    moments = random.Random(5)
    told = dict.fromkeys(range(8), 0)
    tried = dict(told)
    async with opened(new_there) as there:

        async def write(number: int) -> None:
            while True:
                tried[number] = told[number] + 1
                change = put(f"n/{number}", b"%d" % tried[number]), append(journal=f"j/{number}")
                try:
                    await there.store.commit(change)
                    told[number] = tried[number]
                except Unavailable as failure:
                    if failure.maybe_applied:  # as whoever wants to know must do
                        await wait_until(lambda: settle(number), STARTING_S)

        async def settle(number: int) -> None:
            await asyncio.sleep(2 * TIMEOUT_S)
            body = await body_of(there.store, f"n/{number}")
            found = int(body or b"0")
            assert found in {told[number], tried[number]}
            told[number] = found

        writers = [asyncio.create_task(write(number)) for number in told]
        for _ in range(count("store_kills", 4)):
            await asyncio.sleep(moments.random() * 0.3)
            await asyncio.to_thread(there.server.kill)
            there.server.launch()
            await asyncio.to_thread(there.server.wait_until_ready)
            await wait_until(lambda: there.store.get([key()]), BACK_S)
        for writer in writers:
            writer.cancel()
        ends = await asyncio.gather(*writers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
        await asyncio.sleep(2 * TIMEOUT_S)
        assert sum(told.values()) > 8
        for number, acknowledged in told.items():
            body = int(await body_of(there.beside, f"n/{number}") or b"0")
            assert body in {acknowledged, tried[number]}
            assert body == len(await there.beside.entries(f"j/{number}", limit=10_000))


@pytest.mark.slow
async def test_a_server_that_stands_still(new_there: Callable[[], There]) -> None:
    """Everybody hears so in time; a commit of then is done or not, and reading settles it."""
    async with opened(new_there) as there:
        await wait_until(lambda: there.store.commit([put("before")]), BACK_S)
        there.server.pause()
        started_s = time.monotonic()
        asked = [there.store.commit([put(str(number)), append()]) for number in range(12)]
        answers = await asyncio.gather(*asked, there.store.get([key()]), return_exceptions=True)
        assert time.monotonic() - started_s < LIMIT_S
        assert all(isinstance(answer, Unavailable) for answer in answers), answers
        await asyncio.sleep(2 * TIMEOUT_S)
        there.server.go_on()
        await wait_until(lambda: there.store.get([key()]), BACK_S)
        settled = await look(there.beside)
        await asyncio.sleep(2 * TIMEOUT_S)
        assert settled == await look(there.beside)
        assert settled[0] == settled[1] + 1
        await wait_until(lambda: there.store.commit([put("after")]), BACK_S)


async def look(store: Store) -> tuple[int, int]:
    """How many records and entries there are."""
    return len(await store.scan("thing", limit=1000)), len(await store.entries("j"))
