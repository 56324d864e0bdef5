"""Several loops as one: what comes first happens first, wherever that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from .loop import Deadlock, VirtualLoop


class Loops:
    """The loops of one world.

    Attributes:
        all: They.
        current: The one in which something happens.
    """

    def __init__(self, loops: Sequence[VirtualLoop], random: Random) -> None:
        self.all = loops
        self._random = random
        self.current = loops[0]

    @property
    def now_s(self) -> float:
        """The time of what they all share."""
        return self.current.outside_s

    @property
    def steps(self) -> int:
        """Things that have happened."""
        return sum(loop.steps for loop in self.all)

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Let things happen until `is_over` says so after one of them.

        Raises:
            Deadlock: when nothing is left to happen before that.
        """
        if len(self.all) == 1:
            self.current.run_until(is_over)
            return
        while not is_over():
            self.current = self._next()
            self.current.step()

    def _next(self) -> VirtualLoop:
        first: list[VirtualLoop] = []
        first_us = 0
        for loop in self.all:
            at_us = loop.next_us
            if at_us is None or (first and at_us > first_us):
                continue
            if at_us < first_us:
                first.clear()
            first.append(loop)
            first_us = at_us
        if not first:
            raise Deadlock("nothing will happen any more")
        return first[0] if len(first) == 1 else self._random.choice(first)
