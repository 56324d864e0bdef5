"""How many workers there should be: more as soon as calls wait, fewer when they long have not.

Pure: the time and the load come in, a number goes out. Going up and going down are judged by
different measures, so that no constant load can make the number swing: up at 80 % of the
places, down when one worker fewer would be at 50 %.

One kind of load escapes that measure: calls that are short and only compute take few places
in two workers and all of one. There the number shows that it was wrong to go down when it has
to go up again at once. Each such regret doubles the time that must pass before the next step
down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STEP_S: Final = 0.1
"""Between two steps up. A fork is ready after 9 ms, 58 at most of 3,700: the last step has had its effect."""

MAX_WAIT_S: Final = 0.05
"""A call that has waited longer wants one more worker; a shorter wait may end before that is ready."""

FULL: Final = 0.8
"""The part of the places at which the next worker is started, ahead of the first call that waits."""

SPARE: Final = 0.5
"""The part of the remaining places that the calls may take for a worker to be let go."""

IDLE_S: Final = 30.0
"""How long a worker must have been superfluous: a new one imports and builds again what it had."""

MAX_IDLE_S: Final = 960.0
"""… after five regrets or more: an idle worker for a quarter of an hour does no harm either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the pool has to do at one moment.

    Attributes:
        ready: Workers that take calls; not those that start or are being drained.
        places_per_worker: Calls that one may have at once.
        running: Places taken in them.
        waiting: Calls that wait for a place, and for nothing else.
        oldest_wait_s: How long the first of those has waited; 0 without.
    """

    ready: int
    places_per_worker: int
    running: int
    waiting: int
    oldest_wait_s: float

    @property
    def calls(self) -> int:
        """Places that are wanted."""
        return self.running + self.waiting


class Scaler:
    """Says how many workers there should be; starting and ending them is somebody else's.

    Args:
        least: Never fewer; with 0, none is kept while there is nothing to do.
        most: Never more; equal to `least`, nothing is ever changed.

    Attributes:
        target: The number of the last decision; `least` before the first.
    """

    __slots__ = (
        "_idle_s",
        "_next_step_s",
        "_stepped_down_s",
        "_superfluous_since_s",
        "least",
        "most",
        "target",
    )

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most
        self.target = least
        self._next_step_s = float("-inf")
        self._superfluous_since_s: float | None = None
        self._stepped_down_s: float | None = None  # the last step, until it is known whether it was right
        self._idle_s = IDLE_S

    def decide(self, now_s: float, load: Load) -> int:
        """The number of workers that this load wants; at most one more or less than before.

        To be asked some ten times a second, and whenever a call finds no room.
        """
        if self._wants_more(load):
            self._superfluous_since_s = None
            if self.target < self.most and now_s >= self._next_step_s:
                self._step_up(now_s)
        elif self.target == self.least or not self._wants_fewer(load):
            self._superfluous_since_s = None
        elif self._superfluous_since_s is None:
            self._superfluous_since_s = now_s
        elif now_s - self._superfluous_since_s >= self._idle_s:
            self._step_down(now_s)
        return self.target

    def _wants_more(self, load: Load) -> bool:
        if not self.target:
            return load.calls > 0  # at once: the last step up is longer ago than `IDLE_S`
        # Those that are on their way, or will be when a back-off ends, take their share of the queue.
        places_to_come = max(0, self.target - load.ready) * load.places_per_worker
        return (load.oldest_wait_s > MAX_WAIT_S and load.waiting > places_to_come) or (
            load.running >= FULL * self.target * load.places_per_worker
        )

    def _wants_fewer(self, load: Load) -> bool:
        return load.oldest_wait_s <= MAX_WAIT_S and (
            load.calls <= SPARE * (self.target - 1) * load.places_per_worker
        )

    def _step_up(self, now_s: float) -> None:
        self.target += 1
        self._next_step_s = now_s + STEP_S
        if self._stepped_down_s is not None:
            regretted = now_s - self._stepped_down_s < IDLE_S
            self._idle_s = min(2 * self._idle_s, MAX_IDLE_S) if regretted else IDLE_S
            self._stepped_down_s = None

    def _step_down(self, now_s: float) -> None:
        self.target -= 1
        self._superfluous_since_s = None
        if self._stepped_down_s is not None:  # nobody has regretted the one before
            self._idle_s = IDLE_S
        self._stepped_down_s = now_s
