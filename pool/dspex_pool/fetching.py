"""Fetching: calls whose stored program is not at hand wait here until the store has given it.

Most calls never come here: what the shelf has, and has looked at in the last second, is used as
it is. Where the store does not answer, what the shelf has is used however old it is: a store
that is down costs a call no more than `PATIENCE_S`, and only one call in a while even that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dspex_protocol import DSPexError

from .calls import Call
from .library.library import Library
from .library.names import Reference
from .library.shelf import Held
from .ports import Tasks

PATIENCE_S: Final = 0.1
"""A store answers within some milliseconds. A call that knows a version of its program, be it not
the newest any more, waits for a slow store as long as nobody notices."""

ASK_AGAIN_S: Final = 0.5
"""A store that has just failed is not waited for by those who need not: recovery is noticed so soon."""


class StaleCheck:
    """A fetch that calls wait for which could do without."""

    __slots__ = ("wanted",)

    def __init__(self, wanted: Reference) -> None:
        self.wanted = wanted


class Fetching:
    """The calls that wait for their program.

    Args:
        library: Where programs are.
        tasks: What waits for it.
        clock: The time, in seconds.
        remind: Has `look_again` called with that check at a time.
        found: Is called when a call has its record.
        failed: Is called when there will be none.
    """

    def __init__(
        self,
        library: Library,
        tasks: Tasks,
        clock: Callable[[], float],
        *,
        remind: Callable[[StaleCheck, float], None],
        found: Callable[[Call], None],
        failed: Callable[[Call, DSPexError], None],
    ) -> None:
        self._library = library
        self._tasks = tasks
        self._clock = clock
        self._remind = remind
        self._found = found
        self._failed = failed
        self._waiting: dict[Reference, dict[Call, None]] = {}
        self._underway: set[Reference] = set()
        self._slow: set[Reference] = set()  # of those, the ones that have taken longer than that
        self._wait_from_s = 0.0  # before that the store is not waited for by those who need not

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def fetch(self, call: Call) -> None:
        """Have a call wait until its program is there, or go on at once with what is known."""
        wanted = call.wanted
        assert wanted is not None
        known = self._library.known(wanted)
        must_wait = known is None or (wanted not in self._slow and self._clock() >= self._wait_from_s)
        if must_wait:
            self._waiting.setdefault(wanted, {})[call] = None
        if wanted not in self._underway:
            self._underway.add(wanted)
            self._tasks.start(self._ask(wanted))
            if known is not None and wanted in self._underway:
                self._remind(StaleCheck(wanted), self._clock() + PATIENCE_S)
        if not must_wait and known is not None:
            self._settle({call: None}, known)

    def leave(self, call: Call) -> None:
        """A call has ended. Where it still waited it does so no more."""
        if call.wanted is not None and call.record is None:
            self._waiting.get(call.wanted, {}).pop(call, None)

    async def _ask(self, wanted: Reference) -> None:
        try:
            held = await self._library.fetch(wanted)
        except DSPexError as failure:
            self._end(wanted)
            self._store_failed(wanted, failure)
        else:
            self._end(wanted)
            self._settle(self._waiting.pop(wanted, {}), held)

    def _end(self, wanted: Reference) -> None:
        self._underway.discard(wanted)
        self._slow.discard(wanted)

    def _store_failed(self, wanted: Reference, failure: DSPexError) -> None:
        """The program is not there, or the store is not: then what is known must do."""
        calls = self._waiting.pop(wanted, {})
        known = self._library.known(wanted) if failure.code.startswith("store_") else None
        if known is not None:
            self._wait_from_s = self._clock() + ASK_AGAIN_S
            self._settle(calls, known)
            return
        for call in list(calls):
            if call.caller is not None:  # else it ended with another one
                self._failed(call, failure)

    def look_again(self, check: StaleCheck) -> None:
        """The store is slow: who can do without it goes on, and so does who comes before it answers."""
        known = self._library.known(check.wanted)
        if known is not None and check.wanted in self._underway:
            self._slow.add(check.wanted)
            self._settle(self._waiting.pop(check.wanted, {}), known)

    def _settle(self, calls: dict[Call, None], held: Held) -> None:
        for call in list(calls):
            if call.caller is not None:  # else it has ended with another one
                call.record = held
                self._found(call)
