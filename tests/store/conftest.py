"""The store of every test here is each of the backends in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from tests.support.database_places import PostgresPlace, RedisPlace
from tests.support.database_servers import PostgresServer, RedisServer
from tests.support.stores import MemoryPlace, NewPlace, Place, SqlitePlace

from dspex_pool.store import Store

BACKENDS = ("memory", "sqlite", "redis", "postgres")
"""Each has a fixture `new_<name>_place`, and each call of what that gives is another, empty place."""


@pytest.fixture
def new_memory_place() -> NewPlace:
    return MemoryPlace


@pytest.fixture
def new_sqlite_place(tmp_path: Path) -> NewPlace:
    numbers = count()

    def new() -> Place:
        return SqlitePlace(tmp_path / str(next(numbers)))

    return new


@pytest.fixture
def new_redis_place(redis_server: RedisServer) -> NewPlace:
    return lambda: RedisPlace(redis_server)


@pytest.fixture
def new_postgres_place(postgres_server: PostgresServer) -> NewPlace:
    return lambda: PostgresPlace(postgres_server)


@pytest.fixture(params=BACKENDS)
def new_place(request: pytest.FixtureRequest) -> NewPlace:
    """Makes places of one backend."""
    return cast("NewPlace", request.getfixturevalue(f"new_{request.param}_place"))


@pytest_asyncio.fixture
async def place(new_place: NewPlace) -> AsyncIterator[Place]:
    """An empty place."""
    one = new_place()
    yield one
    await one.remove()


@pytest_asyncio.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    """An open store on an empty place."""
    one = place.build()
    await one.open()
    yield one
    await one.close()
