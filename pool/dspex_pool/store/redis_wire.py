"""A connection to Redis: redis-py's, for one question at a time.

Only its `Connection` is used, for connecting, TLS, authentication and the protocol. Its client
and its pool are not: they try again by themselves, so a commit could happen twice, and a
connection that was left in the middle of an answer once went back into the pool and gave the
answer to the next one who asked (redis-py #2624, #2665).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    InvalidResponse,
    NoScriptError,
    RedisError,
    ResponseError,
)

from .connections import Lost
from .failures import Damaged, Full, ReadOnly, Refused, StoreError, Unavailable
from .redis_scripts import Script
from .server_clock import ServerClock

Word: TypeAlias = bytes | str | int
Answer: TypeAlias = Any
"""What hiredis makes of an answer: bytes, int, None, or a list of these."""

_DATABASE: Final = re.compile(r"/?\d{0,9}")

# What a script meets may come inside of an error of its own.
_WORDS: Final = re.compile(
    r"\b(BUSY|CLUSTERDOWN|CROSSSLOT|MASTERDOWN|MISCONF|NOPERM|NOREPLICAS|OOM|READONLY|WRONGTYPE)\b"
)

_FORBIDDEN: Final = "The user executing the script can't run this command"
"""NOPERM, as Redis 7 says it inside of a script."""


class _Abortable(AbstractConnection):
    """A connection that can be closed while something is still to be written.

    redis-py's `disconnect` would leave that to the transport, which tries for ever where nobody
    reads, and forgets which transport it was.
    """

    transport: asyncio.WriteTransport | None = None

    async def _connect(self) -> None:
        # Its own, of the class that this one is mixed into.
        await super()._connect()  # type: ignore[safe-super, no-untyped-call]
        assert self._writer is not None
        self.transport = self._writer.transport

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        self._reader = self._writer = None  # else it warns that nobody closed it

    def is_quiet(self) -> bool:
        reader = self._reader
        # `can_read` says as much, but has to be awaited.
        return reader is not None and not reader.at_eof() and not getattr(reader, "_buffer", b"")


class _Tcp(_Abortable, Connection): ...


class _Tls(_Abortable, SSLConnection): ...


class _Unix(_Abortable, UnixDomainSocketConnection): ...


def _options_of(url: str) -> dict[str, Any]:
    # A password with a slash in it would have cut the rest off, as a database that nobody meant.
    with suppress(ValueError, RedisError):
        parts, options = urlsplit(url), dict(parse_url(url))
        if parts.scheme == "unix" and "path" in options:
            return options
        if parts.scheme in {"redis", "rediss"} and "host" in options and _DATABASE.fullmatch(parts.path):
            return options
    raise ValueError("a URL such as redis://host:6379/0 was expected")


class RedisAddress:
    """Where a Redis is, and how to get in.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with redis-py's options.

    Raises:
        ValueError: when it is none. The message holds nothing of it.
    """

    def __init__(self, url: str) -> None:
        options = _options_of(url)
        self._class: type[_Abortable] = _Tcp
        if options.pop("connection_class", None) is SSLConnection:
            self._class = _Tls
        elif "path" in options:
            self._class = _Unix
        # One protocol, one kind of answer, and our own time limits. A URL has no say in these.
        self._options: Mapping[str, Any] = {
            **options,
            "protocol": 2,
            "decode_responses": False,
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "health_check_interval": 0,
            "driver_info": None,
        }

    def __repr__(self) -> str:
        return f"RedisAddress({self})"

    def __str__(self) -> str:
        place = self._options.get("path") or f"{self._options['host']}:{self._options.get('port', 6379)}"
        return f"redis:{place}/{self._options.get('db', 0)}"

    def connection(self) -> _Abortable:
        """A connection that is not connected."""
        return self._class(**self._options)


class RedisWire:
    """A connection that runs scripts.

    Args:
        address: Where to.
        timeout_s: The store's time limit, for its clock.

    Attributes:
        is_waiting: See `connections.Connection`.
        clock: What is known of the server's time.
    """

    def __init__(self, address: RedisAddress, timeout_s: float) -> None:
        self._connection = address.connection()
        self._name = str(address)
        self.is_waiting = False
        self.clock = ServerClock(timeout_s)

    async def connect(self) -> None:
        """Connect, authenticate and choose the database.

        Raises:
            Refused, Unavailable: as the server says.
            Lost: when there is none, or it went away.
        """
        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as failure:
            raise _translate(failure, self._name) from None

    def is_usable(self) -> bool:
        """Whether the server has not closed it, nor sent what nobody asked for."""
        return self._connection.is_quiet()

    def abort(self) -> None:
        """Close it at once."""
        self._connection.abort()

    async def close(self) -> None:
        """Close it; Redis needs no word."""
        self.abort()

    async def run(self, script: Script, *arguments: Word) -> Answer:
        """Run a script, which is sent in full only where the server does not have it.

        Raises:
            StoreError: as the server says; nothing was changed.
            Lost: when there is no answer.
        """
        try:
            return await self.ask(b"EVALSHA", script.sha, 0, *arguments)
        except NoScriptError:
            return await self.ask(b"EVAL", script.text, 0, *arguments)

    async def ask(self, *words: Word) -> Answer:
        """Send one command and get its answer.

        Raises:
            NoScriptError: when it is an EVALSHA of what Redis does not have.
            StoreError, Lost: as `run`.
        """
        if not self.is_usable():
            raise Lost("the connection was closed")  # redis-py would make another without a word
        self.is_waiting = True
        try:
            await self._connection.send_command(*words, check_health=False)
            answer = cast("Answer", await self._connection.read_response())
        except NoScriptError:
            self.is_waiting = False
            raise
        except (RedisError, OSError) as failure:
            translated = _translate(failure, self._name)
            self.is_waiting = isinstance(translated, Lost)
            if isinstance(translated, ReadOnly):
                self.abort()  # behind the same address there may be another one by now
            raise translated from None
        self.is_waiting = False
        return answer


def _translate(failure: Exception, name: str) -> StoreError | Lost:
    """What a failure means. Words of the server's are left out: they may quote what was sent."""
    match failure:
        case AuthenticationError() | AuthorizationError():
            return Refused(f"{name} does not accept the credentials")
        case BusyLoadingError():
            return Unavailable(f"{name} is loading its data")
        case ResponseError():
            return _translate_answer(failure, name)
        case _:
            return Lost(_reason(failure))


