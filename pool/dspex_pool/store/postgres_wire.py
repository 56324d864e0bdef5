"""A connection to PostgreSQL: asyncpg's, for one question at a time.

asyncpg's pool is not used: it waits for a cancelled statement to be acknowledged before it gives
a connection back or closes it, which a network that swallows everything never does.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from .connections import Lost
from .failures import Damaged, Full, ReadOnly, Refused, StoreError, Unavailable
from .server_clock import ServerClock

Row: TypeAlias = Sequence[Any]
"""A row of an answer."""

Answer = TypeVar("Answer")

APPLICATION: Final = "dspex"
"""What PostgreSQL calls us in its lists."""

IDLE_S: Final = 1800.0
"""A connection that was not used for so long is not trusted: a router may have forgotten it."""

AGAIN_S: Final = 0.01
"""Until a transaction that met another one is tried again, at most."""

_MEETINGS: Final = frozenset(("40001", "40P01"))
_VANISHED: Final = frozenset(("42P01", "42883", "3F000", "P0002"))  # table, function, schema, row


class Vanished(StoreError):
    """Something is not there that was made when the store was opened."""


# The first of these that an error's SQLSTATE begins with.
_MEANINGS: Final[Sequence[tuple[str, type[StoreError], str]]] = (
    ("25006", ReadOnly, "is read-only"),
    ("28", Refused, "does not accept the credentials"),
    ("3D000", Refused, "has no such database"),
    ("42501", Refused, "does not permit its user what is needed; docs/store.md says what that is"),
    ("53100", Full, "has no room on its disk"),
    ("53200", Full, "has no memory left"),
    ("53", Unavailable, "takes no more connections"),
    ("54000", Full, "takes nothing as large as this"),
    ("55", Unavailable, "had to wait for somebody's lock"),
    ("57014", Unavailable, "took too long"),
    ("57", Unavailable, "is starting, stopping or recovering"),
    ("58", Unavailable, "cannot read or write its files"),
    ("XX000", Unavailable, "failed inside"),
    ("XX", Damaged, "has damaged tables or indexes"),
)

_PLACE: Final = re.compile(r"(?:[^:/?#@\[\],]*|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")


class PostgresAddress:
    """Where a PostgreSQL is, and how to get in.

    Args:
        url: `postgresql://`, with asyncpg's options. Several hosts may be given, with commas.

    Raises:
        ValueError: when it is none. The message holds nothing of it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._name = _name_of(url)

    def __repr__(self) -> str:
        return f"PostgresAddress({self})"

    def __str__(self) -> str:
        return self._name


def _name_of(url: str) -> str:
    # A password with a slash in it would have ended up in the path, as part of a name.
    with suppress(ValueError):
        parts = urlsplit(url)
        places = parts.netloc.rpartition("@")[2]
        is_one = parts.scheme in {"postgresql", "postgres"} and "@" not in parts.path
        if is_one and all(_PLACE.fullmatch(place) for place in places.split(",")):
            options = parse_qs(parts.query)
            places = places or options.get("host", ["localhost"])[0]
            database = unquote(parts.path[1:]) or options.get("database", options.get("dbname", [""]))[0]
            return f"postgresql:{places}/{database}"
    raise ValueError("a URL such as postgresql://host:5432/database was expected")


