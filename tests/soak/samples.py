"""What is looked at again and again while calls are made, and how it is kept.

The arrays are there before the first sample: a sampler that grows would find itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dspex_pool.client import Client
from tests.support.anatomy import Holdings, holdings, own_bytes
from tests.support.servers import wait_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What must be the same at the last sample as at the first, to the last one."""

    supervisor: Holdings
    worker: Holdings | None
    waiting: int
    open_bytes: int
    calls: int


class Samples:
    """A series.

    Args:
        count: How many there will be.
    """

    def __init__(self, count: int) -> None:
        self._count = 0
        self._calls = array("d", bytes(8 * count))
        self._supervisor = array("d", bytes(8 * count))
        self._worker = array("d", bytes(8 * count))

    def add(self, calls: int, supervisor_bytes: int, worker_bytes: int) -> None:
        """Keep one sample, taken after so many calls."""
        at = self._count
        self._calls[at], self._supervisor[at], self._worker[at] = calls, supervisor_bytes, worker_bytes
        self._count += 1

    @property
    def calls(self) -> Sequence[float]:
        """After how many calls each was taken."""
        return self._calls[: self._count]

    @property
    def supervisor_bytes(self) -> Sequence[float]:
        """The supervisor's own memory."""
        return self._supervisor[: self._count]

    @property
    def worker_bytes(self) -> Sequence[float]:
        """The worker's own memory; 0 where it is replaced all the time."""
        return self._worker[: self._count]


async def idle(client: Client, workers: int) -> dict[str, Any]:
    """Wait until every worker is there and nothing is open; the snapshot that says so."""
    return await wait_for(
        client,
        lambda now: (
            now["ready_workers"] == workers
            and not now["waiting"]
            and not now["open_bytes"]
            and not any(worker["calls"] for worker in now["workers"])
        ),
    )


def measure(snapshot: dict[str, Any], *, with_worker: bool) -> tuple[int, int]:
    """The supervisor's and the first worker's own memory."""
    worker = own_bytes(snapshot["workers"][0]["pid"]) if with_worker else 0
    return own_bytes(snapshot["pid"]), worker


def counts(snapshot: dict[str, Any], *, with_worker: bool) -> Counts:
    """Everything that is counted."""
    return Counts(
        supervisor=holdings(snapshot["pid"]),
        worker=holdings(snapshot["workers"][0]["pid"]) if with_worker else None,
        waiting=snapshot["waiting"],
        open_bytes=snapshot["open_bytes"],
        calls=sum(worker["calls"] for worker in snapshot["workers"]),
    )
