"""A client to be killed: joins a pool and makes a call that takes longer than any test.

python -m tests.support.guest_program unix:PATH CALLS
"""

from __future__ import annotations

import asyncio
import sys

from dspex_pool.client import Client


async def main(address: str, calls: int) -> None:
    """Run until killed."""
    async with Client.connect(address) as client:
        what = {"nonce": 1, "pause_ms": 3_600_000}
        await asyncio.gather(*(client.call("misbehave.nonce", what) for _ in range(calls)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
