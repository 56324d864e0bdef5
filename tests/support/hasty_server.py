"""`dspex serve` whose leases are over soon, so that a test need not wait for those of dead servers.

    python hasty_server.py SECONDS [FLAGS …]

The product has no setting for this: a shorter lease is lost in a stall that means nothing.
"""

from __future__ import annotations

import sys

from dspex_pool import __main__ as program
from dspex_pool.jobs import heartbeat, keeping, runner


def hurry(lease_s: float) -> None:
    """Shorten what waits for dead servers."""
    for module, name, value in (
        (keeping, "LEASE_S", lease_s),
        (runner, "LEASE_S", lease_s),
        (heartbeat, "HEARTBEAT_S", lease_s / 4),
        (runner, "FIRST_LOOK_S", 0.05),
        (runner, "LOOK_S", lease_s / 8),
    ):
        setattr(module, name, value)


if __name__ == "__main__":
    hurry(float(sys.argv[1]))
    sys.argv[1:] = ["serve", *sys.argv[2:]]
    program.main()
