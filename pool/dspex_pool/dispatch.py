"""Which worker gets a call. Pure: plain records in, a choice out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias, TypeVar

AFFINITY_SLACK: Final = 4
"""Calls that a worker may have more than another and still be chosen for what it holds.

Building a program from its record costs a few milliseconds, about as much as four calls
that are ahead in the same worker. More slack would crowd one worker while others are idle.
"""

Record: TypeAlias = tuple[str, int, bytes]
"""A stored program: id, version, record."""


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

    def holds(self, record: Record) -> bool:
        """Whether it has a stored program already."""
        ...

    def has_unstarted(self, count: int) -> bool:
        """Whether it has so many calls that it has not begun."""
        ...


W = TypeVar("W", bound=Candidate)


def choose(
    workers: Iterable[W],
    limit: int,
    *,
    record: Record | None = None,
    max_unstarted: int | None = None,
    is_fit: Callable[[W], bool] | None = None,
) -> W | None:
    """The worker for a call, or None when none has room.

    That with the fewest calls; or, of those that hold the program, that with the fewest, while
    it has at most `AFFINITY_SLACK` more. The first of equals wins.

    Args:
        workers: In a fixed order.
        limit: Calls that a worker may have.
        record: The stored program that the call uses.
        max_unstarted: Calls that a worker may have without having begun them.
        is_fit: A further condition.
    """
    best: W | None = None
    holder: W | None = None
    best_load, holder_load = limit, limit
    for worker in workers:
        load = worker.load
        if load >= limit or (load >= best_load and record is None):
            continue
        if not worker.is_accepting or worker.is_clogged:
            continue
        if max_unstarted is not None and worker.has_unstarted(max_unstarted):
            continue
        if is_fit is not None and not is_fit(worker):
            continue
        if load < best_load:
            best, best_load = worker, load
        if record is not None and load < holder_load and worker.holds(record):
            holder, holder_load = worker, load
    return holder if holder is not None and holder_load <= best_load + AFFINITY_SLACK else best


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
