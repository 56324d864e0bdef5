"""A real server whose store is not as it should be: full, read-only, locked, gone, rewound, damaged.

Whatever it is: predictions with programs that are known go on, the error says what is wrong, and once
that is put right all is as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.database_servers import PASSWORD, PostgresServer, RedisServer, free_port
from tests.support.servers import has_ready, serving, wait_for
from tests.support.small_disks import allow_writes, small_disk, use_up, view_of
from tests.support.state_load import (
    INPUTS,
    PLAIN,
    comes_back,
    ends_in_time,
    refusals_without_store,
    store_versions,
)

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow


@asynccontextmanager
async def serving_one(url: str) -> AsyncGenerator[Client]:
    """A server with a program `p` that has been used, so that a worker has it."""
    async with serving(environment={"DSPEX_STORE": url}) as client:
        await wait_for(client, has_ready(2))  # what is measured is the store's time, and not a boot's
        await comes_back(client, "program.create", {"spec": PLAIN}, program="p", write_id="w")
        await client.predict("p", {"question": "?"})
        yield client


async def refusal_of(client: Client, method: str, payload: object, **meta: Any) -> DSPexError:
    """How a call fails, in time."""
    failure = await ends_in_time(client.call(method, payload, **meta))
    assert failure is not None
    return failure


async def becomes(client: Client, code: str, method: str, payload: object, **meta: Any) -> DSPexError:
    """The error with that code, once it is the one that comes; that is soon."""
    async with asyncio.timeout(10):
        while True:
            failure = await ends_in_time(client.call(method, payload, **meta))
            if failure is not None and failure.code == code:
                return failure
            await asyncio.sleep(0.05)


async def check_refused(client: Client, code: str, *, is_final: bool = True) -> DSPexError:
    """Writes fail with that code, and predictions with what is known go on."""
    failure = await becomes(client, code, "program.update", {}, program="p")
    assert (not is_final, False) == (failure.retryable, failure.maybe_executed)
    for _ in range(5):  # the write that failed has left doubts of what was read before
        await client.predict("p", {"question": "?"})
    return failure


def sql(path: Path, statement: str, *values: object) -> None:
    """Change the file behind the server's back."""
    with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


# Files of SQLite


async def test_a_disk_without_room(tmp_path: Path) -> None:
    """What is acknowledged is there, what does not fit is not, and with room again it fits."""
    with small_disk(tmp_path / "disk", 2048) as disk:
        ballast = disk / "ballast"
        async with serving_one(f"sqlite:{disk}/state.db") as client:
            use_up(ballast)
            kept = 0
            while (
                await ends_in_time(client.call("program.update", {"note": "x" * 9000}, program="p")) is None
            ):
                kept += 1
                assert kept < 1000
            failure = await check_refused(client, "store_full")
            assert str(disk) in failure.message
            got = cast("dict[str, int]", await client.call("program.get", {}, program="p"))
            assert 1 + kept == got["newest"]
            ballast.unlink()
            await comes_back(client, "program.update", {}, program="p", version=1 + kept)


async def test_a_folder_that_becomes_read_only(tmp_path: Path) -> None:
    """And writable again."""
    source = tmp_path / "source"
    source.mkdir()
    await store_versions(source / "state.db", p=1)
    with view_of(source, tmp_path / "view") as view:
        async with serving(environment={"DSPEX_STORE": f"sqlite:{view}/state.db"}) as client:
            await client.predict("p", {"question": "?"})
            await check_refused(client, "store_read_only")
            assert "store_read_only" == (await refusal_of(client, "session.open", {}, program="p")).code
            allow_writes(view)
            await comes_back(client, "program.update", {}, program="p")


async def test_another_process_that_locks_the_file(tmp_path: Path) -> None:
    """For longer than a server waits; what it gave up is not done later."""
    path = tmp_path / "state.db"
    async with serving_one(f"sqlite:{path}") as client:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await check_refused(client, "store_unavailable", is_final=False)
            other.execute("ROLLBACK")
        await comes_back(client, "program.update", {}, program="p", version=1)


async def test_a_file_that_is_taken_away(tmp_path: Path) -> None:
    """Going on with an empty one would be to forget what was acknowledged; it may come back."""
    path, elsewhere = tmp_path / "state.db", tmp_path / "elsewhere.db"
    async with serving_one(f"sqlite:{path}") as client:
        path.rename(elsewhere)
        await check_refused(client, "store_rewound")
        # Who reads looks for the file once a second as well, and by itself.
        await becomes(client, "store_rewound", "program.get", {}, program="p")
        elsewhere.rename(path)
        await comes_back(client, "program.update", {}, program="p")


async def test_a_file_that_cannot_be_one(tmp_path: Path) -> None:
    """The server serves without it until it can."""
    path = tmp_path / "state.db"
    path.mkdir()
    async with serving(environment={"DSPEX_STORE": f"sqlite:{path}"}) as client:
        await refusals_without_store(client, "store_refused")
        await wait_for(client, has_ready(2))
        path.rmdir()
        await comes_back(client, "program.create", {"spec": PLAIN}, program="p")


