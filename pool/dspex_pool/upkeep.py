"""Upkeep: when a worker is worn, how many workers there should be, and what is over in the store.

Looks at workers and load from time to time, and has the slots act. What wears a worker is
`recycling.py`'s to say, how many there should be `scaling.py`'s.
"""

from __future__ import annotations

from typing import Final

from .config import Config
from .ports import Ports
from .recycling import is_bloated, worn
from .scaling import Load, Scaler
from .slots import Slots
from .store import StoreError
from .switchboard import Switchboard
from .worker import Worker

INSPECT_S: Final = 1.0
"""Between two looks at the workers' ages: they are in hours."""
SCALE_S: Final = 0.1
"""Between two looks at the load, where the pool may change its size."""
EXPIRE_S: Final = 60.0
"""Between two clearings of what is over in the store. It is invisible already; this frees its room."""
EXPIRE_AT_ONCE: Final = 1000
"""Records that are cleared in one commit: others wait for that."""


class Upkeep:
    """Has workers recycled, killed, added and taken away.

    Args:
        config: Limits.
        ports: The world.
        slots: What it acts on.
        switchboard: Knows the load.
    """

    def __init__(self, config: Config, ports: Ports, slots: Slots, switchboard: Switchboard) -> None:
        self._timers = ports.timers
        self._log = ports.log
        self._stored = ports.stored
        self._is_expiring = False
        self._slots = slots
        self._switchboard = switchboard
        self._places = config.calls_per_worker
        self._scaler = Scaler(config.least_workers, config.workers)
        self._scales = config.least_workers < config.workers
        self._scaling_soon = False

    def start(self) -> None:
        """Begin to look."""
        self._timers.call_later(INSPECT_S, self._inspect)
        self._timers.call_later(EXPIRE_S, self._expire)
        if self._scales:
            self._timers.call_later(SCALE_S, self._scale_again)

    def weigh(self, readings: dict[int, int]) -> None:
        """Take readings of the workers' memory.

        Args:
            readings: Bytes of its own (USS) by worker's number.
        """
        for worker in self._slots.workers:
            own_bytes = readings.get(worker.number)
            if own_bytes is not None:
                worker.memory_bytes = own_bytes
                worker.own_bytes = worker.baseline.own_bytes(own_bytes, worker.served)
                self._weigh(worker)

    def _weigh(self, worker: Worker) -> None:
        if worker.process.killed:
            return  # it may take a moment to die
        if is_bloated(worker.allowance, worker.own_bytes):
            self._switchboard.outcomes.counters.bloated += 1
            self._log.error("worker_bloated", worker=worker.number, own_bytes=worker.own_bytes)
            worker.cause = "its memory grew beyond memory_hard_mb"
            worker.process.kill()
        else:
            self._recycle_if_worn(worker)

    def _inspect(self) -> None:
        self._timers.call_later(INSPECT_S, self._inspect)
        for worker in self._slots.serving:
            self._recycle_if_worn(worker)
        self._switchboard.shed_aged()

    def _recycle_if_worn(self, worker: Worker) -> None:
        age_s = self._timers.time() - worker.ready_s
        reason = worn(worker.allowance, calls=worker.served, age_s=age_s, own_bytes=worker.own_bytes)
        if reason is not None:
            self._slots.recycle(worker, reason)

    # What is over in the store

    def _expire(self) -> None:
        self._timers.call_later(EXPIRE_S, self._expire)
        if not self._is_expiring:
            self._is_expiring = True
            self._stored.tasks.start(self._clear())

    async def _clear(self) -> None:
        try:
            while await self._stored.store.expire(EXPIRE_AT_ONCE) == EXPIRE_AT_ONCE:
                pass  # there is more
        except StoreError as failure:  # the next time will do
            self._log.debug("store_not_cleared", reason=failure)
        finally:
            self._is_expiring = False

    # How many

    def _scale_again(self) -> None:
        self._timers.call_later(SCALE_S, self._scale_again)
        self._scale()

    def scale_soon(self) -> None:
        """A call has found no room: look at the load as soon as it is counted."""
        if self._scales and not self._scaling_soon:
            self._scaling_soon = True
            self._timers.call_soon(self._scale)

    def _scale(self) -> None:
        self._scaling_soon = False
        target = self._slots.target
        wanted = self._scaler.decide(self._timers.time(), self._load())
        if wanted != target:
            self._log.info("scaled", workers_before=target, workers_wanted=wanted)
            self._slots.resize(wanted)

    def _load(self) -> Load:
        load = self._switchboard.load()
        return Load(
            ready=sum(1 for _ in self._slots.serving),
            places_per_worker=self._places,
            running=load.running,
            waiting=load.waiting,
            oldest_wait_s=load.oldest_wait_s,
        )
