"""The server's end: what clients hear of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.support.fakes import Room

from dspex_pool.config import Config
from dspex_pool.server import Server


async def test_the_end_of_the_grace_period_is_the_last_word() -> None:
    """A client whose call is open is told why it gets no outcome, and gets nothing after that."""
    room = Room()
    client = room.add_client()
    client.call("program.predict")
    server = Server(replace(Config(), grace_s=0.01), asyncio.get_running_loop(), {})
    server._supervisor.connections.append(client.connection)
    server._supervisor.terminate()
    assert [] == client.sent
    await asyncio.wait_for(server._ended, 30)
    room.workers[0].reply(1)
    (closing,) = client.sent
    assert ("system.closing", "draining") == (closing.method, closing.fields["code"])
