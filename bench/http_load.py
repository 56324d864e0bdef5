"""Closed-loop load over HTTP/1.1 keep-alive, as lean as the load on our own frames."""

from __future__ import annotations

import asyncio
import json
import socket
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
        self._numbers = iter(range(total))
        self.latencies_s: list[float] = []
        self.elapsed_s = 0.0

    async def run(self) -> None:
        """Run all requests."""
        began_s = perf_counter()
        await asyncio.gather(*(self._connection() for _ in range(self._outstanding)))
        self.elapsed_s = perf_counter() - began_s

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return self._total / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        """A latency that so many percent of the requests did not exceed."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for number in self._numbers:
            body = json.dumps({"question": f"why {number}"}).encode()
            began_s = perf_counter()
            writer.write(
                b"POST /predict HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
            await self._response(reader)
            self.latencies_s.append(perf_counter() - began_s)
        writer.close()

    @staticmethod
    async def _response(reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await reader.readexactly(length)

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
