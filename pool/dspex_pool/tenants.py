"""On whose behalf calls are made: who is there, with what weight, and how much each has.

A tenant is a name that the host gives. It is kept while it has calls, and for ten seconds
after it was seen last, so that a flood of names costs memory for ten seconds only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Final

from dspex_protocol import invalid_argument
from dspex_protocol.limits import MAX_NAME_BYTES

MAX_WEIGHT: Final = 100
MAX_WEIGHTS: Final = 1024
"""Names in one client's map of weights; as many as it may offer functions."""

ACTIVE_S: Final = 10.0
"""A tenant that was seen so lately is expected back: its part of the places is kept."""

CHECK_S: Final = 2.0
"""How often it is looked whether a tenant is still there."""

RESERVE_PARTS: Final = 4
"""Who has its fair share already may not take the last quarter, while others are active."""

MAX_LEAD_S: Final = 60.0
"""How far a tenant's used seconds may be from those of whose turn it is.

As long as nearly all calls, so that who makes slow ones pays for them; bounded, so that
nobody pays for long for what was in other times, nor saves up.
"""


class Tenant:
    """One tenant.

    Attributes:
        name: As the host calls it.
        weight: 1 to 100; under load it gets places in proportion.
        running: Places that its calls occupy, in all lanes.
        waiting: Its calls that wait, held ones included.
        open_bytes: Payloads of its open calls.
        used_s: Seconds of places that it had while others waited, by its weight: who has
            the least is next (`turns`). What it had while nobody waited is free.
        last_seen_s: When it last made a call.
    """

    __slots__ = ("last_seen_s", "name", "open_bytes", "running", "used_s", "waiting", "weight")

    def __init__(self, name: str, weight: int = 1, now_s: float = 0.0) -> None:
        self.name = name
        self.weight = weight
        self.running = 0
        self.waiting = 0
        self.open_bytes = 0
        self.used_s = 0.0
        self.last_seen_s = now_s

    def __repr__(self) -> str:
        return f"<Tenant {self.name!r} weight={self.weight} running={self.running} waiting={self.waiting}>"

    @property
    def is_busy(self) -> bool:
        """Whether it has calls."""
        return self.running > 0 or self.waiting > 0 or self.open_bytes > 0


NOBODY: Final = Tenant("")
"""The tenant of calls for which nobody has said one."""


