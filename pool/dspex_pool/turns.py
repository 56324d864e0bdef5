"""Whose turn it is: the waiting calls of one lane, divided fairly between tenants. Pure.

What is divided are places, not calls: a tenant with slow calls gets no more of them. Each
tenant is due `weight / weight of all that are active` of the places.

1. A tenant with fewer places than it is due goes before one that has as many or more.
2. Of those, the one that has used the fewest seconds of places, by its weight, is next.
   With less than one place due to each, that is what makes the shares true over time.
3. Of those that have what they are due, the one with the fewest places by its weight
   borrows next.

Ranking all by places and weight alone fails with more tenants than places: who has none
goes before who has one, whatever the weights. Ranking all by seconds alone fails with slow
calls, whose seconds are known when they end: one tenant could take every place meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict

from .calls import Call
from .ranking import Ranking
from .tenants import MAX_LEAD_S, Tenant, Tenants

# Ordered dictionaries, since a plain one looks at all that it has lost from its front.
Line = OrderedDict[Call, None]


class Turns:
    """The waiting calls of one lane."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._lines: dict[Tenant, dict[int, Line]] = {}  # by tenant, by priority; none is empty
        self._arrivals = Line()
        self._due: Ranking[Tenant] = Ranking()  # with fewer places than due, by seconds used
        self._served: Ranking[Tenant] = Ranking()  # the others, by places and weight

    def __len__(self) -> int:
        return len(self._arrivals)

    def oldest(self) -> Call | None:
        """The call that came first."""
        return next(iter(self._arrivals), None)

    def add(self, call: Call) -> None:
        """At the end of its tenant's and priority's line."""
        tenant = call.tenant
        lines = self._lines.get(tenant)
        if lines is None:
            lines = self._lines[tenant] = {}
            self._tenants.catch_up(tenant, 0.0)
            self._due.set(tenant, tenant.used_s)
        line = lines.get(call.priority)
        if line is None:
            line = lines[call.priority] = Line()
        line[call] = None
        self._arrivals[call] = None

    def remove(self, call: Call) -> None:
        """Take a call out that is in."""
        del self._arrivals[call]
        tenant = call.tenant
        lines = self._lines[tenant]
        line = lines[call.priority]
        del line[call]
        if not line:
            del lines[call.priority]
            if not lines:
                del self._lines[tenant]
                self._due.drop(tenant)
                self._served.drop(tenant)

    def first(self, places_per_weight: float, *, may_borrow: bool) -> Call | None:
        """The call that should start next; it stays.

        Args:
            places_per_weight: Places that a tenant of weight 1 is due.
            may_borrow: Whether a tenant that has what it is due may have more.
        """
        tenant = self._next_due(places_per_weight)
        if tenant is not None:
            self._tenants.reach(tenant)
        elif may_borrow:
            tenant = self._served.first()
        return None if tenant is None else self._first_of(tenant)

    def _next_due(self, places_per_weight: float) -> Tenant | None:
        due, served = self._due, self._served
        while (tenant := served.first()) is not None and tenant.running < places_per_weight * tenant.weight:
            served.drop(tenant)
            due.set(tenant, tenant.used_s)
        while (tenant := due.first()) is not None:
            if tenant.running >= places_per_weight * tenant.weight:
                due.drop(tenant)
                served.set(tenant, tenant.running / tenant.weight)
            elif self._tenants.catch_up(tenant, MAX_LEAD_S) or tenant.used_s != due.rank_of(tenant):
                due.set(tenant, tenant.used_s)
            else:
                break
        return tenant

    def _first_of(self, tenant: Tenant) -> Call:
        lines = self._lines[tenant]
        return next(iter(lines[max(lines)]))

    def places_changed(self, tenant: Tenant) -> None:
        """A tenant has more or fewer places than before.

        Used seconds only grow, so that `_next_due` sees to them when they come to the top.
        """
        if tenant in self._served:
            self._served.set(tenant, tenant.running / tenant.weight)

    def least_urgent(self, tenant: Tenant) -> Call | None:
        """The oldest of a tenant's lowest priority: whoever made it has waited longest already."""
        lines = self._lines.get(tenant)
        return None if lines is None else next(iter(lines[min(lines)]))
