"""Places on a server of Redis or PostgreSQL: a database each."""

from __future__ import annotations

import asyncio
from typing import Protocol

from dspex_pool.store import Store
from dspex_pool.store.postgres import PostgresStore
from dspex_pool.store.redis import RedisStore

from .database_servers import DatabaseServer, PostgresServer, RedisServer

# Long, since a machine that does other things as well may stand still for a second.
PATIENT_S = 20.0


class ServerPlace(Protocol):
    """A place on a server, which may be reached in other ways too."""

    @property
    def server(self) -> DatabaseServer: ...

    def build(self, *, timeout_s: float = PATIENT_S, port: int | None = None) -> Store:
        """A store with a time limit, by way of a port, not open."""
        ...

    async def remove(self) -> None: ...


class RedisPlace:
    """A database of a Redis."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._database = server.new_database()

    def build(self, *, timeout_s: float = PATIENT_S, port: int | None = None) -> Store:
        return RedisStore(self.server.url(self._database, port=port), timeout_s=timeout_s)

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def remove(self) -> None:
        """The next one that gets this number empties it."""


class PostgresPlace:
    """A database of a PostgreSQL."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._database = server.new_database()

    def build(self, *, timeout_s: float = PATIENT_S, port: int | None = None) -> Store:
        return PostgresStore(self.server.url(self._database, port=port), timeout_s=timeout_s)

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def remove(self) -> None:
        self.server.give_back_database(self._database)
