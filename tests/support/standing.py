"""A server that stands while tests come and go, each as a client with functions and models of its own.

Starting one costs three seconds of CPU, most of which is DSPy's import. Tests that kill
nothing, set nothing and count nothing of the whole server need none of their own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from asyncio import timeout
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Final

from dspex_pool.client import Client
from dspex_pool.client_functions import HostFunction

from .servers import SIM, server_environment
from .survivors import alive_after, describe, end_marked, marked, new_mark

STARTING_S: Final = 30.0


class Standing:
    """Started at the first use, and anew after a test that failed.

    Args:
        path: Where its socket is to be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = new_mark()
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.asynccontextmanager
    async def client(
        self,
        *,
        functions: Mapping[str, HostFunction] | None = None,
        lms: Mapping[str, object] = SIM,
        limit_s: float = 60.0,
    ) -> AsyncGenerator[Client]:
        """A client; what it has stored is gone afterwards.

        Args:
            functions: Host functions.
            lms: Language models.
            limit_s: The body is cancelled when it takes longer.

        Raises:
            TimeoutError: after `limit_s`.
        """
        self._start()
        try:
            async with (
                timeout(limit_s),
                Client.connect(f"unix:{self._path}", functions=functions, lms=lms) as client,
            ):
                yield client
                await _tidy(client)
        except BaseException:
            self.end()  # nobody knows what it is at
            raise

    def _start(self) -> None:
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dspex_pool", "serve", "--listen", f"unix:{self._path}", "--workers", "2"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | server_environment(self._mark),
        )
        end_s = time.monotonic() + STARTING_S
        while not _listens(self._path):
            assert time.monotonic() < end_s
            time.sleep(0.01)

    def end(self) -> None:
        """End it as its user does.

        Raises:
            AssertionError: when it says that something was wrong, or something of it is left.
        """
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.send_signal(signal.SIGTERM)
            assert 0 == process.wait(STARTING_S)
            assert [] == [describe(pid) for pid in alive_after(1.0, marked(self._mark))]
        finally:
            end_marked(self._mark)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as visitor:
        try:
            visitor.connect(str(path))
        except OSError:  # it is not there, or bound and not listened at yet
            return False
    return True


async def _tidy(client: Client) -> None:
    for session in await _ids(client, "session"):
        await client.call("session.close", {}, session=session)
    for program in await _ids(client, "program"):
        await client.call("program.delete", {}, program=program)
    for dataset in await _ids(client, "dataset"):
        await client.call("dataset.delete", {"dataset": dataset})


async def _ids(client: Client, kind: str) -> list[str]:
    listed: Any = await client.call(f"{kind}.list", {"limit": 1000})
    return [row[kind] for row in listed[f"{kind}s"]]
