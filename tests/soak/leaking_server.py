"""`dspex serve` with a planted leak in the supervisor: the control of a soak.

    python leaking_server.py BYTES_PER_CALL CALLS_PER_DESCRIPTOR [FLAGS …]

The product has no hook for this; here its switchboard is patched before it starts.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from dspex_pool import __main__ as program
from dspex_pool.switchboard import Switchboard

kept: Final[list[bytes]] = []


def plant(bytes_per_call: int, calls_per_descriptor: int) -> None:
    """Keep some bytes of every call, and a descriptor now and then."""
    admit: Any = Switchboard.admit
    count = 0

    def leaking(*arguments: Any) -> object:
        nonlocal count
        count += 1
        kept.append(os.urandom(bytes_per_call))
        if count % calls_per_descriptor == 0:
            os.dup(0)
        return admit(*arguments)

    setattr(Switchboard, "admit", leaking)  # noqa: B010  # another signature, for the type checkers


if __name__ == "__main__":
    plant(int(sys.argv[1]), int(sys.argv[2]))
    sys.argv[1:] = ["serve", *sys.argv[3:]]
    program.main()
