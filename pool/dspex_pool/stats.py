"""Counts of what has happened, and how fast calls end."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """Since the server started.

    Attributes:
        replied: Calls that ended with a result.
        failed: Calls that ended with an error, of whatever kind.
        overloaded: Calls refused because the queue or the memory for payloads was full.
        deadlines: Calls whose time was over.
        repeated: Calls given to another worker because theirs had died.
        worker_deaths: Workers that died after they were ready.
        stuck: Workers killed because a call that was given up did not end.
        shed: Calls taken out of the queue: too old, or displaced by another tenant's.
        bloated: Workers killed because their memory had grown beyond the hard limit.
    """

    replied: int = 0
    failed: int = 0
    overloaded: int = 0
    deadlines: int = 0
    repeated: int = 0
    worker_deaths: int = 0
    stuck: int = 0
    shed: int = 0
    bloated: int = 0

    def snapshot(self) -> dict[str, int]:
        """As plain values."""
        return asdict(self)


class Throughput:
    """Calls that end per second, lately.

    Attributes:
        count: To be increased by whoever ends a call: one addition on the hot path.
    """

    __slots__ = ("_rate", "_since_s", "count")

    WINDOW_S = 1.0

    def __init__(self) -> None:
        self.count = 0
        self._since_s: float | None = None
        self._rate = 0.0

    def per_s(self, now_s: float) -> float:
        """The rate over the last window, or since the last question where that is longer."""
        if self._since_s is None:
            self._since_s, self.count = now_s, 0
        elif now_s - self._since_s >= self.WINDOW_S:
            self._rate = self.count / (now_s - self._since_s)
            self._since_s, self.count = now_s, 0
        return self._rate
