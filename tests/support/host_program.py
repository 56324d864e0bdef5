"""A host to be killed: starts a server, has it do something, says `ready`, and waits for ever.

    python -m tests.support.host_program [METHOD …]

Each METHOD is called on the server. One that answers is waited for; `misbehave.spin_in_c`
and its like never do, so for them a moment must be enough.
"""

from __future__ import annotations

import asyncio
import sys

from dspex_pool.client import Client

ENDLESS = ("misbehave.spin_in_c", "misbehave.loop", "misbehave.stop")


async def main(methods: list[str]) -> None:
    """Run until killed."""
    async with Client.start() as client:
        for method in methods:
            call = asyncio.ensure_future(client.call(method, {}))
            await asyncio.wait([call], timeout=0.05 if method in ENDLESS else None)
        print("ready", flush=True)
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
