"""The HTTP connections of one process: a pool for each event loop, made at its first request.

None is made before: a zygote that forks has none, and a forked process does not use those of its
parent. Programs without an async form run in threads and wait there; their requests are made on
a loop of their own, in one thread, which is started by the first of them. On the worker's loop a
blocking call would wait for itself.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import aiohttp

T = TypeVar("T")

MAX_CONNECTIONS: Final = 512
"""For each loop. A worker takes fewer calls than this; what is beyond waits, within its time."""

IDLE_S: Final = 15.0
CONNECT_S: Final = 10.0
"""A host that does not take a connection by then is down, and waiting would only delay the error."""


_inherited: Final[list[object]] = []


class Connections:
    """Those of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._aside: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Connections({len(self._sessions)} loops)"

    def session(self) -> aiohttp.ClientSession:
        """That of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._check_process()
            session = self._sessions.get(loop)
            if session is None or session.closed:
                for ended in [one for one in self._sessions if one.is_closed()]:
                    del self._sessions[ended]
                session = self._sessions[loop] = _open()
        return session

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work on the loop for programs in threads; this thread waits."""
        return asyncio.run_coroutine_threadsafe(work, self._loop_aside()).result()

    async def aclose(self) -> None:
        """Close those of the running loop and of the loop aside; others may be in use."""
        here = asyncio.get_running_loop()
        with self._lock:
            self._check_process()
            session, aside, thread = self._sessions.pop(here, None), self._aside, self._thread
            other = None if aside is None else self._sessions.pop(aside, None)
            self._aside = self._thread = None
        if session is not None:
            await session.close()
        if aside is not None and thread is not None:
            if other is not None:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(other.close(), aside))
            aside.call_soon_threadsafe(aside.stop)
            await asyncio.to_thread(thread.join)
            aside.close()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            # Kept, and never touched: closing a connection here, be it by the garbage collector,
            # would take it out of the parent's epoll set, which is the same one.
            _inherited.append(self._sessions)
            self._pid, self._sessions, self._aside, self._thread = os.getpid(), {}, None, None

    def _loop_aside(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            self._check_process()
            if self._aside is None:
                self._aside = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._aside.run_forever, name="dspex-requests", daemon=True
                )
                self._thread.start()
            return self._aside


def _open() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=IDLE_S)
    reused = aiohttp.TraceConfig()
    reused.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "dspex"},
        # A small body that unpacks to a huge one would pass every bound.
        auto_decompress=False,
        trace_configs=[reused],
    )


async def _note_reuse(session: aiohttp.ClientSession, context: Any, parameters: object) -> None:
    """Let the request know that its connection had served others before."""
    context.trace_request_ctx["reused"] = True
