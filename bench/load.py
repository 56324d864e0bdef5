"""Load on a server: so many calls outstanding or so many a second, latencies noted, little else.

Client.call would spend as much on futures as the server spends on the call; here a reply
is handled in its callback and the next call goes out in the same write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from dspex_pool.client import Client
from dspex_pool.link import Link
from dspex_protocol import CALL, FAIL, REPLY, Meta, Oversized, decode_envelope, decode_failure, encode


class Load:
    """Runs `total` calls of one method, `outstanding` at a time, on a greeted client.

    Attributes:
        latencies_s: One for each call, in order of completion.
        elapsed_s: From the first call to the last reply.
    """

    FIRST_ID = 1 << 32  # apart from the client's own ids

    def __init__(
        self,
        client: Client,
        method: str,
        meta: Meta,
        payload: Callable[[int], bytes],
        total: int,
        outstanding: int,
    ) -> None:
        self._client = client
        self._link: Link = client.link
        self._method = method
        self._meta = meta
        self._payload = payload
        self._total = total
        self._outstanding = min(outstanding, total)
        self._sent = 0
        self._sent_at_s: dict[int, float] = {}
        self.latencies_s: list[float] = []
        self.elapsed_s = 0.0

    async def run(self) -> None:
        """Run all calls; raises what the first FAIL says."""
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        previous, self._link.on_bodies = self._link.on_bodies, self._take
        began_s = perf_counter()
        for _ in range(self._outstanding):
            self._send()
        self._link.flush()
        try:
            await self._done
        finally:
            self._link.on_bodies = previous
        self.elapsed_s = perf_counter() - began_s

    @property
    def per_s(self) -> float:
        """Calls per second."""
        return self._total / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        """A latency that so many percent of the calls did not exceed."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000

    def _send(self) -> None:
        number = self._sent
        self._sent += 1
        call_id = self.FIRST_ID + number
        self._sent_at_s[call_id] = perf_counter()
        self._link.send(encode(CALL, call_id, self._method, self._meta, self._payload(number)))

    def _follow(self) -> None:
        """One has ended: another takes its place."""
        if self._sent < self._total:
            self._send()

    def _take(self, bodies: list[bytes | Oversized]) -> None:
        now_s = perf_counter()
        for body in bodies:
            assert isinstance(body, bytes)
            envelope = decode_envelope(body)
            if envelope.kind == FAIL:
                if not self._done.done():
                    self._done.set_exception(decode_failure(body[envelope.payload_at :]))
                return
            if envelope.kind == REPLY:
                self.latencies_s.append(now_s - self._sent_at_s.pop(envelope.id))
                self._follow()
        self._link.flush()
        if len(self.latencies_s) == self._total and not self._done.done():
            self._done.set_result(None)


class PacedLoad(Load):
    """Runs `total` calls, so many a second whatever becomes of them.

    A latency counts from the moment when the call was due: calls that a pause held up count
    as late, which a load that waits for answers would never have made.

    Args:
        rate_per_s: Calls per second.
    """

    def __init__(
        self,
        client: Client,
        method: str,
        meta: Meta,
        payload: Callable[[int], bytes],
        total: int,
        rate_per_s: float,
    ) -> None:
        super().__init__(client, method, meta, payload, total, outstanding=0)
        self._rate_per_s = rate_per_s
        self._pacing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run all calls; raises what the first FAIL says."""
        self._pacing = asyncio.ensure_future(self._pace())
        try:
            await super().run()
        finally:
            self._pacing.cancel()

    async def _pace(self) -> None:
        began_s = perf_counter()
        for number in range(self._total):
            due_s = began_s + number / self._rate_per_s
            if (ahead_s := due_s - perf_counter()) > 0:
                self._link.flush()
                await asyncio.sleep(ahead_s)
            self._send()
            self._sent_at_s[self.FIRST_ID + number] = due_s
        self._link.flush()

    def _follow(self) -> None:
        """The next call comes when it is due."""
