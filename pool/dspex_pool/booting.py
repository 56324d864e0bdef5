"""When workers do not start: how long to wait for the next try, and when to say so."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final

from dspex_protocol import DSPexError, error

# After a worker that never got ready: 0.1 s, doubled each time, at most 5 s, ±50 %.
FIRST_BACKOFF_S: Final = 0.1
MAX_BACKOFF_S: Final = 5.0
# Five failed boots within a minute and not one worker: say so to whoever waits.
BREAKER_FAILURES: Final = 5
BREAKER_WINDOW_S: Final = 60.0


class BootRecord:
    """How boots have gone lately. Pure: time is passed in."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failures: deque[float] = deque(maxlen=BREAKER_FAILURES)
        self.failures_in_a_row = 0

    def failed(self, now_s: float) -> float:
        """Note a failure.

        Returns:
            Seconds until the next try.
        """
        self._failures.append(now_s)
        self.failures_in_a_row += 1
        doubled: int = 1 << min(self.failures_in_a_row - 1, 10)
        backoff_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * doubled)
        return backoff_s * self._random.uniform(0.5, 1.5)

    def succeeded(self) -> None:
        """A worker has shown that workers do start."""
        self.failures_in_a_row = 0
        self._failures.clear()

    def is_broken(self, now_s: float) -> bool:
        """Whether whoever waits should be told."""
        full = len(self._failures) == BREAKER_FAILURES
        return full and now_s - self._failures[0] < BREAKER_WINDOW_S


def boot_failure(reason: str) -> DSPexError:
    """What they are told.

    Args:
        reason: Why the last one did not start, with what it wrote to stderr.
    """
    return error(
        "boot_failed",
        f"workers do not start ({BREAKER_FAILURES} failures within {BREAKER_WINDOW_S:.0f} s);"
        " `dspex doctor` may tell why",
        details={"stderr": reason[-4096:]},
        retry_after_ms=int(MAX_BACKOFF_S * 1000),
    )
