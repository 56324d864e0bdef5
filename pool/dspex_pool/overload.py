"""Overload: when there is too much to do, who is refused, who gives way, and what they are told.

A call is refused before anything is done for it. Where the queue is full a call that comes may
push one out of it, of a tenant that has more there; and a call that has waited too long is
taken out, since nobody waits for it any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dspex_protocol import DSPexError, error

from . import endings
from .batches import Batches
from .calls import Call, Caller
from .config import Config
from .dispatch import retry_after_ms
from .lanes import Lane
from .operations import SPREAD
from .outcomes import Outcomes
from .placing import Placing
from .stored_calls import StoredCalls
from .stored_operations import STORED_METHODS

MAX_CONTROL_CALLS: Final = 64
"""Calls in the control lane that a client may have open: they go beyond every other limit."""


class Overload:
    """Holds what is done to its limits.

    Args:
        config: The limits.
        clock: The time, in seconds.
        placing: Where calls run, and those that wait for a place.
        outcomes: How calls end.
        stored: The calls that wait for the store.
        batches: The open batches.

    Attributes:
        no_worker: Why no worker can be had, as long as that is so.
    """

    def __init__(
        self,
        config: Config,
        clock: Callable[[], float],
        placing: Placing,
        outcomes: Outcomes,
        stored: StoredCalls,
        batches: Batches,
    ) -> None:
        self._config = config
        self._clock = clock
        self._placing = placing
        self._outcomes = outcomes
        self._stored = stored
        self._batches = batches
        self.no_worker: DSPexError | None = None

    def check(self, caller: Caller, call: Call, now_s: float) -> None:
        """Look whether there is room for a client's call, and make some if need be.

        Raises:
            DSPexError: `overloaded`, or why there is no worker.
        """
        if self._stored.needs(call) and self._stored.is_full and not call.depth:
            raise self._full(f"{self._stored.waiting} calls wait for the store or for their turn")
        if call.lane is Lane.CONTROL:
            self._check_controls(caller)
        elif call.method in STORED_METHODS:
            self._check_bytes(call, now_s)  # it takes no place itself; what is done for it may
        elif call.method in SPREAD:
            self._check_batch(call, now_s)
        elif not call.depth:
            self.check_place(call, now_s)

    def check_row(self, call: Call, now_s: float) -> None:
        """The same for a row of a batch.

        Rows never fill more than half of the queue: a batch can wait, and who made it may not.

        Raises:
            DSPexError: as `check`.
        """
        if call.depth:
            return
        waiting = self._placing.waiting.count(Lane.BATCH)
        if waiting >= (self._max_waiting + 1) // 2 and not self._has_place_for(call):
            raise self._full(f"{waiting} calls of the lane batch wait")
        self.check_place(call, now_s)

    def check_place(self, call: Call, now_s: float) -> None:
        """The same for a call that will run in a worker, or wait for one.

        Raises:
            DSPexError: as `check`.
        """
        if self.no_worker is not None and not self._placing.workers:
            # Raised again and again, it would collect the stack of each time.
            raise self.no_worker.with_traceback(None)
        self._check_bytes(call, now_s)
        waiting = len(self._placing.waiting)
        if waiting + self._stored.fetching >= self._max_waiting and not self._has_place_for(call):
            raise self._full(f"{len(self._placing.waiting)} calls wait")

    def shed_aged(self) -> None:
        """Answer the interactive calls that have waited too long: nobody waits for them any more."""
        limit_s = self._config.max_queue_s
        waiting = self._placing.waiting
        while (call := waiting.oldest(Lane.INTERACTIVE)) and self._clock() - call.received_s > limit_s:
            waiting.remove(call)
            self._shed(call, f"it waited longer than {limit_s:g} s")

    def _check_controls(self, caller: Caller) -> None:
        if sum(call.lane is Lane.CONTROL for call in caller.calls.values()) >= MAX_CONTROL_CALLS:
            raise self._full(f"{MAX_CONTROL_CALLS} calls of this client in the control lane are open")

    def _check_batch(self, call: Call, now_s: float) -> None:
        if self._batches.is_full and not call.depth:
            raise self._full(f"{len(self._batches)} batches are open")
        self._check_bytes(call, now_s)

    def _check_bytes(self, call: Call, now_s: float) -> None:
        open_bytes = self._outcomes.open_bytes
        limit = self._config.max_open_bytes
        if not self._placing.tenants.may_open(call.tenant, len(call.payload), open_bytes, limit, now_s):
            raise self._full(f"open calls hold {open_bytes} bytes")

    @property
    def _max_waiting(self) -> int:
        # Where there is no worker at all, workers are started for those that wait.
        return self._config.max_queue or int(not self._placing.workers)

    def _has_place_for(self, call: Call) -> bool:
        """Whether a call would start at once, or another has given way to it in the queue."""
        return self._placing.has_room_for(call) or self._push_out(call)

    def _push_out(self, call: Call) -> bool:
        """A tenant with many calls in a full queue gives way to one with few."""
        displaced = self._placing.waiting.make_room(call.tenant)
        if displaced is None:
            return False
        self._shed(displaced, "another tenant's call needed its place in the queue")
        return True

    def _shed(self, call: Call, why: str) -> None:
        self._outcomes.counters.shed += 1
        waited_s = self._clock() - call.received_s
        self._outcomes.fail(call, endings.shed(call, waited_s, why, self._retry_after_ms()))

    def _full(self, what: str) -> DSPexError:
        self._outcomes.counters.overloaded += 1
        return error("overloaded", f"the server is full: {what}", retry_after_ms=self._retry_after_ms())

    def _retry_after_ms(self) -> int:
        return retry_after_ms(len(self._placing.waiting), self._outcomes.throughput.per_s(self._clock()))
