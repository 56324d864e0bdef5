"""P15, a crash loop costs little: a pool that starts workers as fast as they die is found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.servers import serving

from dspex_pool.client import Client

from .planting import planted

BROKEN = "raise RuntimeError('this plug-in is broken')\n"
NO_PATIENCE = "import random; random.Random.uniform = lambda self, low, high: 0.0"
OBSERVED_S = 3.0
MOST_PATIENT = 12
"""What two slots can try in that time, if chance has all pauses be the shortest."""


async def boots(folder: Path, defect: str) -> int:
    """How many workers two slots try to start from the first failure on, while none can."""
    (folder / "plugin_broken.py").write_text(BROKEN)
    environment = {**planted(folder, "serve", defect), "DSPEX_PLUGINS": "plugin_broken"}
    async with serving(environment=environment, notes=["log"]) as client:
        while not failures(client):
            await asyncio.sleep(0.01)
        await asyncio.sleep(OBSERVED_S)
        return failures(client)


def failures(client: Client) -> int:
    """How many boots the server has told to have failed."""
    return sum("worker_boot_failed" in str(line) for _, line in client.notes)


@pytest.mark.slow
async def test_a_pool_without_back_off_is_found(tmp_path: Path) -> None:
    """Each failure doubles the pause, so that two slots try some six times; without, as fast as they can."""
    patient, impatient = await boots(tmp_path, "pass"), await boots(tmp_path, NO_PATIENCE)
    assert patient <= MOST_PATIENT < impatient
