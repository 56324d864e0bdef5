"""Faults by want: no descriptors for the supervisor, no reader for what it sends."""

from __future__ import annotations

import asyncio
import signal
from random import Random
from typing import ClassVar, Final

from dspex_pool.client import Client
from tests.chaos.faults.base import Injector
from tests.chaos.history import Fault
from tests.chaos.scene import PATIENCE_S, Scene
from tests.support.anatomy import few_descriptors

GUEST_DEADLINE_MS: Final = 20_000


class Descriptors(Injector):
    """The supervisor cannot open anything, just when a worker has to be replaced."""

    name: ClassVar[str] = "descriptors"
    weight: ClassVar[float] = 1.0

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """RLIMIT_NOFILE down to what is open, a worker's SIGKILL, and the limit back."""
        victim = await scene.some_worker(random)
        fault.victim = f"supervisor and worker {victim['worker']}"
        with few_descriptors(scene.supervisor, free=0):
            scene.kill(victim["pid"], signal.SIGKILL)
            await asyncio.sleep(random.uniform(0.1, 1.0))


class SlowReader(Injector):
    """A second client that asks for much and reads nothing; the first must not notice."""

    name: ClassVar[str] = "slow_reader"
    weight: ClassVar[float] = 1.0

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """Ask, do not read, and then read all of it or hang up."""
        reads = random.random() < 0.5
        fault.victim = f"{scene.sizes.blob_mb} MB that are {'read late' if reads else 'never read'}"
        async with Client.connect(scene.address) as guest:
            guest.link.pause()
            blob = {"count": 0, "size_bytes": 1 << 20}
            calls = [
                asyncio.ensure_future(guest.call("misbehave.blob", blob, deadline_ms=GUEST_DEADLINE_MS))
                for _ in range(scene.sizes.blob_mb)
            ]
            await asyncio.sleep(random.uniform(0.3, 1.5))
            if reads:
                guest.link.start()
                _, open_still = await asyncio.wait(calls, timeout=GUEST_DEADLINE_MS / 1000 + PATIENCE_S)
                if open_still:
                    scene.client.history.complaints.append(
                        f"{len(open_still)} calls of a slow reader never ended"
                    )
        await asyncio.gather(*calls, return_exceptions=True)


class DeafClient(Injector):
    """The one client of a pipe stops reading for a moment; nothing is lost by it."""

    name: ClassVar[str] = "deaf_client"
    weight: ClassVar[float] = 1.0

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """Do not read, then go on."""
        fault.victim = "the client itself"
        with scene.holding():
            scene.client.link.pause()
            try:
                await asyncio.sleep(random.uniform(0.1, 0.8))
            finally:
                scene.client.link.start()
