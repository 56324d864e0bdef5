"""A pool in virtual time, of which only the queue is real: calls come, get places and end.

A discrete-event loop: no process, no clock, the same run each time.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from dspex_pool.calls import Call
from dspex_pool.lanes import Lane, occupied
from dspex_pool.tenants import NOBODY, Tenant, Tenants
from dspex_pool.waiting import WaitingCalls
from tests.support.fakes import Room

CONNECTION = Room(workers=0).add_client().connection


def make_call(
    tenant: Tenant = NOBODY, lane: Lane = Lane.INTERACTIVE, priority: int = 5, now_s: float = 0.0
) -> Call:
    """A call that nobody has seen yet."""
    call = Call(CONNECTION, 1, "system.echo", {}, b"\xc0", now_s)
    call.tenant, call.lane, call.priority = tenant, lane, priority
    return call


class Work(NamedTuple):
    """What a call will do once it has a place."""

    seconds: float
    then: Callable[[], None] | None


class VirtualPool:
    """Places, a queue before them, and a clock that jumps to what is next.

    Attributes:
        latencies_s: From coming to ending, by tenant.
        held_s: Seconds of places, by tenant and lane.
        refused: Calls that found the queue full or were displaced, by tenant.
    """

    def __init__(self, capacity: int, batch_share: float = 0.25, max_queue: int = 4096) -> None:
        self.capacity = capacity
        self.max_queue = max_queue
        self.now_s = 0.0
        self.tenants = Tenants()
        self.waiting = WaitingCalls(self.tenants, batch_share)
        self.latencies_s: dict[str, list[float]] = defaultdict(list)
        self.held_s: dict[tuple[str, Lane], float] = defaultdict(float)
        self.refused: dict[str, int] = defaultdict(int)
        self._works: dict[Call, Work] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Do something when it is time."""
        self._count += 1
        heapq.heappush(self._events, (time_s, self._count, action))

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, action = heapq.heappop(self._events)
            action()
        self.now_s = until_s

    def call(
        self,
        tenant: str,
        seconds: float,
        lane: Lane = Lane.INTERACTIVE,
        then: Callable[[], None] | None = None,
    ) -> None:
        """A call comes; `then` follows its end."""
        call = make_call(self.tenants.of(tenant, self.now_s), lane, now_s=self.now_s)
        self._works[call] = Work(seconds, then)
        if self._has_room() and self.waiting.may_start(call, self.capacity, self.now_s):
            self._start(call)
        elif len(self.waiting) < self.max_queue:
            self.waiting.add(call)
        elif (displaced := self.waiting.make_room(call.tenant)) is not None:
            self.refused[displaced.tenant.name] += 1
            self.waiting.add(call)
        else:
            self.refused[tenant] += 1

    def saturate(
        self, tenant: str, seconds: float, lane: Lane = Lane.INTERACTIVE, calls: int | None = None
    ) -> None:
        """Keep so many calls open, for ever: each that ends is followed by another."""

        def again() -> None:
            self.call(tenant, seconds, lane, again)

        for _ in range(calls or 2 * self.capacity):
            self.at(self.now_s, again)

    def trickle(
        self, tenant: str, per_s: float, seconds: float, rng: random.Random, lane: Lane = Lane.INTERACTIVE
    ) -> None:
        """Calls at random moments, of random length, whatever becomes of them."""

        def one() -> None:
            self.at(self.now_s + rng.expovariate(per_s), one)
            self.call(tenant, seconds * rng.uniform(0.5, 1.5), lane)

        self.at(self.now_s + rng.expovariate(per_s), one)

    def share_of(self, tenant: str) -> float:
        """Its part of the seconds of places that anybody had."""
        own_s = sum(held_s for (name, _), held_s in self.held_s.items() if name == tenant)
        return own_s / sum(self.held_s.values())

    def share_of_lane(self, lane: Lane) -> float:
        """The same for a lane."""
        own_s = sum(held_s for (_, held), held_s in self.held_s.items() if held is lane)
        return own_s / sum(self.held_s.values())

    def _has_room(self) -> bool:
        return occupied(self.waiting.running) < self.capacity

    def _start(self, call: Call) -> None:
        call.sent_s = self.now_s
        self.waiting.started(call)
        self.at(self.now_s + self._works[call].seconds, lambda: self._end(call))

    def _end(self, call: Call) -> None:
        self.waiting.ended(call, self.now_s)
        self.held_s[call.tenant.name, call.lane] += self.now_s - call.sent_s
        self.latencies_s[call.tenant.name].append(self.now_s - call.received_s)
        then = self._works.pop(call).then
        if then is not None:
            then()
        self._pump()

    def _pump(self) -> None:
        while self._has_room():
            call = self.waiting.next(self.capacity, self.now_s)
            if call is None:
                break
            self.waiting.remove(call)
            self._start(call)
