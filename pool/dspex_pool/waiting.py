"""Calls that wait for a worker: which one starts next. Pure.

    1. calls inside of callbacks: others wait for places that only their parents give back
    2. calls that must run alone, once a worker can have one
    3. calls whose worker died: they have waited once already
    4. the others, by lane (`lanes`), then tenant (`turns`), then priority, first come first

A call that finds a place at once is never in here. It costs `may_start`, `started` and
`ended`: 0.2 us for the first and 0.2 us for the others together. With 1,000 tenants and 4,096
calls waiting, a call that comes, waits, starts and ends costs 13 us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from .calls import Call, Caller
from .lanes import Lane, LaneShares, occupied
from .ranking import Ranking
from .tenants import RESERVE_PARTS, Tenant, Tenants
from .turns import Line, Turns

UNLIMITED: Final = 1 << 30

LEAST_CHARGE_S: Final = 0.001
"""What a place costs at the start of a call, so that calls of no time take turns too."""


class WaitingCalls:
    """A queue from which any call can be taken out at once.

    Args:
        tenants: Those that are active.
        batch_share: Part of the places that batch gets while interactive calls wait too.

    Attributes:
        startable: How many wait for a worker only; the others are held.
        running: Calls that have a place, by lane.
    """

    def __init__(self, tenants: Tenants | None = None, batch_share: float = 0.25) -> None:
        self._tenants = Tenants() if tenants is None else tenants
        self._shares = LaneShares(batch_share)
        self._nested, self._alone, self._returned = Line(), Line(), Line()
        self._turns = {lane: Turns(self._tenants) for lane in (Lane.INTERACTIVE, Lane.BATCH)}
        self._held: dict[Tenant, Line] = {}  # none is empty
        self._places: dict[Call, Line | Turns] = {}
        self._longest: Ranking[Tenant] = Ranking()  # by calls that wait, and weight
        self._waiting = dict.fromkeys(Lane, 0)
        self.running = dict.fromkeys(Lane, 0)
        self.startable = 0

    def __len__(self) -> int:
        return len(self._places)

    def count(self, lane: Lane) -> int:
        """How many calls of a lane wait; held ones do not count."""
        return self._waiting[lane]

    # In and out

    def add(self, call: Call) -> None:
        """At the end of its line. One of the control lane waits for the first worker only."""
        if call.lane is Lane.CONTROL:
            self.put_back(call)
            return
        turns = self._turns[call.lane]
        turns.add(call)
        self._enter(call, turns)

    def put_back(self, call: Call) -> None:
        """Before all others: it has waited once already, or is inside of a callback."""
        line = self._alone if call.alone else self._nested if call.depth else self._returned
        line[call] = None
        self._enter(call, line)

    def _enter(self, call: Call, place: Line | Turns) -> None:
        self._places[call] = place
        self._waiting[call.lane] += 1
        self.startable += 1
        self._count(call.tenant, 1)

    def hold(self, call: Call) -> None:
        """Out of everybody's way, until `resume`: its client does not read."""
        line = self._held.setdefault(call.tenant, Line())
        line[call] = None
        self._places[call] = line
        self._count(call.tenant, 1)

    def resume(self, caller: Caller) -> None:
        """A client reads again: its calls wait for a worker, as those of others do."""
        held = [call for line in self._held.values() for call in line if call.caller is caller]
        for call in held:
            self.remove(call)
            if call.attempt or call.depth:
                self.put_back(call)
            else:
                self.add(call)

    def remove(self, call: Call) -> bool:
        """Take a call out; False when it does not wait."""
        place = self._places.pop(call, None)
        if place is None:
            return False
        if isinstance(place, Turns):
            place.remove(call)
        else:
            del place[call]
        self._count(call.tenant, -1)
        if place is self._held.get(call.tenant):
            if not place:
                del self._held[call.tenant]
            return True
        self._waiting[call.lane] -= 1
        self.startable -= 1
        return True

    def _count(self, tenant: Tenant, change: int) -> None:
        tenant.waiting += change
        if tenant.waiting <= 0:
            self._longest.drop(tenant)
        elif change > 0:  # who has fewer is ranked anew when it comes to the top
            rank, known = -tenant.waiting / tenant.weight, self._longest.rank_of(tenant)
            if known is None or rank < known:
                self._longest.set(tenant, rank)

    def drain(self) -> list[Call]:
        """Take all out, in the order in which they would start."""
        calls: list[Call] = []
        while (call := self.first()) is not None:
            self.remove(call)
            calls.append(call)
        for call in [call for line in self._held.values() for call in line]:
            self.remove(call)
            calls.append(call)
        return calls

    # Who is next

    def first(self) -> Call | None:
        """The call that should start next if there were room for all; it stays."""
        return self.next(UNLIMITED, 0.0)

    def next(
        self, capacity: int, now_s: float, may_take: Callable[[Call], bool] = lambda call: True
    ) -> Call | None:
        """The call that should start next; it stays. None when none may, though a place is free.

        Args:
            capacity: Places that there are: what each worker that takes calls may have, and
                of one that takes none as many as its calls still occupy.
            now_s: Now.
            may_take: Asked of the first call that must run alone: whether a worker can have it.
        """
        if not self.startable:
            return None
        for call in self._nested:
            return call
        for call in self._alone:
            if may_take(call):
                return call
            break  # what keeps the first of them keeps the others too
        for call in self._returned:
            return call
        return self._next_by_lane(capacity, now_s)

    def _next_by_lane(self, capacity: int, now_s: float) -> Call | None:
        per_weight = capacity / max(1, self._tenants.active_weight(now_s))
        may_borrow = self._may_borrow(capacity)
        for lane in self._shares.order(self.running, self._turns, capacity):
            call = self._turns[lane].first(per_weight, may_borrow=may_borrow)
            if call is not None:
                return call
        return None

    def _may_borrow(self, capacity: int) -> bool:
        """Whether a tenant may have more than it is due: not the last quarter of the places."""
        if len(self._tenants) <= 1:
            return True
        return occupied(self.running) < capacity - capacity // RESERVE_PARTS

    def may_start(self, call: Call, capacity: int, now_s: float) -> bool:
        """Whether a call that comes may have a free place at once.

        Args:
            call: Not in here.
            capacity: As for `next`.
            now_s: Now.
        """
        if self.startable and self.next(capacity, now_s, _never) is not None:
            return False
        if call.lane is Lane.BATCH and not self._shares.admits(Lane.BATCH, self.running, capacity):
            return False
        if self._may_borrow(capacity):
            return True
        weight = max(call.tenant.weight, self._tenants.active_weight(now_s))
        return call.tenant.running < capacity * call.tenant.weight / weight

    # Places

    def started(self, call: Call) -> None:
        """A call has got a place."""
        tenant = call.tenant
        tenant.running += 1
        self.running[call.lane] += 1
        if self.startable:
            self._shares.took(call.lane, self._turns)
            self._charge(tenant, LEAST_CHARGE_S)

    def ended(self, call: Call, now_s: float) -> None:
        """A call has given its place back, or its worker died. Reads `call.sent_s`."""
        tenant = call.tenant
        tenant.running -= 1
        self.running[call.lane] -= 1
        if self.startable:
            self._charge(tenant, now_s - call.sent_s)

    def _charge(self, tenant: Tenant, seconds: float) -> None:
        self._tenants.charge(tenant, seconds)
        if tenant.waiting:
            for turns in self._turns.values():
                turns.places_changed(tenant)

    # When there are too many

    def longest_tenant(self) -> Tenant | None:
        """The tenant with the most waiting calls, by its weight."""
        while (tenant := self._longest.first()) is not None:
            rank = -tenant.waiting / tenant.weight
            if rank == self._longest.rank_of(tenant):
                break
            self._longest.set(tenant, rank)
        return tenant

    def make_room(self, tenant: Tenant) -> Call | None:
        """Take out the call that one of this tenant may displace, which has no room.

        None when no other tenant has more waiting calls, by weight, than this one would
        have: then the one that comes is refused.
        """
        longest = self.longest_tenant()
        if longest is None or longest is tenant:
            return None
        if longest.waiting * tenant.weight <= (tenant.waiting + 1) * longest.weight:
            return None
        return self.shed_oldest(longest)

    def shed_oldest(self, tenant: Tenant) -> Call | None:
        """Take out the call of a tenant that is worth the least.

        Held ones first, whose client does not read, then the oldest of the lowest priority,
        of two lanes batch. None when all have been started once: those are kept.
        """
        call = next(self._sheddable(tenant), None)
        if call is not None:
            self.remove(call)
        return call

    def _sheddable(self, tenant: Tenant) -> Iterator[Call]:
        yield from self._held.get(tenant, ())
        ends = [self._turns[lane].least_urgent(tenant) for lane in (Lane.BATCH, Lane.INTERACTIVE)]
        yield from sorted((call for call in ends if call is not None), key=lambda call: call.priority)

    def oldest(self, lane: Lane) -> Call | None:
        """The call that has waited longest in a lane; those put back or held do not count."""
        turns = self._turns.get(lane)
        return None if turns is None else turns.oldest()

    def oldest_wait_s(self, lane: Lane, now_s: float) -> float:
        """How long that one has waited."""
        call = self.oldest(lane)
        return 0.0 if call is None else max(0.0, now_s - call.received_s)

    def snapshot(self, now_s: float) -> dict[str, dict[str, object]]:
        """Figures by lane, as plain values."""
        return {
            lane.value: {
                "running": self.running[lane],
                "waiting": self._waiting[lane],
                "oldest_wait_ms": round(self.oldest_wait_s(lane, now_s) * 1000, 3),
            }
            for lane in Lane
        }


def _never(call: Call) -> bool:
    return False
