"""One server's part of a simulated world: what all that is around it shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Final

from dspex_pool.library.names import Reference

from .faults import NO_FAULTS, draw_faults, draw_job_faults
from .history import History
from .kernel import Kernel
from .loop import VirtualLoop
from .processes import SimProcesses
from .settings import draw_config, draw_job_workers
from .weather import StoreWeather

if TYPE_CHECKING:
    from .common import Common
    from .job_workers import JobWorker
    from .store import SimStore
    from .workers import SimWorker

DESCRIPTORS: Final = 1000
"""Of each server, numbered apart from those of others."""


class World:
    """The surroundings of one server. Most worlds have one; where there are two they share the store.

    Args:
        seed: All that happens here follows from it, and from what others have stored.
        common: What all servers share.
        number: Of the server, from 0.

    Attributes:
        random: The one source of chance; every draw is part of the replay.
        faults: What goes wrong here; nothing any more once it is calm.
        job_faults: The same in the workers of jobs.
        jobs: All jobs of the store.
        events: The trace: when, what, and with whom.
        is_draining: The server was told to end, or whoever started it is leaving.
        draining_until_s: How long open calls have at least.
        serving: Asks the supervisor which workers take calls: where one is suspected to be passed over.
        knows: Asks it whether it knows that program.
        has_room: Asks it whether the worker with that number has room for a call.
        store_weather: How the store is.
        store: The server's way to it.
        next_nonce: Makes every call and callback unlike any other.
    """

    def __init__(self, seed: int, common: Common, number: int) -> None:
        self.common = common
        self.number = number
        self.random = Random(seed)
        self.config = draw_config(self.random)
        self.faults = draw_faults(self.random)
        self.job_faults: dict[str, float] = {}
        if common.has_jobs:
            self.config = replace(self.config, job_workers=draw_job_workers(common.job_random))
            self.job_faults = draw_job_faults(common.job_random)
        if common.servers > 1 and self.random.random() < 0.6:
            # Who sleeps in the middle of a turn finds that its session is another's.
            self.faults = replace(self.faults, sleep_every_s=self.random.uniform(0.3, 3))
        self.loop = VirtualLoop(self.random)
        capacity = self.random.choice((300, 2000, 8192, 65_536))
        self.kernel = Kernel(
            self.loop,
            self.random,
            capacity,
            is_whole=self.random.random() < 0.5,
            first=3 + number * DESCRIPTORS,
        )
        self.history = History(self)
        self.processes = SimProcesses(self)
        self.events: list[tuple[object, ...]] = []
        self.is_draining = False
        self.draining_until_s = 0.0
        self.serving: Callable[[], set[int]] = set
        self.knows: Callable[[Reference], bool] = lambda reference: False
        self.has_room: Callable[[int], bool] = lambda number: False
        self.store_weather = StoreWeather()
        self.store: SimStore
        self.next_nonce = common.next_nonce
        self.jobs = common.jobs

    def __repr__(self) -> str:
        return f"server {self.number}"

    @property
    def now_s(self) -> float:
        """Virtual seconds."""
        return self.loop.time()

    @property
    def outside_s(self) -> float:
        """The time of the store."""
        return self.loop.outside_s

    @property
    def workers(self) -> list[SimWorker]:
        """Those that live."""
        return self.processes.living

    @property
    def guests(self) -> list[JobWorker]:
        """Workers of jobs that live."""
        return self.processes.guests

    def trace(self, *event: object) -> None:
        """Remember something that happened."""
        where = (f"{self.number}:",) if self.number else ()
        self.events.append((self.loop.outside_s, *where, *event))

    def chance(self, name: str) -> bool:
        """Whether a fault happens now."""
        return self.random.random() < self.faults.chances[name]

    def calm_down(self) -> None:
        """From now on nothing goes wrong any more."""
        self.faults = NO_FAULTS
        self.job_faults = {}
        self.store_weather.clear_up()
        for worker in [*self.workers, *self.guests]:
            worker.go_on()
