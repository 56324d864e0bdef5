"""A WORKER as the supervisor sees it: a process, its link, and the calls it has."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING

from .holdings import Holdings
from .lifecycle import ACCEPTING, WorkerEvent, WorkerState, after
from .recycling import Allowance, Baseline, RecycleReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .calls import Call
    from .link import Link
    from .ports import Process, Timer

# A worker that has left this much unread is stopped or stuck; more would only fill memory.
CLOGGED_BYTES = 8 * 1024 * 1024
UNLIMITED = Allowance(max_calls=None, max_age_s=None, soft_bytes=None, hard_bytes=None)


class Callback:
    """A call from a worker to the host, within a client's call.

    Attributes:
        worker: Who made it.
        worker_id: The id on the worker's link.
        call: The client's call within which it is made.
        host_id: The id on the client's link.
        credit: Items that the worker still takes.
        next_seq: The number that the next ITEM must have.
    """

    __slots__ = ("call", "credit", "host_id", "next_seq", "worker", "worker_id")

    def __init__(self, worker: Worker, worker_id: int, call: Call, host_id: int, credit: int = 0) -> None:
        self.worker = worker
        self.worker_id = worker_id
        self.call = call
        self.host_id = host_id
        self.credit = credit
        self.next_seq = 0


class Worker:
    """One worker process.

    Attributes:
        number: Never used twice in a server's life.
        slot: The place that it fills; its replacement gets the same.
        calls: What it runs, by id on its link; a call that its client gave up stays here
            until the worker says that it has ended.
        started_up_to: It has begun all calls with ids up to this one.
        callbacks: Its open calls to the host, by its id.
        methods: Methods that it has.
        effects: Methods that it said must not be repeated.
        served: Calls that have ended here.
        ready_s: When it was ready (monotonic).
        allowance: How much it may serve, grow and age.
        baseline: What its memory was before it grew.
        memory_bytes: Memory that it shares with nobody, at the last reading.
        own_bytes: How far that is over the baseline.
        holdings: Stored programs that it has.
        sessions: Sessions that it has in memory, by id: which life of it, and the turn; the least recently
            used first.
        retiring: Why it is to be replaced, once it is.
        let_go: It was told to end since it has nothing left to do.
        cause: Why we killed it, in words; None when we did not, or none is needed.
        innocent_end: It was killed for a reason that none of its calls is guilty of.
        drain_timer: Ends its drain.
        on_worn: Is called when it has served all the calls of its allowance.
        on_empty: Is called when it drains and its last call has ended.
    """

    __slots__ = (
        "allowance",
        "baseline",
        "callbacks",
        "calls",
        "cause",
        "drain_timer",
        "effects",
        "holdings",
        "innocent_end",
        "last_id",
        "let_go",
        "link",
        "memory_bytes",
        "methods",
        "number",
        "on_empty",
        "on_worn",
        "own_bytes",
        "process",
        "ready_s",
        "retiring",
        "served",
        "sessions",
        "slot",
        "started_up_to",
        "state",
    )

    def __init__(self, number: int, slot: int, process: Process, link: Link) -> None:
        self.number = number
        self.slot = slot
        self.process = process
        self.link = link
        self.state = WorkerState.STARTING
        self.calls: dict[int, Call] = {}
        self.last_id = 0
        self.started_up_to = 0
        self.callbacks: dict[int, Callback] = {}
        self.methods: frozenset[str] = frozenset()
        self.effects: frozenset[str] = frozenset()
        self.served = 0
        self.ready_s = 0.0
        self.allowance = UNLIMITED
        self.baseline = Baseline()
        self.memory_bytes = 0
        self.own_bytes = 0
        self.holdings = Holdings(1, 1)  # its limits are set where it is started
        self.sessions: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self.retiring: RecycleReason | None = None
        self.let_go = False
        self.cause: str | None = None
        self.innocent_end = False
        self.drain_timer: Timer | None = None
        self.on_worn: Callable[[], object] = _nothing
        self.on_empty: Callable[[], object] = _nothing

    def __repr__(self) -> str:
        return f"<Worker {self.number} pid={self.process.pid} {self.state} calls={len(self.calls)}>"

    @property
    def load(self) -> int:
        """Calls that it has, those that were given up included."""
        return len(self.calls)

    @property
    def is_accepting(self) -> bool:
        """Whether it may be given calls."""
        return self.state in ACCEPTING

    @property
    def is_clogged(self) -> bool:
        """Whether it has stopped reading."""
        return self.link.unread_bytes > CLOGGED_BYTES

    def holds(self, record: tuple[str, int, bytes]) -> bool:
        """Whether it has a stored program, given as (id, version, record)."""
        return self.holdings.has(record[:2], record[2])

    @property
    def programs_in_use(self) -> Iterator[tuple[str, int]]:
        """Stored programs of the calls that it has."""
        return (call.record[:2] for call in self.calls.values() if call.record is not None)

    def has_unstarted(self, count: int) -> bool:
        """Whether it has so many calls that it has not begun."""
        newest = islice(reversed(self.calls), count)  # ids grow, so the rest is older still
        return sum(worker_id > self.started_up_to for worker_id in newest) == count

    def move(self, event: WorkerEvent) -> None:
        """The one place where a worker's state changes."""
        self.state = after(self.state, event)

    def take(self, call: Call) -> int:
        """Give it a call; returns the call's id on its link."""
        self.last_id += 1
        self.calls[self.last_id] = call
        call.worker = self
        call.worker_id = self.last_id
        if self.state not in (WorkerState.BUSY, WorkerState.DRAINING):  # there only parts of what it has
            self.move(WorkerEvent.TAKE)
        return self.last_id

    def doubt(self) -> None:
        """It broke the protocol: any of its calls may have begun, for what it would have said is lost."""
        self.started_up_to = self.last_id

    def release(self, worker_id: int) -> Call | None:
        """A call has ended here. None when it never was here."""
        call = self.calls.pop(worker_id, None)
        if call is None:
            return None
        self.served += 1
        if self.served == self.allowance.max_calls:
            self.on_worn()
        if not self.calls:
            self.move(WorkerEvent.EMPTY)
            if self.state is WorkerState.DRAINING:
                self.on_empty()
        return call


def _nothing() -> None:
    """Nobody waits for it."""
