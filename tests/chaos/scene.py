"""THE SCENE: the server under test, as faults and callers see it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Any, Final

from tests.support.anatomy import children, resident_bytes
from tests.support.servers import workers

from .history import CallRecord, Fault, Kind
from .recorder import Recorder

PATIENCE_S: Final = 10.0
"""After a deadline: an outcome that has not come by then never will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much the faults take; a short run takes less.

    Attributes:
        soft_mb: The server's `memory_soft_mb`.
        hard_mb: The server's `memory_hard_mb`.
        flood_mb: What is written to stderr at once.
        blob_mb: What a slow reader leaves unread.
    """

    soft_mb: int = 48
    hard_mb: int = 128
    flood_mb: int = 100
    blob_mb: int = 100


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a fault may lay its hands on.

    Attributes:
        client: The client whose history counts.
        supervisor: Pid.
        address: Where further clients may connect.
        limits_memory: The server recycles and kills by memory.
        sizes: How much.
    """

    client: Recorder
    supervisor: int
    address: str
    limits_memory: bool
    sizes: Sizes

    async def call(self, kind: Kind, method: str, deadline_s: float, **payload: object) -> CallRecord:
        """Make a call that is a fault by itself, and wait for its end.

        Waits for the outcome, or until none can come any more; its code is for the checker.
        """
        record, pending = self.client.begin(
            kind, method, payload, str(payload.get("nonce", "")), deadline_s=deadline_s
        )
        await asyncio.wait([pending.answer], timeout=deadline_s + PATIENCE_S)
        if pending.answer.done() and not pending.answer.cancelled():
            pending.answer.exception()
        return record

    async def some_worker(self, random: Random) -> dict[str, Any]:
        """One of the workers that are there; waits while there is none."""
        while not (found := await workers(self.client)):
            await asyncio.sleep(0.01)
        return found[random.randrange(len(found))]

    def kill(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a process of the server, if it is still one.

        A pid that was reaped meanwhile may be a stranger's by now: only children of the
        supervisor, and itself, are signalled.
        """
        with suppress(OSError):
            if pid == self.supervisor or pid in children(self.supervisor):
                os.kill(pid, number)

    @contextmanager
    def holding(self) -> Generator[None]:
        """Inside, no outcome can be seen: that is nobody's lateness."""
        from_s = monotonic()
        try:
            yield
        finally:
            self.client.history.held.append((from_s, monotonic()))

    def was_undisturbed_since(self, moment_s: float) -> bool:
        """Whether no worker died and nobody was held up: then every limit must have been kept."""
        history = self.client.history
        deaths = any(death.at_s >= moment_s for death in history.deaths)
        others = [fault for fault in history.faults if fault.until_s >= moment_s and fault.name != "bloat"]
        return not deaths and not others and not any(end >= moment_s for _, end in history.held)

    def supervisor_bytes(self) -> int:
        """The supervisor's memory."""
        return resident_bytes(self.supervisor)

    @contextmanager
    def at_work(self, name: str) -> Generator[Fault]:
        """Write a fault into the history, from its beginning to its end."""
        fault = Fault(name=name, from_s=monotonic())
        self.client.history.faults.append(fault)
        try:
            yield fault
        finally:
            fault.until_s = monotonic()
