"""Which call goes to which worker. Pure: plain records in, a choice out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """What the choice needs to know of a worker."""

    @property
    def load(self) -> int:
        """Calls that it has."""
        ...

    @property
    def is_accepting(self) -> bool:
        """Whether it may be given calls."""
        ...

    @property
    def is_clogged(self) -> bool:
        """Whether it has not taken what was sent to it long ago."""
        ...


W = TypeVar("W", bound=Candidate)


def least_loaded(workers: Iterable[W], limit: int) -> W | None:
    """The worker with the fewest calls, or None when none has room.

    Args:
        workers: In a fixed order; the first of equals wins.
        limit: Calls that a worker may have.
    """
    return min((worker for worker in workers if has_room(worker, limit)), key=lambda w: w.load, default=None)


def has_room(worker: Candidate, limit: int) -> bool:
    """Whether a worker can take one more call."""
    return worker.is_accepting and worker.load < limit and not worker.is_clogged


def retry_after_ms(waiting: int, outcomes_per_s: float) -> int:
    """When an overloaded client should come back: when half the queue will be gone.

    Args:
        waiting: Calls in the queue.
        outcomes_per_s: How fast calls have been ending lately.

    Returns:
        Milliseconds from 50 to 10,000.
    """
    if outcomes_per_s <= 0:
        return 1000
    return int(min(10_000, max(50, waiting / 2 / outcomes_per_s * 1000)))
