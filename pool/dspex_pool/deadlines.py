"""What ends by time, without a timer for each: a wheel of 10 ms buckets.

A timer object per call costs more than the rest of its bookkeeping, and nearly all calls
end long before their deadline. Adding and removing here are two dictionary operations;
the event loop has one timer, for the first bucket.
"""

from __future__ import annotations

import heapq
from typing import Final, Generic, TypeVar

T = TypeVar("T")

TICKS_PER_S: Final = 100
MIN_COMPACTED: Final = 1024


class DeadlineWheel(Generic[T]):
    """Things with a time each. Pure: `now` is always passed in, in seconds."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[T, None]] = {}
        self._ticks: list[int] = []
        self._tick_of: dict[T, int] = {}
        self._compact_at = MIN_COMPACTED

    def __len__(self) -> int:
        return len(self._tick_of)

    def add(self, thing: T, at_s: float) -> None:
        """Have `thing` come due at that time; a second adding moves it."""
        self.remove(thing)
        tick = int(at_s * TICKS_PER_S) + 1  # never early
        bucket = self._buckets.get(tick)
        if bucket is None:
            if len(self._buckets) >= self._compact_at:
                self._compact()
            bucket = self._buckets[tick] = {}
            heapq.heappush(self._ticks, tick)
        bucket[thing] = None
        self._tick_of[thing] = tick

    def remove(self, thing: T) -> None:
        """Forget it; no error when it is not there."""
        tick = self._tick_of.pop(thing, None)
        if tick is not None:
            del self._buckets[tick][thing]

    def next_s(self) -> float | None:
        """When something comes due first, or None."""
        while self._ticks:
            tick = self._ticks[0]
            if self._buckets[tick]:
                return tick / TICKS_PER_S
            self._drop_first()
        return None

    def due(self, now_s: float) -> list[T]:
        """Take out what is due, earliest first."""
        things: list[T] = []
        while self._ticks and self._ticks[0] / TICKS_PER_S <= now_s:
            bucket = self._buckets[self._ticks[0]]
            for thing in bucket:
                del self._tick_of[thing]
                things.append(thing)
            self._drop_first()
        return things

    def _compact(self) -> None:
        # What ended long before its deadline has left an empty bucket. It is dropped here,
        # each time that their number has doubled, and not in `remove`: calls that end at
        # once would make and drop the same bucket over and over.
        self._buckets = {tick: bucket for tick, bucket in self._buckets.items() if bucket}
        self._ticks = sorted(self._buckets)  # a sorted list is a heap
        self._compact_at = max(MIN_COMPACTED, 2 * len(self._buckets))

    def _drop_first(self) -> None:
        del self._buckets[heapq.heappop(self._ticks)]
