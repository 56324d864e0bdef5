"""A TCP proxy on loopback that breaks the network for whoever goes through it, at a chosen byte.

What is armed holds for bytes from then on: the first so many of a direction pass, the rest meets
the fault. `heal` ends it; what was held back is delivered then, even to or from somebody who has
left meanwhile, as a network may do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

CHUNK_BYTES: Final = 65536
SLICES_A_SECOND: Final = 50

Direction = Literal["up", "down"]


class Fault(StrEnum):
    """What befalls bytes."""

    CUT = "cut"  # the connection is reset
    HOLD = "hold"  # they wait for `heal`
    SWALLOW = "swallow"  # they and all that follow them are gone, and nobody is told
    DELAY = "delay"  # each piece comes later by `amount` seconds
    SLOW = "slow"  # `amount` bytes a second
    REFUSE = "refuse"  # nobody listens; for new connections only


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A fault and where it begins.

    Attributes:
        fault: What happens.
        direction: `up` to the server, `down` to its client.
        after_bytes: So many of that direction still pass, counted on each connection.
        amount: Of a delay or a rate.
    """

    fault: Fault
    direction: Direction = "up"
    after_bytes: int = 0
    amount: float = 0.0


class _Cut(Exception):
    pass


class _Link:
    """A connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers: dict[Direction, asyncio.StreamWriter] = {"up": server, "down": client}
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.is_swallowing = False

    def abort(self) -> None:
        for writer in self.writers.values():
            writer.transport.abort()


class Proxy:
    """Passes on to a port of 127.0.0.1.

    Attributes:
        port: Where it listens.
        connections: How many there were.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._trouble: Trouble | None = None
        self._healed = asyncio.Event()
        self._healed.set()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Proxy]:
        """Listen while the body runs."""
        await self._listen()
        try:
            yield self
        finally:
            await self._stop_listening()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def arm(self, trouble: Trouble) -> None:
        """Let this happen from now on."""
        self._trouble = trouble
        self._healed.clear()
        for link in self._links:
            link.passed = {"up": 0, "down": 0}
        if trouble.fault is Fault.REFUSE:
            await self._stop_listening()
            self.cut()

    async def heal(self) -> None:
        """Let everything pass again."""
        self._trouble = None
        self._healed.set()
        if self._server is None:
            await self._listen()

    def cut(self) -> None:
        """Reset all connections."""
        for link in list(self._links):
            link.abort()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect_both(reader, client)
        except* (_Cut, OSError, asyncio.CancelledError):
            pass  # cancelled at the end of the proxy
        finally:
            client.transport.abort()
            self._tasks.discard(task)

    async def _connect_both(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server_reader, server = await asyncio.open_connection("127.0.0.1", self._target)
        link = _Link(client, server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(link, "up", reader))
                both.create_task(self._pump(link, "down", server_reader))
        finally:
            link.abort()
            self._links.discard(link)

    async def _pump(self, link: _Link, direction: Direction, reader: asyncio.StreamReader) -> None:
        writer = link.writers[direction]
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._pass_on(link, direction, writer, data)
        if link.is_swallowing:
            await self._healed.wait()  # that one side has left is not told either
        with contextlib.suppress(OSError):
            writer.close()

    async def _pass_on(
        self, link: _Link, direction: Direction, writer: asyncio.StreamWriter, data: bytes
    ) -> None:
        trouble = self._trouble
        if link.is_swallowing:
            return
        if trouble is None or trouble.direction != direction:
            await self._write(writer, data)
            return
        passes = max(0, trouble.after_bytes - link.passed[direction])
        link.passed[direction] += len(data)
        await self._write(writer, data[:passes])
        if data[passes:]:
            await self._befall(link, trouble, writer, data[passes:])

    async def _befall(self, link: _Link, trouble: Trouble, writer: asyncio.StreamWriter, data: bytes) -> None:
        match trouble.fault:
            case Fault.CUT | Fault.REFUSE:
                link.abort()
                raise _Cut
            case Fault.HOLD:
                await self._healed.wait()
                await self._write(writer, data)
            case Fault.SWALLOW:
                link.is_swallowing = True
            case Fault.DELAY:
                await asyncio.sleep(trouble.amount)
                await self._write(writer, data)
            case Fault.SLOW:
                step = max(1, int(trouble.amount / SLICES_A_SECOND))
                while data and not self._healed.is_set() and not writer.is_closing():
                    await self._write(writer, data[:step])
                    data = data[step:]
                    await asyncio.sleep(1 / SLICES_A_SECOND)
                await self._write(writer, data)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        with contextlib.suppress(OSError):  # who was to get it has left
            if data:
                writer.write(data)
                await writer.drain()
