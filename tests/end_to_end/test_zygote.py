"""What a zygote holds when it forks, and what happens when it must not fork any more."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.support.anatomy import descriptors, zygotes
from tests.support.servers import PREDICT, SUPPORT, has_ready, serving, wait_for, worker_pids

from dspex_pool.client import Client


def channels(pid: int) -> set[str]:
    """The sockets and pipes that a process holds, by name."""
    return {name for name in descriptors(pid).values() if name.startswith(("socket:", "pipe:"))}


@pytest.mark.slow
async def test_a_zygote_holds_its_control_and_nothing_else(client: Client) -> None:
    """Beside the standard descriptors and one thread: nothing that a worker would inherit."""
    (zygote,) = await zygotes(client)
    held = descriptors(zygote)
    (control,) = set(held) - {0, 1, 2}
    assert ("/dev/null", held[2]) == (held[0], held[1])
    assert ("pipe:", "socket:") == (held[2][:5], held[control][:7])
    assert 1 == len(os.listdir(f"/proc/{zygote}/task"))


@pytest.mark.slow
async def test_processes_share_no_channel(client: Client) -> None:
    """A worker that is forked last holds nothing of the zygote's or of another worker's."""
    os.kill(min(await worker_pids(client)), signal.SIGKILL)
    await wait_for(client, lambda now: now["restarts"] == 1 and has_ready(2)(now))
    held = [channels(pid) for pid in [*await zygotes(client), *await worker_pids(client)]]
    assert 3 == len(held)
    assert sum(map(len, held)) == len(set.union(*held))


# `gc.freeze` is the zygote's last step before it says that it is ready.
STARTS_A_THREAD = """
import gc, sys, threading, time
if "zygote" in sys.orig_argv:
    freeze = gc.freeze
    def freeze_and_start():
        freeze()
        threading.Thread(target=time.sleep, args=(3600,), name="planted", daemon=True).start()
    gc.freeze = freeze_and_start
"""


@pytest.mark.slow
async def test_a_zygote_that_gets_a_thread_once_ready_is_not_forked(tmp_path: Path) -> None:
    """It says why, workers are started from nothing instead, and no call or worker is lost."""
    (tmp_path / "sitecustomize.py").write_text(STARTS_A_THREAD)
    path = os.pathsep.join([str(tmp_path), str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    async with serving(environment={"PYTHONPATH": path}, notes=["log"]) as client:
        calls = [asyncio.ensure_future(client.predict(PREDICT, {"question": f"{n}"})) for n in range(20)]
        assert 20 == len([answer for answer in await asyncio.gather(*calls) if answer["answer"]])
        snapshot = await wait_for(client, has_ready(2))
        assert ("exec", 0, 0) == (snapshot["spawning"], snapshot["worker_deaths"], snapshot["restarts"])
        assert [] == await zygotes(client)
        assert any("planted" in str(line) for line in client.notes)
