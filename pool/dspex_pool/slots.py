"""The slots: each holds one worker, and a new one when that worker is gone.

Starts workers, greets them, replaces them, and backs off when they do not start. What a
death means for the calls is the switchboard's to say.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, Literal

from dspex_protocol import (
    CALL,
    DSPexError,
    Oversized,
    WireError,
    decode_envelope,
    decode_failure,
    decode_value,
    encode,
    encode_value,
    error,
)
from dspex_protocol.envelope import FAIL, REPLY
from dspex_protocol.limits import PROTOCOL, VERSION
from dspex_protocol.records import read

from .config import Config
from .lifecycle import WorkerEvent, WorkerState
from .link import Link
from .logs import Log
from .processes import kill_children
from .spawning import ChildProcess, Spawner
from .worker import Worker

if TYPE_CHECKING:
    from .host import Host
    from .switchboard import Switchboard

# After a worker that never got ready: 0.1 s, doubled each time, at most 5 s, ±50 %.
FIRST_BACKOFF_S: Final = 0.1
MAX_BACKOFF_S: Final = 5.0
# A worker that ends by itself so soon after it got ready, and before it began or answered a
# call, would do it again: it counts as one that never got ready.
EARLY_DEATH_S: Final = 1.0
# Five failed boots within a minute and not one worker: say so to whoever waits.
BREAKER_FAILURES: Final = 5
BREAKER_WINDOW_S: Final = 60.0
HELLO_ID: Final = 1
SWEEP_AGAIN_S: Final = 0.05
MAX_LAST_READS: Final = 64
"""Reads of what a dead worker had written: several times what its socket holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerWelcome:
    """A worker's answer to hello; docs/protocol.md section 9."""

    protocol: Literal["dspex"]
    version: int
    pid: int
    methods: list[str]
    effects: list[str]


