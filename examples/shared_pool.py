"""One pool for several programs: two clients, each a tenant, and all workers replaced under load."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from dspex_pool.client import Client

LMS = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
SPEC = {"module": "Predict", "signature": "review: str -> mood: literal['glad', 'sad', 'angry']"}


async def mood_of(client: Client, review: str, lane: str) -> str:
    """One prediction; `lane` says whether somebody waits for it."""
    prediction = await client.predict(SPEC, {"review": review}, lane=lane)
    return str(prediction["mood"])


async def read_reviews(client: Client, count: int) -> int:
    """Bulk work: many at once, and nobody waits for one of them. Returns how many were answered."""
    moods = await asyncio.gather(*(mood_of(client, f"Review {number}", "batch") for number in range(count)))
    return len(moods)


async def show(web: Client, reports: Client) -> None:
    """An operator replaces the workers while one client works in bulk and the other asks."""
    answered = await read_reviews(reports, 50)
    asked = cast("dict[str, list[int]]", await web.call("pool.recycle", {}))
    old = set(asked["workers"])
    while True:
        bulk = asyncio.create_task(read_reviews(reports, 50))
        mood = await mood_of(web, "It broke after two days.", "interactive")
        answered += await bulk
        info = cast("dict[str, Any]", await web.call("system.info", {}))
        if not old & {worker["worker"] for worker in info["workers"]}:
            break
    print(f"web: {mood}")
    print(f"reports: {answered} answers, no error")
    print(f"replaced meanwhile: workers {', '.join(map(str, sorted(old)))}")
    print(f"tenants: {', '.join(sorted(tenant['tenant'] for tenant in info['tenants']))}")


async def main() -> None:
    """Share one server.

    Here the first client starts it and lets others in. In production it stands by itself
    (`dspex serve --listen unix:PATH`), and every program connects.
    """
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{Path(folder) / 'dspex.sock'}"
        flags = ("--listen", f"stdio,{address}")
        weights = {"web": 3, "reports": 1}
        async with (
            Client.start(flags=flags, lms=LMS, tenant="web", tenants=weights) as web,
            Client.connect(address, lms=LMS, tenant="reports") as reports,
        ):
            await show(web, reports)


if __name__ == "__main__":
    asyncio.run(main())
