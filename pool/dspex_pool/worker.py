"""A WORKER as the supervisor sees it: a process, its link, and the calls it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .lifecycle import ACCEPTING, WorkerEvent, WorkerState, after

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calls import Call
    from .link import Link

# A worker that has left this much unread is stopped or stuck; more would only fill memory.
CLOGGED_BYTES = 8 * 1024 * 1024


class Process(Protocol):
    """A worker's operating-system process, real or simulated."""

    pid: int
    on_exit: Callable[[str], None]

    def kill(self) -> None:
        """End it and its process group; `on_exit` follows."""
        ...

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        ...


class Callback:
    """A call from a worker to the host, within a client's call."""

    __slots__ = ("call", "host_id", "worker", "worker_id")

    def __init__(self, worker: Worker, worker_id: int, call: Call, host_id: int) -> None:
        self.worker = worker
        self.worker_id = worker_id
        self.call = call
        self.host_id = host_id


class Worker:
    """One worker process.

    Attributes:
        number: Never used twice in a server's life.
        slot: The place that it fills; its replacement gets the same.
        calls: What it runs, by id on its link; a call that its client gave up stays here
            until the worker says that it has ended.
        started_up_to: It has begun all calls with ids up to this one.
        programs: Records of stored programs that it was sent, by id and version.
        callbacks: Its open calls to the host, by its id.
        methods: Methods that it has.
        effects: Methods that it said must not be repeated.
    """

    __slots__ = (
        "callbacks",
        "calls",
        "effects",
        "last_id",
        "link",
        "methods",
        "number",
        "process",
        "programs",
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
        self.programs: dict[tuple[str, int], bytes] = {}
        self.callbacks: dict[int, Callback] = {}
        self.methods: frozenset[str] = frozenset()
        self.effects: frozenset[str] = frozenset()

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

    def move(self, event: WorkerEvent) -> None:
        """The one place where a worker's state changes."""
        self.state = after(self.state, event)

    def take(self, call: Call) -> int:
        """Give it a call; returns the call's id on its link."""
        self.last_id += 1
        self.calls[self.last_id] = call
        call.worker = self
        call.worker_id = self.last_id
        if self.state is not WorkerState.BUSY:
            self.move(WorkerEvent.TAKE)
        return self.last_id

    def release(self, worker_id: int) -> Call | None:
        """A call has ended here. None when it never was here."""
        call = self.calls.pop(worker_id, None)
        if not self.calls and self.state is WorkerState.BUSY:
            self.move(WorkerEvent.EMPTY)
        return call
