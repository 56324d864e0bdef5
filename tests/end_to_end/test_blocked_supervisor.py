"""A supervisor whose event loop is blocked ends, so that its client can start another."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.support.servers import SUPPORT, info, serving

from dspex_protocol import DSPexError

# A handler runs in the main thread, between two steps of the loop.
BLOCKS_ON_SIGNAL = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))\n"


@pytest.mark.slow
async def test_a_blocked_supervisor_ends(tmp_path: Path) -> None:
    """Its calls fail as lost, and nothing of it is left."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKS_ON_SIGNAL)
    path = os.pathsep.join([str(tmp_path), str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    async with serving(environment={"PYTHONPATH": path}) as client:
        supervisor = (await info(client))["pid"]
        open_call = asyncio.ensure_future(client.call("misbehave.nonce", {"nonce": 1, "pause_ms": 60_000}))
        assert 1 == await client.call("system.echo", 1)
        os.kill(supervisor, signal.SIGUSR1)
        with pytest.raises(DSPexError, match="connection_lost"):
            await open_call


@pytest.mark.slow
async def test_a_supervisor_that_was_stopped_goes_on() -> None:
    """Stopped for longer than a loop may be blocked, it answers when it is continued."""
    async with serving() as client:
        supervisor = (await info(client))["pid"]
        os.kill(supervisor, signal.SIGSTOP)
        call = asyncio.ensure_future(client.call("system.echo", 1))
        await asyncio.sleep(6)
        assert not call.done()
        os.kill(supervisor, signal.SIGCONT)
        assert 1 == await call
        assert supervisor == (await info(client))["pid"]
