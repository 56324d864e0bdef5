"""Calls that wait for a worker, by priority, first come first."""

from __future__ import annotations

from .calls import Call, Caller

PRIORITIES = 10


class WaitingCalls:
    """A queue from which any call can be taken out at once. Pure.

    Attributes:
        startable: How many wait for a worker only; the others are held.
    """

    def __init__(self) -> None:
        # Dictionaries keep the order of insertion and delete anywhere.
        self._lines: list[dict[Call, None]] = [{} for _ in range(PRIORITIES)]
        self._nested: dict[Call, None] = {}
        self._returned: dict[Call, None] = {}
        self._held: dict[Call, None] = {}
        self.startable = 0

    def __len__(self) -> int:
        return self.startable + len(self._held)

    def first(self) -> Call | None:
        """The call that should start next; it stays."""
        for line in (self._nested, self._returned):
            for call in line:
                return call
        for line in reversed(self._lines):
            for call in line:
                return call
        return None

    def drain(self) -> list[Call]:
        """Take all out, in the order in which they would start."""
        calls: list[Call] = []
        while (call := self.first()) is not None:
            self.remove(call)
            calls.append(call)
        calls.extend(self._held)
        self._held.clear()
        return calls

    def add(self, call: Call) -> None:
        """At the end of its priority's line."""
        self._lines[call.priority][call] = None
        self.startable += 1

    def put_back(self, call: Call) -> None:
        """Before all others: it has waited once already, or is inside of a callback.

        Those inside of callbacks go first of all: the others wait for places that only
        their parents may give back.
        """
        (self._nested if call.depth else self._returned)[call] = None
        self.startable += 1

    def hold(self, call: Call) -> None:
        """Out of everybody's way, until `resume`: its client does not read."""
        self._held[call] = None

    def resume(self, session: Caller) -> None:
        """A client reads again: its calls wait for a worker, as those of others do."""
        for call in [call for call in self._held if call.session is session]:
            del self._held[call]
            self.add(call)

    def remove(self, call: Call) -> bool:
        """Take a call out; False when it does not wait."""
        for line in (self._lines[call.priority], self._returned, self._nested):
            if call in line:
                del line[call]
                self.startable -= 1
                return True
        return self._held.pop(call, self) is None
