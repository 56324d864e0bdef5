"""A GUEST: a process that is in no slot: started from nothing, greeted, and talked to by one who owns it.

A job has one, and the clerk is one. It takes no calls of clients, but for those that the host makes within
its functions in a job's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from dspex_protocol import (
    CALL,
    CANCEL,
    NIL,
    DSPexError,
    Envelope,
    Meta,
    Oversized,
    WireError,
    decode_envelope,
    encode,
    encode_value,
)

from .greeting import HELLO_ID, hello_frame, read_welcome
from .lifecycle import WorkerEvent, WorkerState
from .ports import Alone, Ports, Process
from .recycling import MIB, Allowance, is_bloated
from .worker import Worker

if TYPE_CHECKING:
    from .config import Config

SLOT: Final = -1
"""Of a worker that is in none."""


class Hearer(Protocol):
    """Who a guest talks to."""

    def ready(self, guest: Guest) -> None:
        """It has answered hello."""
        ...

    def heard(self, envelope: Envelope, body: bytes) -> None:
        """It has said something."""
        ...

    def ended(self, reason: str, *, by_itself: bool) -> None:
        """It has ended, or there will be none."""
        ...


class Guest:
    """One of them. Building it starts nothing.

    Args:
        config: How long a boot may take, and how much memory it may take.
        ports: The world.
        offer: What it is told of the host.
        number: Its own, among all workers.
        hearer: Who hears it.

    Attributes:
        worker: It, once there is a process.
        versions: What it is of, once it has answered hello.
    """

    def __init__(
        self,
        config: Config,
        ports: Ports,
        offer: Callable[[], dict[str, object]],
        number: int,
        hearer: Hearer,
    ) -> None:
        self._config = config
        self._ports = ports
        self._offer = offer
        self._number = number
        self._hearer = hearer
        self._is_over = False
        self._stop_waiting: Callable[[], None] = lambda: None
        self.worker: Worker | None = None
        self.versions: Mapping[str, str] = {}

    def start(self, alone: Alone) -> None:
        """Ask for a process of that kind."""
        self._ports.processes.spawn(self._greet, lambda reason: self._ended(reason, by_itself=False), alone)

    def cancel(self, call_id: int) -> bool:
        """Ask it to stop a call; False where it has none."""
        if self.worker is None or not call_id:
            return False
        self.worker.link.send(encode(CANCEL, call_id, None, {}, NIL))
        self.worker.link.flush()
        return True

    def call(self, method: str, payload: bytes, meta: Meta | None = None) -> int:
        """Call something there; returns the call's id."""
        assert self.worker is not None
        self.worker.last_id += 1
        self.worker.link.send(encode(CALL, self.worker.last_id, method, meta or {}, payload))
        return self.worker.last_id

    def configure(self) -> None:
        """Tell it what the host offers now."""
        if self.worker is not None and not self.worker.link.closed:
            self.call("worker.configure", encode_value(self._offer()))

    def kill(self, cause: str | None = None) -> None:
        """End it. Nothing is heard of it any more, where no cause is given."""
        if cause is None:
            self._is_over = True
        if self.worker is not None:
            self.worker.cause = self.worker.cause or cause
            self.worker.process.kill()

    def weigh(self, own_bytes: int) -> None:
        """Take a reading of its memory."""
        if self.worker is None or self.worker.process.killed:
            return
        self.worker.memory_bytes = own_bytes
        self.worker.own_bytes = self.worker.baseline.own_bytes(own_bytes, self.worker.served)
        if is_bloated(self.worker.allowance, self.worker.own_bytes):
            self.kill("its memory grew beyond memory_hard_mb")

    # From here on it is the process's turn

    def _greet(self, process: Process, wire: int) -> None:
        link = self._ports.open_link(wire)
        if self._is_over:
            link.close()
            process.kill()
            return
        self.worker = worker = Worker(self._number, SLOT, process, link)
        limit = self._config.memory_hard_mb
        worker.allowance = Allowance(
            max_calls=None, max_age_s=None, soft_bytes=None, hard_bytes=limit * MIB if limit else None
        )
        timer = self._ports.timers.call_later(self._config.boot_timeout_s, self._boot_timed_out)
        self._stop_waiting = timer.cancel
        process.on_exit = self._exited
        link.on_end = self._hung_up
        link.on_bodies = self._welcomed
        worker.last_id = HELLO_ID
        link.send(hello_frame(worker.number, self._config.max_frame_bytes, self._offer()))
        link.start()
        link.flush()
        self._ports.weighing.watch(worker.number, process.pid)

    def _welcomed(self, bodies: list[bytes | Oversized]) -> None:
        assert self.worker is not None
        try:
            welcome = read_welcome(bodies[0])
        except DSPexError as refusal:
            self.kill(str(refusal))
            return
        self._stop_waiting()
        self.worker.methods, self.worker.effects = frozenset(welcome.methods), frozenset(welcome.effects)
        self.versions = welcome.versions
        self.worker.move(WorkerEvent.GREETED)
        self.worker.link.on_bodies = self._take
        self._hearer.ready(self)
        self._take(bodies[1:])

    def _take(self, bodies: list[bytes | Oversized]) -> None:
        for body in bodies:
            if self._is_over:
                return
            try:
                if isinstance(body, Oversized):
                    raise WireError("frame_too_large", f"it sent a frame of {body.length} bytes")
                envelope = decode_envelope(body)
            except WireError as fault:
                self.kill(f"it broke the protocol: {fault.message}")
                return
            self._hearer.heard(envelope, body)

    def _boot_timed_out(self) -> None:
        self.kill(f"it was not ready after {self._config.boot_timeout_s:g} s")

    def _hung_up(self, reason: WireError | None) -> None:
        assert self.worker is not None
        if reason is not None:
            self.worker.cause = "it broke the framing"
        self.worker.process.kill()  # it may just have died: how, is to be heard

    def _exited(self, reason: str) -> None:
        assert self.worker is not None
        self._stop_waiting()
        self.worker.link.read_last_words()  # answers that are paid for may be among them
        self.worker.link.close()
        self._ports.weighing.forget(self.worker.number)
        cause = self.worker.cause
        # SIGKILL by somebody else says nothing about the job, nor does a boot that failed.
        was_ready = self.worker.state is not WorkerState.STARTING
        self._ended(cause or reason, by_itself=was_ready and (cause is not None or reason != "SIGKILL"))

    def _ended(self, reason: str, *, by_itself: bool) -> None:
        if not self._is_over:
            self._is_over = True
            self._hearer.ended(reason, by_itself=by_itself)
