"""The offline model's HTTP server in the test's own process, with what it was asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web

from dspex_bridge.sim import SimModel, SimOptions
from dspex_bridge.sim.app import build_app
from dspex_bridge.sim.faults import read_faults
from dspex_bridge.sim.tuning import Tunings


@dataclass
class Served:
    """A running server.

    Attributes:
        base: Its `api_base`.
        bodies: Of the chat requests, as they came.
        keys: What stood in `Authorization` with each.
        peers: The client's address with each: one for each connection.
        is_away: While it is set nothing is answered: whoever asks is hung up on.
    """

    base: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: list[str | None] = field(default_factory=list[str | None])
    peers: list[object] = field(default_factory=list[object])
    is_away: bool = False


@asynccontextmanager
async def served(
    faults: str = "", options: SimOptions | None = None, tunings: Tunings | None = None
) -> AsyncGenerator[Served]:
    """Serve while in the block, on a free port."""
    seen = Served()
    app = build_app(SimModel(options or SimOptions(seed=3, token_chars=7)), read_faults(faults), tunings)
    app.middlewares.append(_recording(seen))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    seen.base = f"http://127.0.0.1:{cast('tuple[str, int]', runner.addresses[0])[1]}/v1"
    try:
        yield seen
    finally:
        await runner.cleanup()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _recording(seen: Served) -> Any:
    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        if seen.is_away:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError
        if request.path.endswith("/chat/completions"):
            seen.bodies.append(await request.json())
            seen.keys.append(request.headers.get("Authorization"))
            assert request.transport is not None
            seen.peers.append(request.transport.get_extra_info("peername"))
        return await handler(request)

    return record
