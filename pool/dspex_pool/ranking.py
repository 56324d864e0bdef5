"""A ranking: things by a number that changes, of which only the first is ever asked for."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Ranking(Generic[T]):
    """Lowest first; of equals the one that was ranked first. Every step is O(log n), amortized.

    A heap cannot take out or move what is in its midst. So a thing that is ranked anew gets
    another entry, and the old one is passed over when it comes to the top.
    """

    def __init__(self) -> None:
        self._ranks: dict[T, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, thing: T) -> bool:
        return thing in self._ranks

    @property
    def entries(self) -> int:
        """What it keeps, with what is out of date: at most twice its things, and 64."""
        return len(self._heap)

    def rank_of(self, thing: T) -> float | None:
        """The number of a thing; None when it is not there."""
        entry = self._ranks.get(thing)
        return None if entry is None else entry[0]

    def set(self, thing: T, rank: float) -> None:
        """Put a thing in, or in another place."""
        self._count += 1
        self._ranks[thing] = (rank, self._count)
        heappush(self._heap, (rank, self._count, thing))
        if len(self._heap) > 2 * len(self._ranks) + 64:
            self._heap = [(rank, count, thing) for thing, (rank, count) in self._ranks.items()]
            heapify(self._heap)

    def drop(self, thing: T) -> None:
        """Take a thing out, if it is there."""
        self._ranks.pop(thing, None)

    def first(self) -> T | None:
        """The thing with the lowest number; it stays."""
        heap = self._heap
        while heap:
            rank, count, thing = heap[0]
            if self._ranks.get(thing) == (rank, count):
                return thing
            heappop(heap)
        return None
