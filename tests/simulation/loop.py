"""Virtual time: callbacks in a seeded random order, and a clock that jumps to the next of them.

Not a subclass of an asyncio loop with a fake selector, though that works too: next to nothing in the
supervisor is a coroutine, so a heap and a list are all that it needs, at a tenth of the cost for each
callback, and a whole order of callbacks is one draw for each from one random source. The few
coroutines, those that wait for the store, are driven by hand (`tasks.py`).

Each server of a world has a loop of its own, so that one can stand still while others go on.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from random import Random
from typing import Final

US_PER_S: Final = 1_000_000


class Deadlock(Exception):
    """Nothing will ever happen again, and yet somebody waits."""


class Appointment:
    """Something that will happen; `dspex_pool.ports.Timer`."""

    __slots__ = ("at_us", "callback", "given")

    def __init__(self, at_us: int, callback: Callable[..., object], given: tuple[object, ...]) -> None:
        self.at_us = at_us
        self.callback: Callable[..., object] | None = callback
        self.given = given

    def cancel(self) -> None:
        """Have it not happen."""
        self.callback = None
        self.given = ()

    def when(self) -> float:
        """In seconds of the loop's clock."""
        return self.at_us / US_PER_S


class VirtualLoop:
    """Time for a simulation; `dspex_pool.ports.Timers`.

    What is due at the same microsecond is run in an order of `random`'s choosing, and so is
    what `call_soon` was given: code that relies on an order which nobody promised will meet
    another one.
    """

    def __init__(self, random: Random) -> None:
        self._draw = random.random
        self._now_us = 1000 * US_PER_S
        self._later: list[tuple[int, int, Appointment]] = []
        self._ready: list[Appointment] = []
        self._added = 0
        self._stops: list[tuple[int, int]] = []  # when, and how much was missed until its end
        self._missed_us = 0
        self.steps = 0

    def time(self) -> float:
        """Now, in virtual seconds."""
        return self._now_us / US_PER_S

    # Time outside, which passes also while this loop stands still

    def stand_still(self, seconds: float) -> None:
        """Miss some time: as if the machine slept."""
        self._missed_us += math.ceil(seconds * US_PER_S)
        self._stops.append((self._now_us, self._missed_us))

    @property
    def outside_s(self) -> float:
        """Now, for those who have not stood still."""
        return (self._now_us + self._missed_us) / US_PER_S

    def outside_at(self, at_s: float) -> float:
        """The same for a moment of this loop that is over."""
        missed_us = 0
        for since_us, missed in self._stops:
            if since_us > at_s * US_PER_S:
                break
            missed_us = missed
        return at_s + missed_us / US_PER_S

    @property
    def next_us(self) -> int | None:
        """When something happens here next, as seen from outside; None when nothing will."""
        if self._ready:
            return self._now_us + self._missed_us
        self._tidy()
        return self._later[0][0] + self._missed_us if self._later else None

    def end(self) -> None:
        """Nothing of what was to come will happen."""
        self._ready.clear()
        self._later.clear()

    def call_soon(self, callback: Callable[..., object], *given: object) -> Appointment:
        """Run at this moment, among all that is due at it."""
        appointment = Appointment(self._now_us, callback, given)
        self._ready.append(appointment)
        return appointment

    def call_later(self, delay_s: float, callback: Callable[..., object], /, *given: object) -> Appointment:
        """Run after a while of virtual time."""
        return self._add(self._now_us + math.ceil(delay_s * US_PER_S), callback, given)

    def call_at(self, at_s: float, callback: Callable[..., object], /, *given: object) -> Appointment:
        """Run at a virtual time."""
        return self._add(math.ceil(at_s * US_PER_S), callback, given)

    def _add(self, at_us: int, callback: Callable[..., object], given: tuple[object, ...]) -> Appointment:
        appointment = Appointment(at_us, callback, given)
        if at_us <= self._now_us:
            self._ready.append(appointment)
        else:
            self._added += 1  # so that appointments are never compared
            heapq.heappush(self._later, (at_us, self._added, appointment))
        return appointment

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Let things happen until `is_over` says so after one of them.

        Raises:
            Deadlock: when nothing is left to happen before that.
        """
        while not is_over():
            self.step()

    def step(self) -> None:
        """Let one thing happen.

        Raises:
            Deadlock: when nothing is left to happen.
        """
        ready = self._ready
        if not ready:
            self._jump()
        at = int(self._draw() * len(ready))
        appointment, ready[at] = ready[at], ready[-1]
        ready.pop()
        if appointment.callback is not None:
            self.steps += 1
            appointment.callback(*appointment.given)

    def _tidy(self) -> None:
        later = self._later
        while later and later[0][2].callback is None:
            heapq.heappop(later)

    def _jump(self) -> None:
        """Let the time pass until something is due."""
        later = self._later
        self._tidy()
        if not later:
            raise Deadlock("nothing will happen any more")
        self._now_us = later[0][0]
        while later and later[0][0] == self._now_us:
            self._ready.append(heapq.heappop(later)[2])
