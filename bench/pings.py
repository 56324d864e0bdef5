"""Pings of a client that does nothing else, in a process of its own: `python -m bench.pings unix:PATH`.

It pings until its standard input ends, and prints the milliseconds of each as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import perf_counter
from typing import Final

from dspex_pool.client import Client

PAUSE_S: Final = 0.002


async def main(address: str) -> None:
    """One ping after another, until whoever started it closes its input."""
    taken_ms: list[float] = []
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with Client.connect(address) as client:
        await client.call("system.ping")
        print("ready", flush=True)
        while not ended.done():
            began_s = perf_counter()
            await client.call("system.ping")
            taken_ms.append((perf_counter() - began_s) * 1000)
            await asyncio.sleep(PAUSE_S)
    print(json.dumps(taken_ms))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