async def test_damaged_records(tmp_path: Path) -> None:
    """A version that cannot be read says so and names one that can; all else is as it was."""
    path = tmp_path / "state.db"
    await store_versions(path, p=4, q=1)
    damage = "UPDATE records SET body = CAST(body || 'x' AS BLOB) WHERE collection = ? AND id LIKE ?"
    sql(path, damage, "version", "p%3")
    sql(path, damage, "version", "p%4")
    async with serving(environment={"DSPEX_STORE": f"sqlite:{path}"}) as client:
        for method, payload in (("program.get", {}), ("program.predict", INPUTS), ("program.update", {})):
            failure = await refusal_of(client, method, payload, program="p")
            assert ("program_damaged", 4, 2) == (
                failure.code,
                failure.details["version"],
                failure.details["previous"],
            )
        assert await client.call("program.predict", INPUTS, program="p", version=2)
        assert await client.call("program.predict", INPUTS, program="q")
        listed = cast("dict[str, Any]", await client.call("program.versions", {}, program="p"))
        assert [True, True, False, False] == ["problem" in row for row in listed["versions"]]
        back = cast("dict[str, int]", await client.call("program.rollback", {}, program="p", version=2))
        assert 5 == back["version"]
        assert await client.predict("p", {"question": "?"})


# Servers


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that a test may break."""
    with contextlib.ExitStack() as stack:
        server = RedisServer()
        stack.callback(server.remove)
        server.start()
        yield server


async def test_a_redis_that_has_gone_back_in_time(own_redis: RedisServer) -> None:
    """It has lost what it had acknowledged, and nobody goes on as if nothing had been."""
    async with serving_one(own_redis.url()) as client:
        own_redis.kill()
        own_redis.start()
        await check_refused(client, "store_rewound")
        assert "store_rewound" == (await refusal_of(client, "program.get", {}, program="p")).code


async def test_a_redis_without_room_or_writes(own_redis: RedisServer) -> None:
    """Full, then a replica of another one: reads go on."""
    async with serving_one(own_redis.url()) as client:
        own_redis.ask("CONFIG", "SET", "maxmemory", "1mb")
        await check_refused(client, "store_full")
        assert await client.call("program.get", {}, program="p")
        own_redis.ask("CONFIG", "SET", "maxmemory", "0")
        await comes_back(client, "program.update", {}, program="p")
        own_redis.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        await check_refused(client, "store_read_only")
        assert await client.call("program.get", {}, program="p")
        own_redis.ask("REPLICAOF", "NO", "ONE")
        await comes_back(client, "program.update", {}, program="p", version=2)


async def test_a_postgres_that_takes_no_writes(postgres_server: PostgresServer) -> None:
    """As a standby does."""
    database = postgres_server.new_database()

    def let_write(may: bool) -> None:
        postgres_server.sql(
            f"ALTER DATABASE {database} SET default_transaction_read_only = {'off' if may else 'on'}",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
        )

    async with serving_one(postgres_server.url(database)) as client:
        let_write(False)
        await check_refused(client, "store_read_only")
        assert await client.call("program.get", {}, program="p")
        let_write(True)
        await comes_back(client, "program.update", {}, program="p", version=1)
    postgres_server.give_back_database(database)


def configured(url: str) -> str:
    """What `dspex config` prints."""
    command = [sys.executable, "-m", "dspex_pool", "config"]
    for more in ([], ["--json"]):
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, check=True, env={"DSPEX_STORE": url}
        )
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_a_wrong_password(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """It is refused, and stands in no error, no log and no settings that are shown."""
    wrong, log = "wrong-canary-5b2", tmp_path / "log"
    if kind == "redis":
        server: RedisServer = request.getfixturevalue("own_redis")
        server.ask("CONFIG", "SET", "requirepass", PASSWORD)
        url = server.url(secret=f":{wrong}")
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        url = postgres.url("postgres", user=f"guarded:{wrong}")
    said = configured(url)
    async with serving(environment={"DSPEX_STORE": url, "DSPEX_LOG_LEVEL": "debug"}, stderr=log) as client:
        for failure in await refusals_without_store(client, "store_refused"):
            said += f"{failure.message}{dict(failure.details)}"
        said += repr(await client.call("system.info", {}))
    said += log.read_text()
    assert "127.0.0.1" in said
    assert [] == [secret for secret in (wrong, PASSWORD) if secret in said]


@pytest.mark.parametrize(
    "url",
    ["redis://:canary-5b2@127.0.0.1:99999/0", "redis://:canary-5b2@127.0.0.1:6379/x", "http://canary-5b2"],
)
def test_an_address_that_is_none(url: str) -> None:
    """The server says so in a line, with nothing secret in it, and does not start."""
    command = [sys.executable, "-m", "dspex_pool", "serve"]
    environment = {**os.environ, "DSPEX_STORE": url}
    read_end, write_end = os.pipe()  # a client that stays: for one that has left nothing would be said
    try:
        done = subprocess.run(command, env=environment, stdin=read_end, capture_output=True, check=False)
    finally:
        os.close(read_end)
        os.close(write_end)
    (line,) = done.stderr.decode().splitlines()
    assert (2, b"") == (done.returncode, done.stdout)
    assert line.startswith("dspex serve: ")
    assert "canary" not in line