class Slots:
    """Keeps `config.workers` workers alive.

    Args:
        loop: The event loop.
        config: How many, and how long a boot may take.
        spawner: Where processes come from.
        switchboard: Is told of workers that are ready and gone.
        host: What workers are told of the host.
        dirty: Links with something to write.
        log: For operators.
        random: For jitter.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        spawner: Spawner,
        switchboard: Switchboard,
        host: Host,
        dirty: list[Link],
        log: Log,
        random: Random,
    ) -> None:
        self._loop = loop
        self._config = config
        self._spawner = spawner
        self._switchboard = switchboard
        self._host = host
        self._dirty = dirty
        self._log = log
        self._random = random
        self._workers: dict[int, Worker] = {}  # by number, those that are starting included
        self._next_number = 1
        self._boot_failures: deque[float] = deque(maxlen=BREAKER_FAILURES)
        self._failures_in_a_row = 0
        self._unproven: dict[int, asyncio.TimerHandle] = {}  # ready, by number; they have done nothing yet
        self._closing = False
        self._sweep_due = False
        self.restarts = 0

    def start(self) -> None:
        """Fill every slot."""
        self._spawner.start()
        for slot in range(self._config.workers):
            self._fill(slot)

    def snapshot(self) -> list[dict[str, object]]:
        """Every worker, as plain values."""
        return [
            {
                "worker": worker.number,
                "slot": worker.slot,
                "pid": worker.process.pid,
                "state": str(worker.state),
                "calls": worker.load,
                "programs": len(worker.programs),
            }
            for worker in self._workers.values()
        ]

    def close(self) -> None:
        """Kill every worker and start none."""
        self._closing = True
        self._spawner.close()
        for worker in self._workers.values():
            worker.process.kill()

    def reconfigure(self) -> None:
        """Tell every worker what the host offers now."""
        frame_payload = encode_value(self._host.offer())
        for worker in self._workers.values():  # those that are starting too: their hello is on its way
            worker.last_id += 1
            worker.link.send(encode(CALL, worker.last_id, "worker.configure", {}, frame_payload))

    def _fill(self, slot: int) -> None:
        if not self._closing:
            self._spawner.spawn(
                lambda process, wire: self._greet(slot, process, wire),
                lambda reason: self._no_boot(slot, reason),
            )

    def _greet(self, slot: int, process: ChildProcess, wire: int) -> None:
        if self._closing:
            os.close(wire)
            process.kill()
            return
        link = Link(self._loop, wire, wire, self._dirty, self._config.max_frame_bytes)
        worker = Worker(self._next_number, slot, process, link)
        self._next_number += 1
        self._workers[worker.number] = worker
        timeout = self._loop.call_later(self._config.boot_timeout_s, self._boot_timed_out, worker)

        def died(reason: str) -> None:
            timeout.cancel()
            # SIGKILL by somebody else says nothing about the worker.
            self._died(worker, reason, by_itself=process.killed or reason != "SIGKILL")

        process.on_exit = died
        link.on_end = lambda reason: self._hung_up(worker, reason)
        link.on_bodies = lambda bodies: self._welcomed(worker, bodies, timeout.cancel)
        link.on_drained = self._room_again
        hello = {
            "protocol": PROTOCOL,
            "versions": [VERSION],
            "worker": worker.number,
            "max_frame_bytes": self._config.max_frame_bytes,
            **self._host.offer(),
        }
        worker.last_id = HELLO_ID
        link.send(encode(CALL, HELLO_ID, "system.hello", {}, encode_value(hello)))
        link.start()
        self._switchboard.flush()

    def _welcomed(self, worker: Worker, bodies: list[bytes | Oversized], done: Callable[[], None]) -> None:
        """The first frames of a worker: its answer to hello."""
        done()
        try:
            worker.methods, worker.effects = _read_welcome(bodies[0])
        except DSPexError as refusal:
            self._log.error("worker_refused", worker=worker.number, reason=refusal)
            # Why it is killed says more than that it was.
            words = str(refusal)
            worker.process.on_exit = lambda reason: self._died(worker, words, by_itself=True)
            worker.process.kill()
            return
        worker.move(WorkerEvent.GREETED)
        self._unproven[worker.number] = self._loop.call_later(EARLY_DEATH_S, self._proved, worker)
        worker.link.on_bodies = lambda later: self._first_frames(worker, later)
        self._log.info("worker_ready", worker=worker.number, pid=worker.process.pid)
        self._switchboard.worker_ready(worker)
        if bodies[1:]:
            self._first_frames(worker, bodies[1:])

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
            self._failures_in_a_row = 0
            self._boot_failures.clear()
            worker.link.on_bodies = lambda later: self._switchboard.take_from_worker(worker, later)

    def _room_again(self) -> None:
        """A worker that had not read has: calls may wait for it."""
        self._switchboard.pump()
        self._switchboard.flush()

    def _boot_timed_out(self, worker: Worker) -> None:
        self._log.error("worker_boot_timeout", worker=worker.number, after_s=self._config.boot_timeout_s)
        worker.process.kill()

    def _hung_up(self, worker: Worker, reason: WireError | None) -> None:
        """A worker without a wire is of no use, whatever it is doing."""
        if reason is not None:
            self._log.error("worker_broke_framing", worker=worker.number, reason=reason)
        worker.process.kill()

    def _died(self, worker: Worker, reason: str, *, by_itself: bool) -> None:
        """A worker's process has ended: its last words count, then it is replaced."""
        # Bounded: a child that it left behind may hold the wire and go on writing.
        for _ in range(MAX_LAST_READS):
            if not worker.link.read():
                break
        worker.link.close()
        del self._workers[worker.number]
        was_ready = worker.state is not WorkerState.STARTING
        unproven = self._unproven.pop(worker.number, None)
        if unproven is not None:
            unproven.cancel()
        failed = not was_ready or (unproven is not None and by_itself)
        worker.move(WorkerEvent.DIE)
        if self._closing:
            return
        self._log.warning("worker_died", worker=worker.number, pid=worker.process.pid, reason=reason)
        self.restarts += was_ready
        if not failed:
            self._fill(worker.slot)
        self._switchboard.worker_lost(worker, reason)
        if failed:
            self._no_boot(worker.slot, f"{reason}\n{worker.process.last_words()}")
        self._sweep_soon()

    def _no_boot(self, slot: int, reason: str) -> None:
        """A worker did not get ready: try again later, and later each time."""
        if self._closing:
            return
        now_s = self._loop.time()
        self._boot_failures.append(now_s)
        self._failures_in_a_row += 1
        self._log.error("worker_boot_failed", reason=reason[-500:], in_a_row=self._failures_in_a_row)
        backoff_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._failures_in_a_row - 1, 10))
        self._loop.call_later(backoff_s * self._random.uniform(0.5, 1.5), self._fill, slot)
        full = len(self._boot_failures) == BREAKER_FAILURES
        if full and now_s - self._boot_failures[0] < BREAKER_WINDOW_S:
            self._switchboard.no_workers(_boot_failure(reason))

    # What dead workers left behind

    def _sweep_soon(self) -> None:
        if not self._sweep_due:
            self._sweep_due = True
            self._loop.call_later(SWEEP_AGAIN_S, self._sweep)

    def _sweep(self) -> None:
        """Kill children of ours that are none of ours: orphans of dead workers."""
        self._sweep_due = False
        if self._closing:
            return
        if self._spawner.is_forking:  # a worker may exist whose pid we do not know yet
            self._sweep_soon()
            return
        own = self._spawner.own_pids | {worker.process.pid for worker in self._workers.values()}
        # A worker leads its group: who is in it is a helper of a living worker. One that also
        # left the group cannot be told from an orphan, and dies.
        groups = {worker.process.pid for worker in self._workers.values()}
        if kill_children(own, groups):
            self._sweep_soon()


def _read_welcome(body: bytes | Oversized) -> tuple[frozenset[str], frozenset[str]]:
    """A worker's answer to hello: its methods, and those that must not be repeated."""
    if isinstance(body, Oversized):
        raise error("handshake_failed", "the worker's first frame is too large")
    envelope = decode_envelope(body)
    payload = body[envelope.payload_at :]
    if envelope.kind == FAIL:
        raise decode_failure(payload)
    if envelope.kind != REPLY:
        raise error("handshake_failed", "the worker's first frame is no answer to hello")
    welcome = read(WorkerWelcome, decode_value(payload))
    return frozenset(welcome.methods), frozenset(welcome.effects)


def _boot_failure(reason: str) -> DSPexError:
    return error(
        "boot_failed",
        f"workers do not start ({BREAKER_FAILURES} failures within {BREAKER_WINDOW_S:.0f} s);"
        " `dspex doctor` may tell why",
        details={"stderr": reason[-4096:]},
        retry_after_ms=int(MAX_BACKOFF_S * 1000),
    )
