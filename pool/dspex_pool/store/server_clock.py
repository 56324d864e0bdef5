"""When a commit is too late, by the clock of the server that gets it.

A commit whose answer does not come leaves its sender in doubt, and reading must settle that. But
a server that stood still may find the commit in its buffers and do it after somebody has read.
So each commit says until when it may happen, and the server refuses what it gets later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MICROSECONDS: Final = 1_000_000

LONGEST_US: Final = 1 << 51
"""Of a time to live, 71 years: the sum of two is still exact in a floating-point number, as Lua has."""


def microseconds(seconds: float) -> int:
    """A time to live as servers are told it."""
    return max(1, min(LONGEST_US, round(seconds * MICROSECONDS)))


class ServerClock:
    """The clock of a server, as one connection to it has heard.

    It is at least what an answer said plus the time since then; more by the time that the answer
    took, which is under the time limit. So a commit gets two limits: then it is not refused in
    vain, and two limits after it was sent there is no doubt any more. Where the server's clock
    was set meanwhile, a refusal brings the new time, and the commit can be sent again.

    Args:
        timeout_s: How long an answer may take.
        clock: Seconds that only grow.
    """

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._patience_us = round(2 * timeout_s * MICROSECONDS)
        self._ahead_us = 0

    def heard(self, server_us: int) -> None:
        """Its time, in microseconds since whenever, came with an answer just now."""
        self._ahead_us = server_us - self._now_us()

    def deadline_us(self) -> int:
        """Until when a commit that is sent now may happen, by the server's time in microseconds."""
        return self._now_us() + self._ahead_us + self._patience_us

    def _now_us(self) -> int:
        return round(self._clock() * MICROSECONDS)
