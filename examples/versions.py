"""A program that is changed while it is used: versions, tags, what differs, and the way back."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

from dspex_pool.client import Client

LMS = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
SPEC = {"module": "Predict", "signature": "review: str -> mood: literal['glad', 'sad', 'angry']"}
DEMOS = [
    {"review": "It broke after two days.", "mood": "angry"},
    {"review": "My cat sleeps on nothing else now.", "mood": "glad"},
]


async def improve(client: Client) -> None:
    """A new version with better instructions and two demos; who asks for `stable` keeps the old one."""
    await client.call("program.tag", {"tag": "stable"}, program="mood", version=1)
    better = {"instructions": "Say in what mood the review was written.", "demos": DEMOS}
    made = cast(
        "dict[str, int]",
        await client.call("program.update", {"state": {"self": better}, "note": "demos"}, program="mood"),
    )
    print(f"version {made['version']} is the newest")
    difference = cast(
        "dict[str, Any]", await client.call("program.diff", {"old": 1, "new": 2}, program="mood")
    )
    for change in difference["changes"]:
        print(f"  {change['change']}: {change['path']}")


async def ask(client: Client, **which: str) -> None:
    """One prediction, and which version has made it."""
    payload = {"inputs": {"review": "Well, it works."}}
    outcome = await client.outcome("program.predict", payload, program="mood", **which)
    print(f"asked {which or 'for the newest'}: version {outcome.meta['version']} answered")


async def main() -> None:
    """Here all ends with the server; without `--store memory` the programs are there the next time."""
    async with Client.start(flags=("--store", "memory"), lms=LMS) as client:
        await client.call("program.create", {"spec": SPEC}, program="mood")
        await improve(client)
        await ask(client)
        await ask(client, tag="stable")
        await client.call("program.rollback", {"note": "too eager"}, program="mood", version=1)
        history = cast("dict[str, Any]", await client.call("program.versions", {}, program="mood"))
        for row in history["versions"]:
            by, parent, note = (row["lineage"][key] for key in ("by", "parent", "note"))
            print(f"  {row['version']}: {by} from {parent}, {note or 'no note'}")


if __name__ == "__main__":
    asyncio.run(main())
