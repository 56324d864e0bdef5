"""Ways in which a server comes up, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.support.servers import PREDICT, SUPPORT, has_ready, info, serving, wait_for, worker_pids

from dspex_protocol import DSPexError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "environment", "spawning", "loop"),
    [
        (["--zygote=false"], {}, "exec", "uvloop"),
        ([], {"DSPEX_LOOP": "asyncio"}, "zygote", "asyncio"),
        (["--zygote", "no"], {"DSPEX_LOOP": "asyncio"}, "exec", "asyncio"),
    ],
)
async def test_other_ways_to_run(
    flags: list[str], environment: dict[str, str], spawning: str, loop: str
) -> None:
    """Without a zygote, and without uvloop: calls, a kill and a replacement all the same."""
    async with serving(*flags, environment=environment) as client:
        snapshot = await wait_for(client, has_ready(2))
        assert (spawning, loop) == (snapshot["spawning"], snapshot["loop"])
        answers = [asyncio.ensure_future(client.predict(PREDICT, {"question": f"{n}"})) for n in range(50)]
        os.kill(min(await worker_pids(client)), signal.SIGKILL)
        assert 50 == len([answer for answer in await asyncio.gather(*answers) if answer["answer"]])
        await wait_for(client, lambda now: now["worker_deaths"] == 1 and has_ready(2)(now))


@pytest.mark.slow
async def test_a_zygote_with_threads_is_not_forked(tmp_path: Path) -> None:
    """Where the imports start a thread, workers are started from nothing, and calls go on."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, threading, time\n"
        "if 'zygote' in sys.orig_argv:\n"
        "    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    )
    path = os.pathsep.join([str(tmp_path), str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    async with serving(environment={"PYTHONPATH": path}) as client:
        assert 1 == await client.call("system.echo", 1)
        assert "exec" == (await info(client))["spawning"]


@pytest.mark.slow
async def test_a_plugin_that_fails_fails_calls_with_its_reason(tmp_path: Path) -> None:
    """Calls that wait get `boot_failed` with the end of stderr; attempts come more and more seldom."""
    (tmp_path / "plugin_broken.py").write_text("raise RuntimeError('this plug-in is broken')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    broken = {"PYTHONPATH": path, "DSPEX_PLUGINS": "plugin_broken", "DSPEX_LOG_LEVEL": "error"}
    async with serving(environment=broken) as client:
        outcomes = await asyncio.gather(
            *(client.call("system.echo", n) for n in range(5)), return_exceptions=True
        )
        assert ["boot_failed"] * 5 == [one.code for one in outcomes if isinstance(one, DSPexError)]
        refusal = outcomes[0]
        assert isinstance(refusal, DSPexError)
        assert "this plug-in is broken" in str(refusal.details["stderr"])
        assert (refusal.retry_after_ms or 0) > 0
        with pytest.raises(DSPexError, match="boot_failed"):
            await client.call("system.echo", 1)
        assert "up" == await client.call("system.ping", "up")
        assert 0 == (await info(client))["ready_workers"]
