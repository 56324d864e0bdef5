"""A plain HTTP proxy on loopback: it forwards requests, opens tunnels, and keeps what it could see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.raw_http import raw_server


@dataclass(slots=True)
class Proxy:
    """What it saw.

    Attributes:
        address: `HOST:PORT` of its own.
        requests: Heads of requests, and of tunnels what asked for them.
        tunnelled: Bytes of clients that went through tunnels.
    """

    address: str = ""
    requests: list[str] = field(default_factory=list[str])
    tunnelled: bytearray = field(default_factory=bytearray)


@asynccontextmanager
async def http_proxy() -> AsyncGenerator[Proxy]:
    """It runs while this does."""
    proxy = Proxy()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        proxy.requests.append(head.decode())
        method, target, _ = head.decode().split(" ", 2)
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            both = (_pass_on(reader, far_writer, proxy.tunnelled), _pass_on(far_reader, writer, None))
        else:
            parts = urlsplit(target)
            far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port)
            far_writer.write(head.replace(target.encode(), parts.path.encode(), 1))
            both = (_pass_on(reader, far_writer, None), _pass_on(far_reader, writer, None))
        try:
            await asyncio.gather(*both)
        finally:
            far_writer.close()

    async with raw_server(serve) as base:
        proxy.address = urlsplit(base).netloc
        yield proxy


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray | None
) -> None:
    while data := await reader.read(65_536):
        if seen is not None:
            seen += data
        writer.write(data)
        await writer.drain()
    writer.close()