def _translate_answer(failure: ResponseError, name: str) -> StoreError:
    text = str(failure)
    found = _WORDS.search(text)
    word = failure.status_code or (found.group() if found else "ERR")
    if word == "ERR" and found:
        word = found.group()
    if _FORBIDDEN in text:
        word = "NOPERM"
    kind, meaning = _MEANINGS.get(word, (Refused, f"does not do what was asked of it ({word})"))
    return kind(f"{name} {meaning}")


_MEANINGS: Final[Mapping[str, tuple[type[StoreError], str]]] = {
    "BUSY": (Unavailable, "is busy with a script of somebody's"),
    "CLUSTERDOWN": (Refused, "is a Redis Cluster; one Redis is needed, with replicas or without"),
    "CROSSSLOT": (Refused, "is a Redis Cluster; one Redis is needed, with replicas or without"),
    "MASTERDOWN": (Unavailable, "is a replica that has lost its master"),
    "MISCONF": (Full, "cannot write to its disk and takes no changes (MISCONF)"),
    "MOVED": (Refused, "is a Redis Cluster; one Redis is needed, with replicas or without"),
    "NOPERM": (Refused, "does not permit its user what is needed; docs/store.md says what that is"),
    "NOREPLICAS": (Unavailable, "has too few replicas and takes no changes (min-replicas-to-write)"),
    "OOM": (Full, "has no memory left (maxmemory)"),
    "READONLY": (ReadOnly, "is a read-only replica"),
    "WRONGTYPE": (Damaged, "has something else under a key of ours (WRONGTYPE)"),
}


def _reason(failure: Exception) -> str:
    if isinstance(failure, OSError):
        return f"the connection failed: {failure.strerror or type(failure).__name__}"
    if isinstance(failure, InvalidResponse):
        return "it does not speak Redis's protocol"
    return str(failure)  # redis-py's own words, of host, port and the system's error
