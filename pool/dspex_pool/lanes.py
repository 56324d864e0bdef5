"""Lanes: what a call is for decides which places it may have, and who goes first. Pure.

interactive   somebody waits for it: may have every place
batch         nobody does: has its share, and what is idle but for a reserve
control       does no work of a program: never waits, and is not divided here
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from enum import StrEnum
from typing import Final


class Lane(StrEnum):
    """What a call is for; the words of the wire."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    CONTROL = "control"


RESERVE_PARTS: Final = 8
"""Of so many places batch leaves one idle, so that an interactive call starts at once.

Each costs batch its throughput while no interactive call is there, so not a quarter; and a
burst of interactive calls gets more as soon as batch calls end.
"""


class LaneShares:
    """How interactive and batch divide the places.

    Args:
        batch_share: Part of the places that batch gets while interactive calls wait too.
    """

    def __init__(self, batch_share: float) -> None:
        self._shares: Final = {Lane.INTERACTIVE: 1 - batch_share, Lane.BATCH: batch_share}
        self._taken = dict.fromkeys(self._shares, 0.0)

    def pick(self, running: Mapping[Lane, int], waiting: Mapping[Lane, Sized], capacity: int) -> Lane | None:
        """The lane whose call starts next, or None when none may."""
        return next(iter(self.order(running, waiting, capacity)), None)

    def order(
        self, running: Mapping[Lane, int], waiting: Mapping[Lane, Sized], capacity: int
    ) -> tuple[Lane, ...]:
        """The lanes that may start a call, the one that is furthest below its share first.

        Args:
            running: Calls that have places.
            waiting: Those that wait for one, by lane.
            capacity: Places that there are.
        """
        if not waiting[Lane.BATCH]:
            return (Lane.INTERACTIVE,) if waiting[Lane.INTERACTIVE] else ()
        if not self.admits(Lane.BATCH, running, capacity):
            return (Lane.INTERACTIVE,) if waiting[Lane.INTERACTIVE] else ()
        if not waiting[Lane.INTERACTIVE]:
            return (Lane.BATCH,)
        if self._rank(Lane.BATCH, running) < self._rank(Lane.INTERACTIVE, running):
            return (Lane.BATCH, Lane.INTERACTIVE)
        return (Lane.INTERACTIVE, Lane.BATCH)

    def _rank(self, lane: Lane, running: Mapping[Lane, int]) -> tuple[float, float]:
        # With one place both lanes have none whenever it is free: then they take turns.
        return (running[lane] / self._shares[lane], self._taken[lane])

    def admits(self, lane: Lane, running: Mapping[Lane, int], capacity: int) -> bool:
        """Whether a lane may have one more place, were there a free one.

        Batch may have its share whatever runs: else an interactive flood, which keeps all
        places but one busy, would leave it nothing. What it borrows leaves the reserve free.
        """
        if lane is not Lane.BATCH:
            return True
        unreserved = capacity - reserve_of(capacity)
        if running[Lane.BATCH] < min(capacity * self._shares[Lane.BATCH], unreserved):
            return True
        return occupied(running) < unreserved

    def took(self, lane: Lane, waiting: Mapping[Lane, Sized]) -> None:
        """A call that had waited has got a place."""
        if lane not in self._shares:
            return
        if waiting[Lane.BATCH] and waiting[Lane.INTERACTIVE]:
            self._taken[lane] += 1 / self._shares[lane]
        else:  # nothing to divide: who waits alone owes nothing later
            self._taken = dict.fromkeys(self._shares, 0.0)


def occupied(running: Mapping[Lane, int]) -> int:
    """Places that are taken. Those of the control lane are beyond the limit."""
    return running[Lane.INTERACTIVE] + running[Lane.BATCH]


def reserve_of(capacity: int) -> int:
    """Places that batch may not borrow: an eighth, at least one, never all."""
    return min(max(1, capacity // RESERVE_PARTS), max(0, capacity - 1))
