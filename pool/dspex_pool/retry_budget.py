"""How much repeating the pool may do: tokens that successes earn and repeats spend.

Repeats cost most when there is least to give: a fault that kills every worker would have
each call run two or three times. The budget lets single deaths pass unnoticed and bounds
what a storm adds to one call in ten.
"""

from __future__ import annotations

from typing import Final

TENTHS_PER_REPEAT: Final = 10
"""Counted in tenths, as integers: a thousand times 0.1 is not 100."""

MIN_CAPACITY: Final = 100
"""Tokens of a small pool: enough for the full workers of a bad minute."""


def capacity_of(workers: int, calls_per_worker: int) -> int:
    """Tokens that a pool starts with: twice all of its places, so that all may die at once, twice."""
    return max(MIN_CAPACITY, 2 * workers * calls_per_worker)


class RetryBudget:
    """A bucket of tokens, full at first."""

    __slots__ = ("_full", "_tenths")

    def __init__(self, capacity: int) -> None:
        self._full = self._tenths = capacity * TENTHS_PER_REPEAT

    @property
    def tokens(self) -> float:
        """What is left, for `system.info`."""
        return self._tenths / TENTHS_PER_REPEAT

    @property
    def allows(self) -> bool:
        """Whether a call may be repeated."""
        return self._tenths >= TENTHS_PER_REPEAT

    def spend(self) -> None:
        """A call is repeated. Ask `allows` first."""
        assert self.allows
        self._tenths -= TENTHS_PER_REPEAT

    def earn(self) -> None:
        """A call has succeeded: a tenth of a token."""
        if self._tenths < self._full:
            self._tenths += 1
