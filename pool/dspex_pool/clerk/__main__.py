"""`python -m dspex_pool.clerk PARENT_PID`: the clerk, on the wire that the supervisor gave it as fd 0."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from dspex_pool.clerk.serving import Clerk
from dspex_pool.processes import signal_on_parent_death


def main(parent_pid: int) -> None:
    """Serve until the supervisor is gone."""
    signal_on_parent_death(signal.SIGKILL)
    if os.getppid() != parent_pid:  # it had died before the kernel was told
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is the supervisor's to see to
    wire = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    asyncio.run(_serve(wire))


async def _serve(wire: int) -> None:
    await Clerk(wire, asyncio.get_running_loop()).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)
