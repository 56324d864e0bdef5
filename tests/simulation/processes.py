"""Simulated worker processes: they start late or not at all, and die in every way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from .bodies import Body
from .faults import BOOT
from .job_workers import JobWorker
from .records import Violation
from .settings import is_elastic
from .workers import EARLY_DEATH_S, SimWorker

if TYPE_CHECKING:
    from dspex_pool.ports import Alone, Process

    from .world import World

ZYGOTE_PID: Final = 2
FIRST_PID: Final = 100
# The least that the supervisor must wait after the n-th failed boot in a row: half of its
# back-off of 0.1 s, doubled each time, up to 5 s.
LEAST_BACKOFF_S: Final = 0.05
MOST_BACKOFF_S: Final = 2.5
LONGEST_BACKOFF_S: Final = 8.0
SUPERVISOR_KNOWS_S: Final = 0.1  # by then it has read what a worker wrote


class SimProcess:
    """One process, as `dspex_pool.worker.Process`."""

    def __init__(self, world: World, pid: int) -> None:
        self.pid = pid
        self.killed = False
        self.is_dead = False
        self.on_exit: Callable[[str], None] = lambda reason: None
        self.when_killed: Callable[[], None] = lambda: None
        self.when_dead: Callable[[], None] = lambda: None
        self._world = world

    def kill(self) -> None:
        """SIGKILL, which takes a moment."""
        if not self.is_dead and not self.killed:
            self.when_killed()
            self.killed = True
            self._world.loop.call_later(self._world.random.choice((0, 0, 0.001, 0.01)), self.die, "SIGKILL")

    def die(self, reason: str) -> None:
        """It ends; whoever watches it learns that somewhat later."""
        if self.is_dead:
            return
        self.is_dead = True
        self._world.trace("died", self.pid, reason)
        self.when_dead()
        self._world.kernel.call_late(lambda: self.on_exit(reason))

    def last_words(self) -> str:
        """What it wrote to stderr."""
        return "last words"


class SimProcesses:
    """Where workers come from; `dspex_pool.ports.Processes`.

    Attributes:
        living: Workers whose process runs.
        guests: The same of jobs: they are in no slot.
        failures_s: When boots failed, in the order of their failing.
        spawned: Processes that were asked for.
    """

    mode = "simulation"

    def __init__(self, world: World) -> None:
        self._world = world
        self._pending = 0
        self._closed = False
        self._next_pid = FIRST_PID
        self._by_wire: dict[int, Body] = {}
        self.living: list[SimWorker] = []
        self.guests: list[JobWorker] = []
        self.failures_s: list[float] = []
        self.spawned = 0
        # P15: each process that is asked for needs a ticket: one for each slot at first, one for
        # each worker that did its work, and one when the back-off of a failed boot is over.
        self._free_tickets = world.config.workers
        self._failed_in_a_row: list[float] = []
        self._replaceable = 0  # workers that died and are to be replaced at once

    @property
    def own_pids(self) -> set[int]:
        """The zygote."""
        return {ZYGOTE_PID}

    @property
    def is_forking(self) -> bool:
        """Whether one is on its way."""
        return self._pending > 0

    def start(self) -> None:
        """Nothing to get ready."""

    def close(self) -> None:
        """Spawn nothing more."""
        self._closed = True

    def worker_of(self, wire: int) -> Body:
        """Whose wire that is."""
        return self._by_wire[wire]

    def spawn(
        self,
        started: Callable[[Process, int], None],
        failed: Callable[[str], None],
        alone: Alone | None = None,
    ) -> None:
        """A process, at once or later, or a reason why there is none."""
        if alone is None:
            self._use_ticket()
            self.spawned += 1
        self._pending += 1
        late_s = self._world.random.choice((None, 0.0, 0.001, 0.01, 0.05))
        if late_s is None:
            self._fork(started, failed, alone)
        else:
            self._world.loop.call_later(late_s, self._fork, started, failed, alone)

    def _fork(
        self,
        started: Callable[[Process, int], None],
        failed: Callable[[str], None],
        alone: Alone | None,
    ) -> None:
        self._pending -= 1
        if self._closed:
            return
        world = self._world
        fault = "boot_exit" if world.now_s < 1000 + world.faults.outage_s else ""
        fault = fault or world.faults.draw(world.random, BOOT)
        if fault == "no_fork":
            if alone is None:
                self.boot_failed()
            failed("fork: Resource temporarily unavailable")
            return
        process = SimProcess(world, self._next_pid)
        self._next_pid += 1
        wire, end = world.kernel.socket_pair()
        if alone is None:
            self._add(SimWorker(world, process, end, fault), process, wire)
        else:
            self._add_guest(JobWorker(world, process, end, fault), process, wire)
        world.trace("forked", process.pid, fault)
        started(process, wire)

    def _add(self, worker: SimWorker, process: SimProcess, wire: int) -> None:
        self._by_wire[wire] = worker
        self.living.append(worker)
        process.when_killed = lambda: self._world.history.killed(worker)
        process.when_dead = lambda: self._dead(worker)

    def _add_guest(self, worker: JobWorker, process: SimProcess, wire: int) -> None:
        self._by_wire[wire] = worker
        self.guests.append(worker)
        process.when_dead = lambda: self._guest_dead(worker)

    def _guest_dead(self, worker: JobWorker) -> None:
        self.guests.remove(worker)
        worker.end()

    def _must_have_asked_for(self, count: int) -> None:
        """P3: dead workers are replaced, at once or after a back-off."""
        world = self._world
        late = sum(at_s < world.now_s - LONGEST_BACKOFF_S for at_s in self.failures_s)
        if self.spawned < count + late and not self._closed and not world.is_draining:
            raise Violation("P3", f"{self.spawned} processes were asked for and {count + late} were needed")

    def _dead(self, worker: SimWorker) -> None:
        self.living.remove(worker)
        worker.end()
        self._world.history.worker_died(worker)
        lived_s = self._world.now_s - worker.ready_s if worker.ready_s is not None else 0
        was_of_use = worker.is_proven or lived_s > EARLY_DEATH_S or worker.was_shot
        if worker.ready_s is not None and was_of_use:
            self._replaceable += worker.is_flushed
            if not is_elastic(self._world.config):
                needed = self._world.config.workers + self._replaceable
                self._world.loop.call_later(SUPERVISOR_KNOWS_S, self._must_have_asked_for, needed)
            self._free_tickets += not is_elastic(self._world.config)
        else:
            self.boot_failed()

    def got_ready(self) -> None:
        """A worker may be replaced while it lives, where workers come and go by themselves."""
        self._free_tickets += is_elastic(self._world.config)

    def boot_failed(self) -> None:
        """A worker did not get as far as to be of use."""
        self.failures_s.append(self._world.now_s)
        self._failed_in_a_row.append(self._world.now_s)

    def proved(self) -> None:
        """A worker is of use: what failed before is no row any more."""
        self._end_row()
        self._world.loop.call_later(SUPERVISOR_KNOWS_S, self._end_row)

    def _end_row(self) -> None:
        self._free_tickets += len(self._failed_in_a_row)
        self._failed_in_a_row.clear()

    def _use_ticket(self) -> None:
        if self._free_tickets:
            self._free_tickets -= 1
            return
        now_s = self._world.now_s
        for number, failed_s in enumerate(self._failed_in_a_row):
            if now_s >= failed_s + min(MOST_BACKOFF_S, LEAST_BACKOFF_S * 2**number):
                # Its place in the row stays: the next ones wait as long as before.
                self._failed_in_a_row[number] = float("inf")
                return
        raise Violation("P15", f"a worker is started too soon after {len(self._failed_in_a_row)} failures")

    def sweep(self, pids: Collection[int], groups: Collection[int]) -> int:
        """Kill what is none of theirs; see `dspex_pool.processes.kill_children`."""
        strays: list[Body] = [worker for worker in self.living if worker.process.pid not in pids]
        strays += [
            worker for worker in self.guests if worker.process.pid not in pids and not worker.process.killed
        ]
        for worker in strays:
            raise Violation("P3", f"{worker} is swept away")
        return len(strays)