class Tenants:
    """The tenants that are active, by name."""

    def __init__(self) -> None:
        self._table: dict[str, Tenant] = {}
        self._weights: dict[str, tuple[Hashable, int]] = {}
        self._active_weight = 0
        self._turn_s = 0.0  # the used seconds of the tenant whose turn it was
        self._checks: deque[tuple[float, Tenant]] = deque()  # in the order in which they are due

    def __len__(self) -> int:
        return len(self._table)

    def of(self, name: str, now_s: float) -> Tenant:
        """The tenant of a call that comes. Ask for each call: one that is idle is forgotten."""
        tenant = self._table.get(name)
        if tenant is None:
            tenant = self._enter(name, now_s)
        tenant.last_seen_s = now_s
        return tenant

    def _enter(self, name: str, now_s: float) -> Tenant:
        self._forget_idle(now_s)
        _, weight = self._weights.get(name, (None, 1))
        tenant = self._table[name] = Tenant(name, weight, now_s)
        self._active_weight += weight
        self._checks.append((now_s + CHECK_S, tenant))
        return tenant

    def active_weight(self, now_s: float) -> int:
        """The sum of the weights of those that have calls or were seen lately."""
        self._forget_idle(now_s)
        return self._active_weight

    def _forget_idle(self, now_s: float) -> None:
        checks = self._checks
        while checks and checks[0][0] <= now_s:
            _, tenant = checks.popleft()
            if tenant.is_busy or now_s - tenant.last_seen_s < ACTIVE_S:
                checks.append((now_s + CHECK_S, tenant))
            else:
                del self._table[tenant.name]
                self._active_weight -= tenant.weight

    def set_weights(self, owner: Hashable, weights: Mapping[str, object]) -> None:
        """Give tenants their weights. Where two owners differ, the last one counts.

        Not the first: a deployment that changes a weight connects before the old one leaves.

        Args:
            owner: Whose word this is, for `forget_weights`.
            weights: By name, as the client sent them.

        Raises:
            CallerError: `invalid_argument` naming the entry; nothing has changed then.
        """
        checked = read_weights(weights)
        for name, weight in checked.items():
            self._weights[name] = (owner, weight)
            self._weigh(name, weight)

    def forget_weights(self, owner: Hashable) -> None:
        """An owner is gone: what it said counts no longer."""
        for name in [name for name, (who, _) in self._weights.items() if who == owner]:
            del self._weights[name]
            self._weigh(name, 1)

    def _weigh(self, name: str, weight: int) -> None:
        tenant = self._table.get(name)
        if tenant is not None:
            self._active_weight += weight - tenant.weight
            tenant.weight = weight

    def charge(self, tenant: Tenant, seconds: float) -> None:
        """A tenant has had a place so long while others waited."""
        used_s = tenant.used_s + seconds / tenant.weight
        tenant.used_s = min(used_s, max(tenant.used_s, self._turn_s + MAX_LEAD_S))

    def reach(self, tenant: Tenant) -> None:
        """It is this tenant's turn."""
        self._turn_s = max(self._turn_s, tenant.used_s)

    def catch_up(self, tenant: Tenant, lead_s: float) -> bool:
        """A tenant is at most so far ahead of whose turn it is. True when it was further."""
        least_s = self._turn_s - lead_s
        if tenant.used_s >= least_s:
            return False
        tenant.used_s = least_s
        return True

    def may_open(
        self, tenant: Tenant, more_bytes: int, open_bytes: int, max_open_bytes: int, now_s: float
    ) -> bool:
        """Whether a tenant may have so many bytes more of open payloads.

        The last quarter is for those that have not their fair share yet: else a few large
        calls of one tenant would shut all others out.

        Args:
            tenant: Who asks.
            more_bytes: The payload of the call that comes.
            open_bytes: Payloads of all open calls of all tenants.
            max_open_bytes: As many there may be.
            now_s: Now.
        """
        if open_bytes + more_bytes > max_open_bytes:
            return False
        if open_bytes + more_bytes <= max_open_bytes - max_open_bytes // RESERVE_PARTS:
            return True
        fair_bytes = max_open_bytes * tenant.weight / max(tenant.weight, self.active_weight(now_s))
        return tenant.open_bytes + more_bytes <= fair_bytes

    def snapshot(self, limit: int = 50) -> list[dict[str, object]]:
        """The busiest, as plain values."""
        busiest = sorted(self._table.values(), key=lambda one: (-one.running - one.waiting, one.name))
        return [
            {
                "tenant": tenant.name,
                "weight": tenant.weight,
                "running": tenant.running,
                "waiting": tenant.waiting,
            }
            for tenant in busiest[:limit]
        ]


def read_weights(weights: Mapping[str, object]) -> dict[str, int]:
    """Weights by name, checked.

    Raises:
        CallerError: as `Tenants.set_weights`.
    """
    if len(weights) > MAX_WEIGHTS:
        raise invalid_argument("tenants", f"a map of at most {MAX_WEIGHTS} names", len(weights))
    checked: dict[str, int] = {}
    for name, weight in weights.items():
        if not 1 <= len(name.encode(errors="replace")) <= MAX_NAME_BYTES:
            raise invalid_argument("tenants", f"names of 1 to {MAX_NAME_BYTES} bytes", name)
        if type(weight) is not int or not 1 <= weight <= MAX_WEIGHT:
            raise invalid_argument(f"tenants.{name}", f"an integer from 1 to {MAX_WEIGHT}", weight)
        checked[name] = weight
    return checked
