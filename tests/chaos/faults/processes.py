"""Faults by signals: processes that are killed, and processes that stand still."""

from __future__ import annotations

import asyncio
import signal
from random import Random
from time import monotonic
from typing import ClassVar

from tests.chaos.faults.base import Injector
from tests.chaos.history import Fault
from tests.chaos.scene import Scene
from tests.support.anatomy import zygotes


class WorkerKill(Injector):
    """A worker dies from one instant to the next, whether ready or starting."""

    name: ClassVar[str] = "worker_kill"
    weight: ClassVar[float] = 8.0

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """SIGKILL."""
        victim = await scene.some_worker(random)
        fault.victim = f"worker {victim['worker']}"
        scene.client.history.killed(victim["worker"], monotonic())
        scene.kill(victim["pid"], signal.SIGKILL)


class WorkerStop(Injector):
    """A worker stands still: for a moment, or until the supervisor loses patience with it."""

    name: ClassVar[str] = "worker_stop"
    weight: ClassVar[float] = 3.0

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """SIGSTOP, and half the time SIGCONT."""
        victim = await scene.some_worker(random)
        fault.victim = f"worker {victim['worker']}"
        scene.kill(victim["pid"], signal.SIGSTOP)
        await asyncio.sleep(random.uniform(0.05, 1.0))
        if random.random() < 0.5:
            scene.kill(victim["pid"], signal.SIGCONT)


class ZygoteKill(Injector):
    """The process that new workers come from dies, just when one is needed."""

    name: ClassVar[str] = "zygote_kill"
    weight: ClassVar[float] = 1.0

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """SIGKILL for the zygote, and for a worker before or after it."""
        await _with_a_worker(scene, random, fault, signal.SIGKILL)


class ZygoteStop(Injector):
    """The process that new workers come from stands still; half the time for good."""

    name: ClassVar[str] = "zygote_stop"
    weight: ClassVar[float] = 0.5

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """SIGSTOP for the zygote, and SIGKILL for a worker; half the time SIGCONT."""
        stopped = await _with_a_worker(scene, random, fault, signal.SIGSTOP)
        await asyncio.sleep(random.uniform(0.1, 1.0))
        if random.random() < 0.5:
            for pid in stopped:
                scene.kill(pid, signal.SIGCONT)


class SupervisorStop(Injector):
    """The supervisor stands still for a short while, as on a machine that swaps."""

    name: ClassVar[str] = "supervisor_stop"
    weight: ClassVar[float] = 1.0

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """SIGSTOP, then SIGCONT."""
        fault.victim = "supervisor"
        with scene.holding():
            scene.kill(scene.supervisor, signal.SIGSTOP)
            try:
                await asyncio.sleep(random.uniform(0.05, 0.8))
            finally:
                scene.kill(scene.supervisor, signal.SIGCONT)


async def _with_a_worker(scene: Scene, random: Random, fault: Fault, number: signal.Signals) -> list[int]:
    victim = await scene.some_worker(random)
    found = await zygotes(scene.client)
    fault.victim = f"zygote {found} and worker {victim['worker']}"
    targets = [(pid, number) for pid in found] + [(victim["pid"], signal.SIGKILL)]
    random.shuffle(targets)
    for pid, signalled in targets:
        scene.kill(pid, signalled)
    return found
