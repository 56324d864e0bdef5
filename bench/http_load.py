"""Closed-loop load over HTTP/1.1 keep-alive, as lean as the load on our own frames."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from functools import partial
from time import perf_counter


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class HTTPLoad:
    """Runs `total` POSTs over `outstanding` connections.

    Attributes:
        latencies_s: One for each request.
        elapsed_s: From the first request to the last response.
    """

    def __init__(self, port: int, total: int, outstanding: int) -> None:
        self._port = port
        self._total = total
        self._outstanding = outstanding
        self.latencies_s: list[float] = []
        self.elapsed_s = 0.0

    async def run(self) -> None:
        """Run all requests; raises when one is not answered with 200."""
        loop = asyncio.get_running_loop()
        numbers = iter(range(self._total))
        ended = [loop.create_future() for _ in range(self._outstanding)]
        began_s = perf_counter()
        for done in ended:
            connect = partial(_Connection, numbers, self.latencies_s, done)
            await loop.create_connection(connect, "127.0.0.1", self._port)
        await asyncio.gather(*ended)
        self.elapsed_s = perf_counter() - began_s

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return self._total / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        """A latency that so many percent of the requests did not exceed."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000

    @classmethod
    async def wait_for(cls, port: int) -> None:
        """Wait until the server answers."""
        async with asyncio.timeout(60):
            while True:
                try:
                    await cls(port, 2, 1).run()
                    return
                except OSError:
                    await asyncio.sleep(0.1)


class _Connection(asyncio.Protocol):
    """One connection: the next request when the response is there."""

    def __init__(self, numbers: Iterator[int], latencies_s: list[float], done: asyncio.Future[None]) -> None:
        self._numbers = numbers
        self._latencies_s = latencies_s
        self._done = done
        self._data = b""
        self._began_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take a part of a response."""
        self._data += data
        head, blank, body = self._data.partition(b"\r\n\r\n")
        if not blank or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(RuntimeError(head.decode("latin-1")))
            return
        self._data = b""
        self._latencies_s.append(perf_counter() - self._began_s)
        self._send()

    def _send(self) -> None:
        number = next(self._numbers, None)
        if number is None:
            self._transport.close()
            self._done.set_result(None)
            return
        body = json.dumps({"question": f"why {number}"}).encode()
        self._began_s = perf_counter()
        self._transport.write(
            b"POST /predict HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
