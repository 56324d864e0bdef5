"""The whole thing as its users run it: real servers, real pipes, real kills.

Counts that take long have a smaller default; `DSPEX_TEST_<NAME>` sets each (see
`tests.support.servers.count`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.database_servers import PostgresServer, RedisServer
from tests.support.servers import has_ready, serving, wait_for
from tests.support.standing import Standing

from dspex_pool.client import Client


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a server with two workers, both ready."""
    async with serving() as one:
        await wait_for(one, has_ready(2))
        yield one


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def lasting_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store that outlives servers; each backend in turn."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/lasting.db"
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        return redis.url(redis.new_database())
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    return postgres.url(postgres.new_database())


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A server with two workers, for the tests of a file that need none of their own.

    Of one file, so that what it remembers, such as numbers of deleted programs, hangs on nothing else.
    """
    one = Standing(tmp_path_factory.mktemp("standing") / "socket")
    yield one
    one.end()
