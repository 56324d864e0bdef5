"""The slots: each holds one worker, and a new one when that worker is gone or worn.

A worker that is to be recycled serves on until its successor in the slot is ready; only then
it drains. How workers come to be is `starting.py`'s, when one is worn `upkeep.py`'s to say,
and what a death means for the calls the switchboard's.

    Slot: worker ──retiring──► worker + successor booting ──► successor; worker drains, ends
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dspex_protocol import CALL, encode, encode_value

from .config import Config
from .lifecycle import WorkerEvent, WorkerState
from .ports import Ports
from .recycling import RecycleReason
from .slot import Slot
from .starting import Starts
from .sweeping import Sweeper
from .worker import Worker

if TYPE_CHECKING:
    from .host import Host
    from .switchboard import Switchboard


class Slots:
    """Keeps the open slots filled.

    Args:
        config: How many, and how long a boot or a drain may take.
        ports: The world.
        switchboard: Is told of workers that are ready and gone.
        host: What workers are told of the host.

    Attributes:
        restarts: Workers that died and were replaced.
        recycles: Workers that were replaced while they lived, by reason.
        guests: The pids of workers that are in no slot.
        next_number: A number that no worker has had.
        sweep_soon: Has what a dead worker left behind killed.
    """

    def __init__(self, config: Config, ports: Ports, switchboard: Switchboard, host: Host) -> None:
        self._config = config
        self._timers = ports.timers
        self._processes = ports.processes
        self._weighing = ports.weighing
        self._log = ports.log
        self._switchboard = switchboard
        self._host = host
        self._slots = [Slot(number) for number in range(config.workers)]
        self._workers: dict[int, Worker] = {}  # by number, those that start or drain included
        self._starts = Starts(config, ports, switchboard, host, owner=self)
        self._worn: deque[Worker] = deque()  # to be recycled, once it is their turn
        self._sweeper = Sweeper(
            ports, lambda: {worker.process.pid for worker in self.workers} | self.guests()
        )
        self.guests: Callable[[], set[int]] = set
        self.next_number = self._starts.next_number
        self.sweep_soon = self._sweeper.sweep_soon
        self._closing = False
        self.restarts = 0
        self.recycles: Counter[RecycleReason] = Counter()

    def start(self, count: int) -> None:
        """Open that many slots and fill them."""
        self._processes.start()
        self.resize(count)

    def close(self) -> None:
        """Kill every worker and start none."""
        self._closing = True
        self._starts.close()
        self._sweeper.close()
        self._processes.close()
        for worker in self._workers.values():
            worker.process.kill()

    @property
    def target(self) -> int:
        """Slots that are open."""
        return sum(slot.is_open for slot in self._slots)

    @property
    def workers(self) -> Iterator[Worker]:
        """Every worker that has a process: starting, serving and draining ones."""
        return iter(list(self._workers.values()))

    @property
    def serving(self) -> Iterator[Worker]:
        """The workers that hold a slot."""
        return iter([slot.worker for slot in self._slots if slot.worker is not None])

    @property
    def starting(self) -> int:
        """Workers that are on their way."""
        return sum(slot.booting for slot in self._slots)

    def snapshot(self) -> list[dict[str, object]]:
        """Every worker, as plain values."""
        now_s = self._timers.time()
        return [_describe(worker, now_s) for worker in self._workers.values()]

    def scale(self, least: int) -> dict[str, int]:
        """How many workers there are and should be, as plain values."""
        return {
            "min": least,
            "max": len(self._slots),
            "target": self.target,
            "ready": sum(1 for _ in self.serving),
            "starting": self.starting,
        }

    def reconfigure(self) -> None:
        """Tell every worker what the host offers now."""
        frame_payload = encode_value(self._host.offer())
        for worker in self._workers.values():  # those that are starting too: their hello is on its way
            worker.last_id += 1
            worker.link.send(encode(CALL, worker.last_id, "worker.configure", {}, frame_payload))

    # How many

    def resize(self, count: int) -> None:
        """Open or close slots until that many are open; who is in a closed one drains."""
        while self.target < count:
            slot = next(slot for slot in self._slots if not slot.is_open)
            slot.is_open = True
            self._starts.fill(slot)
        while self.target > count:
            slot = min((slot for slot in self._slots if slot.is_open), key=lambda slot: slot.busyness)
            slot.is_open = False
            if slot.worker is not None:
                self._retire(slot.worker, RecycleReason.SCALED_DOWN)
        if not count:
            self._switchboard.no_workers_wanted()

    # Recycling

    def recycle(self, worker: Worker, reason: RecycleReason) -> bool:
        """Replace a worker that serves; it goes when its successor is ready.

        Returns:
            Whether it will be; False when it is on its way out already.
        """
        slot = self._slots[worker.slot]
        if slot.worker is not worker or worker.retiring is not None:
            return False
        worker.retiring = reason
        self._log.info("worker_retiring", worker=worker.number, reason=str(reason))
        self._worn.append(worker)
        self._recycle_next()
        return True

    def _recycle_next(self) -> None:
        # A few at a time: each successor costs a core some ten milliseconds, and memory until
        # the old worker has gone.
        at_once = max(1, len(self._slots) // 4)
        while self._worn and self._successors < at_once:
            worker = self._worn.popleft()
            slot = self._slots[worker.slot]
            if slot.worker is worker:
                self._starts.fill(slot)

    @property
    def _successors(self) -> int:
        return sum(slot.is_replacing for slot in self._slots)

    def _retire(self, worker: Worker, reason: RecycleReason) -> None:
        """It gets no more calls, and ends when it has none."""
        worker.retiring = worker.retiring or reason
        slot = self._slots[worker.slot]
        if slot.worker is worker:
            slot.worker = None
            self._forget_predecessor(slot)
        worker.move(WorkerEvent.DRAIN)
        self._switchboard.worker_drains(worker)
        worker.on_empty = lambda: self._let_go_if_done(worker)
        if worker.calls:
            worker.drain_timer = self._timers.call_later(self._config.drain_s, self._drain_over, worker)
        self._let_go_if_done(worker)

    def _let_go_if_done(self, worker: Worker) -> None:
        """End a worker that drains, once it has no calls and nobody may need it back."""
        if not worker.calls and self._slots[worker.slot].predecessor is not worker:
            worker.let_go = True
            worker.process.kill()  # it has nothing to save; a polite end could only hang

    def _take_back(self, slot: Slot) -> None:
        """A successor was of no use: who drains serves again, until the next one is ready."""
        worker = slot.predecessor
        if worker is None or worker.process.killed or worker.link.closed:
            return
        slot.worker, slot.predecessor = worker, None
        if worker.drain_timer is not None:
            worker.drain_timer.cancel()
        worker.move(WorkerEvent.RETURN)
        if worker.calls:
            worker.move(WorkerEvent.TAKE)
        self._log.warning("worker_returns", worker=worker.number)
        self._switchboard.worker_returns(worker)

    def _drain_over(self, worker: Worker) -> None:
        self._log.warning("worker_drain_over", worker=worker.number, calls=worker.load)
        worker.innocent_end = True
        worker.process.kill()

    # What becomes of workers; `starting.Starts` tells

    def born(self, worker: Worker) -> None:
        """A worker has a process."""
        self._workers[worker.number] = worker

    def ready(self, worker: Worker) -> None:
        """A worker may be given calls: the slot is its own, and who had it drains.

        But it is not let go before the new one has shown that it is of use: where workers get
        ready and die, recycling would else take the good ones one by one.
        """
        slot = self._slots[worker.slot]
        slot.booting = False
        self._forget_predecessor(slot)  # of a worker that was recycled before it was of use
        slot.predecessor, slot.worker = slot.worker, worker
        worker.on_worn = lambda: self.recycle(worker, RecycleReason.CALLS)
        self._weighing.watch(worker.number, worker.process.pid)
        self._switchboard.worker_ready(worker)
        if slot.predecessor is not None:
            self._retire(slot.predecessor, RecycleReason.ASKED)
        if not slot.is_open:
            self._retire(worker, RecycleReason.SCALED_DOWN)
        self._recycle_next()

    def proved(self, worker: Worker) -> None:
        """A worker is of use: its predecessor is not needed any more."""
        slot = self._slots[worker.slot]
        if slot.worker is worker:
            self._forget_predecessor(slot)

    def _forget_predecessor(self, slot: Slot) -> None:
        predecessor, slot.predecessor = slot.predecessor, None
        if predecessor is not None:
            self._let_go_if_done(predecessor)
            self._recycle_next()

    def died(self, worker: Worker, reason: str, *, by_itself: bool) -> None:
        """A worker's process has ended: its last words count, then it is replaced."""
        self._hear_last(worker)
        del self._workers[worker.number]
        self._weighing.forget(worker.number)
        was_ready = worker.state is not WorkerState.STARTING
        was_early = self._starts.was_early(worker)
        if self._closing:
            return
        reason = worker.cause or reason
        failed = not was_ready or (was_early and by_itself and not worker.let_go)
        self._tell_end(worker, reason, was_ready=was_ready)
        worker.move(WorkerEvent.DIE)
        slot = self._slots[worker.slot]
        if slot.predecessor is worker:
            slot.predecessor = None
        if slot.worker is worker:
            slot.worker = None
            self._take_back(slot)
            if not failed and slot.wants_worker:
                self._starts.fill(slot)
        self._switchboard.worker_lost(worker, reason)
        if failed:
            # Where a successor is booting, that is the next try.
            again = not (was_ready and slot.booting)
            self._starts.failed(slot, f"{reason}\n{worker.process.last_words()}", again=again)
        self._recycle_next()
        self._sweeper.sweep_soon()

    def _hear_last(self, worker: Worker) -> None:
        worker.link.read_last_words()
        worker.link.close()
        if worker.drain_timer is not None:
            worker.drain_timer.cancel()

    def _tell_end(self, worker: Worker, reason: str, *, was_ready: bool) -> None:
        number, pid = worker.number, worker.process.pid
        if worker.retiring is not None and worker.state is WorkerState.DRAINING:
            self.recycles[worker.retiring] += 1
        # A drain that took too long was ended by us as well.
        if worker.let_go or (worker.innocent_end and worker.retiring is not None):
            self._log.info("worker_recycled", worker=number, pid=pid, reason=str(worker.retiring))
        else:
            self._log.warning("worker_died", worker=number, pid=pid, reason=reason)
            self.restarts += was_ready


def _describe(worker: Worker, now_s: float) -> dict[str, object]:
    return {
        "worker": worker.number,
        "slot": worker.slot,
        "pid": worker.process.pid,
        "state": str(worker.state),
        "calls": worker.load,
        "served": worker.served,
        "age_s": round(now_s - worker.ready_s, 3) if worker.ready_s else 0.0,
        "memory_bytes": worker.memory_bytes,
        "own_bytes": worker.own_bytes,
        "programs": len(worker.holdings),
        "program_bytes": worker.holdings.bytes_used,
        "retiring": None if worker.retiring is None else str(worker.retiring),
    }