class PostgresWire:
    """A connection that runs statements.

    Attributes:
        is_waiting: See `connections.Connection`.
        clock: What is known of the server's time.
        writer: The id of its row in `dspex.writers`; none on a server that was read-only.
        is_new: Nobody has asked anything on it since it was made.
    """

    def __init__(self, connection: asyncpg.Connection, name: str, timeout_s: float) -> None:
        self._connection = connection
        self._name = name
        self._statements: dict[str, asyncpg.PreparedStatement] = {}
        self._used_s = time.monotonic()
        self.is_waiting = False
        self.clock = ServerClock(timeout_s)
        self.writer = ""
        self.is_new = True

    @classmethod
    async def connect(cls, address: PostgresAddress, timeout_s: float) -> PostgresWire:
        """Connect and authenticate.

        Raises:
            StoreError: as the server says.
            Lost: when there is none, or it went away.
        """
        try:
            connection = await asyncpg.connect(
                address.url, timeout=timeout_s, server_settings={"application_name": APPLICATION}
            )
        except asyncpg.TargetServerAttributeNotMatched:
            raise ReadOnly(f"{address}: no server of these takes writes") from None
        except (asyncpg.InterfaceError, ValueError, TypeError):
            raise Refused(f"{address}: the address has options that do not fit") from None
        except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError, EOFError) as failure:
            raise translate(failure, str(address)) from None
        return cls(connection, str(address), timeout_s)

    def is_usable(self) -> bool:
        """Whether the server has not closed it, and it was used lately."""
        return not self._connection.is_closed() and time.monotonic() - self._used_s < IDLE_S

    def abort(self) -> None:
        """Close it at once. What the server does for it ends by the time limit of statements."""
        self._connection.terminate()

    async def close(self) -> None:
        """Say good-bye, so that the server's log has nothing to complain of."""
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._connection.close()

    def require_writer(self) -> None:
        """See that changes can be made on it.

        Raises:
            ReadOnly: when the server takes none now.
            Lost: when it took none once; a new connection may fare better.
        """
        was_new, self.is_new = self.is_new, False
        if not self.writer and was_new:
            raise ReadOnly(f"{self._name} is read-only")
        if not self.writer:
            raise Lost("the connection is one for reading")

    async def rows(self, statement: str, *arguments: object) -> list[Row]:
        """Run a statement; what it gives.

        A transaction that met another one in a ring, or made what another one made, is run again;
        the caller bounds the time.

        Raises:
            StoreError: as the server says; nothing was changed.
            Lost: when there is no answer.
        """
        while True:
            try:
                return await self._once(statement, arguments)
            except asyncpg.PostgresError as failure:
                translated = translate(failure, self._name)
                self.is_waiting = isinstance(translated, Lost)
                if isinstance(translated, ReadOnly):
                    self.abort()  # behind the same address there may be another one by now
                if failure.sqlstate not in _MEETINGS:
                    raise translated from None
            except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as failure:
                raise translate(failure, self._name) from None
            await asyncio.sleep(random.uniform(0, AGAIN_S))

    async def _once(self, statement: str, arguments: Sequence[object]) -> list[Row]:
        prepared = self._statements.get(statement)
        if prepared is None:
            prepared = self._statements[statement] = await self._connection.prepare(statement)
        self.is_waiting = True  # not before: what was only prepared has done nothing
        rows = await prepared.fetch(*arguments)
        self.is_waiting = False
        self._used_s = time.monotonic()
        self.is_new = False
        return rows

    async def execute(self, script: str) -> None:
        """Run several statements as one transaction.

        Raises:
            StoreError, Lost: as `rows`.
        """
        try:
            await self._connection.execute(script)
        except (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OSError,
        ) as failure:
            raise translate(failure, self._name) from None


def translate(failure: Exception, name: str) -> StoreError | Lost:
    """What a failure means. The server's own words are left out: they may quote what was sent."""
    state = failure.sqlstate if isinstance(failure, asyncpg.PostgresError) else None
    if state is None or state.startswith("08") or state in {"57P01", "57P02"}:
        # After `57P01` (shutting down) and `57P02` (crashed) the last commit may have happened.
        return Lost(_reason(failure, state))
    if state in _VANISHED:
        return Vanished(f"{name} lacks what was made there ({state})")
    for beginning, kind, meaning in _MEANINGS:
        if state.startswith(beginning):
            return kind(f"{name} {meaning} ({state})")
    return Refused(f"{name} does not do what was asked of it ({state})")


def _reason(failure: Exception, state: str | None) -> str:
    if isinstance(failure, OSError):
        return f"the connection failed: {failure.strerror or type(failure).__name__}"
    return f"the connection was closed ({state or type(failure).__name__})"


def timeout_ms(timeout_s: float) -> str:
    """A time limit as PostgreSQL takes it."""
    return f"{math.ceil(timeout_s * 1000)}ms"
