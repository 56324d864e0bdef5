"""Faults by calls: what a program may do to the worker that runs it."""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar, Final

from tests.chaos.faults.base import Injector
from tests.chaos.history import Fault, Kind
from tests.chaos.scene import Scene
from tests.support.servers import workers

WARM_CALLS: Final = 500


class Stall(Injector):
    """A call that never lets go of its worker, and must be ended from outside."""

    name: ClassVar[str] = "stall"
    weight: ClassVar[float] = 3.0
    METHODS = ("misbehave.spin_in_c", "misbehave.loop", "misbehave.sleep_on_loop", "misbehave.stop")

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """A call with a deadline that it will not keep."""
        fault.victim = random.choice(self.METHODS)
        await scene.call(Kind.STALL, fault.victim, random.uniform(0.1, 0.5))


class Bloat(Injector):
    """A call that takes memory: more than the soft limit, or more than the hard one."""

    name: ClassVar[str] = "bloat"
    weight: ClassVar[float] = 2.0
    HOLD_MS = 1500

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """Take memory, hold it, and give it back if one lives so long."""
        limit_mb = random.choice((scene.sizes.soft_mb, scene.sizes.hard_mb))
        megabytes = int(limit_mb * random.uniform(1.2, 1.6))
        fault.victim = f"{megabytes} MB"
        nonce = scene.client.next_nonce()
        before = await workers(scene.client)
        record = await scene.call(
            Kind.BLOAT, "nonces.swell", 20.0, nonce=nonce, megabytes=megabytes, hold_ms=self.HOLD_MS
        )
        lived = any(outcome.code == "ok" for outcome in record.outcomes)
        over = scene.limits_memory and megabytes > scene.sizes.hard_mb
        if lived and over and _is_warm(before) and scene.was_undisturbed_since(fault.from_s):
            scene.client.history.complaints.append(
                f"a call held {megabytes} MB for {self.HOLD_MS} ms and lived"
            )


def _is_warm(before: list[dict[str, Any]]) -> bool:
    """Whether the limit counts from a baseline that is final, in every worker.

    Until a worker has ended its first calls, what it takes may count as its warm-up.
    """
    return all(worker["state"] == "ready" and worker["served"] >= WARM_CALLS for worker in before)


class Flood(Injector):
    """A worker that writes to its stderr without end."""

    name: ClassVar[str] = "flood"
    weight: ClassVar[float] = 0.5

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """So many megabytes, in lines."""
        fault.victim = f"{scene.sizes.flood_mb} MB"
        await scene.call(Kind.FLOOD, "misbehave.flood_stderr", 60.0, megabytes=scene.sizes.flood_mb)


class Killer(Injector):
    """A call that ends whichever worker it is given to."""

    name: ClassVar[str] = "killer"
    weight: ClassVar[float] = 2.0

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """An exit, or a segmentation fault."""
        fault.victim = random.choice(("misbehave.exit", "misbehave.crash"))
        await scene.call(Kind.KILLER, fault.victim, 20.0)
