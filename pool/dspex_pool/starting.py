"""Starting workers: from the wish for one to one that has shown that it is of use.

Slot ──begin──► process ──hello──► programs built ──on_ready──► first call begun, or a second lived
         ▲                                                                │
         └────────────── later, and later each time ◄─────────── ends before that
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from dspex_protocol import DSPexError, Oversized, WireError

from .booting import BootRecord, boot_failure
from .config import Config
from .greeting import HELLO_ID, hello_frame, read_welcome
from .hand_over import answered, prepare
from .holdings import Holdings
from .lifecycle import WorkerEvent
from .ports import Ports, Process, Timer
from .recycling import draw_allowance
from .slot import Slot
from .worker import Worker

if TYPE_CHECKING:
    from .host import Host
    from .switchboard import Switchboard

# A worker that ends by itself so soon after it got ready, and before it began or answered a
# call, would do it again: it counts as one that never got ready.
EARLY_DEATH_S: Final = 1.0


class Owner(Protocol):
    """Whose workers they are; `slots.Slots` is one."""

    @property
    def target(self) -> int:
        """How many there should be."""
        ...

    def born(self, worker: Worker) -> None:
        """A worker has a process; it has not said anything yet."""
        ...

    def ready(self, worker: Worker) -> None:
        """It has answered hello, and built what it was handed."""
        ...

    def proved(self, worker: Worker) -> None:
        """It has lived a while, or has begun or answered a call."""
        ...

    def died(self, worker: Worker, reason: str, *, by_itself: bool) -> None:
        """Its process has ended."""
        ...


class Starts:
    """Starts workers for slots.

    Args:
        config: How long a boot may take, and what a worker may use.
        ports: The world.
        switchboard: Gets the frames of workers that are ready.
        host: What workers are told of the host.
        owner: Is told how they fare.
    """

    def __init__(
        self, config: Config, ports: Ports, switchboard: Switchboard, host: Host, owner: Owner
    ) -> None:
        self._config = config
        self._timers = ports.timers
        self._processes = ports.processes
        self._open_link = ports.open_link
        self._log = ports.log
        self._random = ports.random
        self._switchboard = switchboard
        self._host = host
        self._owner = owner
        self._last_number = 0
        self._boots = BootRecord(ports.random)
        self._unproven: dict[int, Timer] = {}  # ready, by number; they have done nothing yet
        self._closed = False

    def close(self) -> None:
        """Start none any more."""
        self._closed = True

    def next_number(self) -> int:
        """A number that no worker has had."""
        self._last_number += 1
        return self._last_number

    def fill(self, slot: Slot) -> None:
        """Start a worker for a slot, unless one is on its way."""
        if not slot.booting:
            slot.booting = True
            self._boot(slot)

    def _boot(self, slot: Slot) -> None:
        if self._closed:
            return
        if not slot.wants_worker:  # any more: this was the next try after a failure
            slot.booting = False
            return
        self._processes.spawn(
            lambda process, wire: self._greet(slot, process, wire),
            lambda reason: self.failed(slot, reason),
        )

    def _greet(self, slot: Slot, process: Process, wire: int) -> None:
        link = self._open_link(wire)
        if self._closed:
            link.close()
            process.kill()
            return
        worker = Worker(self.next_number(), slot.number, process, link)
        worker.allowance = draw_allowance(self._config, self._random)
        worker.holdings = Holdings(self._config.programs_per_worker, self._config.program_memory_mb << 20)
        self._owner.born(worker)
        timeout = self._timers.call_later(self._config.boot_timeout_s, self._boot_timed_out, worker)

        def died(reason: str) -> None:
            timeout.cancel()
            # SIGKILL by somebody else says nothing about the worker.
            self._owner.died(worker, reason, by_itself=process.killed or reason != "SIGKILL")

        process.on_exit = died
        link.on_end = lambda reason: self._hung_up(worker, reason)
        link.on_bodies = lambda bodies: self._welcomed(slot, worker, bodies, timeout.cancel)
        link.on_drained = self._room_again
        worker.last_id = HELLO_ID
        link.send(hello_frame(worker.number, self._config.max_frame_bytes, self._host.offer()))
        link.start()
        self._switchboard.flush()

    def _welcomed(
        self, slot: Slot, worker: Worker, bodies: list[bytes | Oversized], done: Callable[[], None]
    ) -> None:
        """The first frames of a worker: its answer to hello."""
        try:
            welcome = read_welcome(bodies[0])
        except DSPexError as refusal:
            self._refuse(worker, refusal, done)
            return
        worker.methods, worker.effects = frozenset(welcome.methods), frozenset(welcome.effects)
        awaited = self._hand_over(slot, worker)
        worker.link.on_bodies = lambda later: self._handed_over(worker, awaited, later, done)
        self._handed_over(worker, awaited, bodies[1:], done)

    def _hand_over(self, slot: Slot, worker: Worker) -> set[int]:
        """Have a successor get ready for the programs in use; returns the ids that it will answer."""
        # After a failure without: a program whose building kills must not keep the slot from being
        # filled. The slot knows, not the record of boots, which forgets when any other worker is of use.
        after_failure, slot.after_failure = slot.after_failure, False
        if slot.worker is None or after_failure:
            return set()
        awaited = prepare(worker, slot.worker.holdings)
        self._switchboard.flush()
        return awaited

    def _handed_over(
        self, worker: Worker, awaited: set[int], bodies: list[bytes | Oversized], done: Callable[[], None]
    ) -> None:
        """Frames of a worker that gets ready for its first call: it is when it has answered for all."""
        while awaited and bodies:
            try:
                awaited.discard(answered(bodies.pop(0)) or 0)
            except WireError as fault:
                self._refuse(worker, fault, done)
                return
        if not awaited:
            done()
            self._ready(worker, bodies)

    def _refuse(self, worker: Worker, refusal: DSPexError, done: Callable[[], None]) -> None:
        """A worker's first words are of no use: it is killed, and counts as one that did not start."""
        done()
        self._log.error("worker_refused", worker=worker.number, reason=refusal)
        # Why it is killed says more than that it was.
        words = str(refusal)
        worker.process.on_exit = lambda reason: self._owner.died(worker, words, by_itself=True)
        worker.link.on_bodies = lambda later: None
        worker.process.kill()

    def _ready(self, worker: Worker, bodies: list[bytes | Oversized]) -> None:
        """A worker may be given calls."""
        self._unproven[worker.number] = self._timers.call_later(EARLY_DEATH_S, self._proved, worker)
        worker.link.on_bodies = lambda later: self._first_frames(worker, later)
        worker.move(WorkerEvent.GREETED)
        worker.ready_s = self._timers.time()
        self._log.info("worker_ready", worker=worker.number, pid=worker.process.pid)
        self._owner.ready(worker)
        if bodies:
            self._first_frames(worker, bodies)

    def _first_frames(self, worker: Worker, bodies: list[bytes | Oversized]) -> None:
        """Frames of a worker that has not shown yet that it is of use."""
        had = set(worker.calls)
        self._switchboard.take_from_worker(worker, bodies)
        if worker.started_up_to or had - worker.calls.keys():
            self._proved(worker)

    def _proved(self, worker: Worker) -> None:
        """A worker has lived a while, or has begun or answered a call: workers do start."""
        timer = self._unproven.pop(worker.number, None)
        if timer is not None:
            timer.cancel()
            self._boots.succeeded()
            worker.link.on_bodies = lambda later: self._switchboard.take_from_worker(worker, later)
            self._owner.proved(worker)

    def _room_again(self) -> None:
        """A worker that had not read has: calls may wait for it."""
        self._switchboard.pump()
        self._switchboard.flush()

    def _boot_timed_out(self, worker: Worker) -> None:
        self._log.error("worker_boot_timeout", worker=worker.number, after_s=self._config.boot_timeout_s)
        worker.cause = f"it was not ready after {self._config.boot_timeout_s:g} s"
        worker.process.kill()

    def _hung_up(self, worker: Worker, reason: WireError | None) -> None:
        """A worker without a wire is of no use, whatever it is doing."""
        if reason is not None:
            self._log.error("worker_broke_framing", worker=worker.number, reason=reason)
            worker.doubt()
            worker.cause = (
                "it broke the framing"  # without a fault it may just have died: how, is to be heard
            )
        if worker.is_accepting:
            worker.move(WorkerEvent.DRAIN)  # it may take a moment to die
        worker.process.kill()

    def was_early(self, worker: Worker) -> bool:
        """Whether a worker has ended without having shown that it is of use. Asked once."""
        timer = self._unproven.pop(worker.number, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def failed(self, slot: Slot, reason: str, *, again: bool = True) -> None:
        """A worker was of no use: try again later, and later each time.

        Args:
            slot: Its place.
            reason: Why, with its last words.
            again: False where another is on its way already.
        """
        if self._closed:
            return
        slot.after_failure = True
        now_s = self._timers.time()
        backoff_s = self._boots.failed(now_s)
        in_a_row = self._boots.failures_in_a_row
        self._log.error("worker_boot_failed", reason=reason[-500:], in_a_row=in_a_row)
        if again:
            slot.booting = True
            self._timers.call_later(backoff_s, self._boot, slot)
        # Where none is wanted there is no next try that would show that all is well again: a call's will.
        if self._boots.is_broken(now_s) and self._owner.target:
            self._switchboard.no_workers(boot_failure(reason))
