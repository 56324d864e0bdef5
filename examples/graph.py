"""What a program is made of: as data, as Mermaid, and as an SVG for a page."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, cast

from dspex_pool.client import Client

TOOLS = [
    {"name": "stock", "desc": "How many of an article there are.", "args": {"article": {"type": "string"}}},
    {
        "name": "price",
        "desc": "What it costs.",
        "args": {"article": {"type": "string"}},
        "function": "prices",
    },
]
CLERK = {"module": "ReAct", "signature": "question -> answer", "options": {"tools": TOOLS}}
BEST = {"module": "BestOfN", "options": {"module": CLERK, "N": 3, "reward_fn": "kind", "threshold": 1.0}}


async def main() -> None:
    """The functions are nobody's here: to look at a program it need not be able to run."""
    async with Client.start(flags=("--store", "memory", "--workers", "1")) as client:
        graph = cast("dict[str, Any]", await client.call("program.graph", {"spec": BEST}))
        for node in graph["nodes"]:
            print(f"{node['kind']:10} {node['id']}")
        print()
        drawn = cast(
            "dict[str, str]", await client.call("program.graph", {"spec": BEST, "format": "mermaid"})
        )
        print(drawn["text"])
        drawn = cast("dict[str, str]", await client.call("program.graph", {"spec": BEST, "format": "svg"}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clerk.svg"
        path.write_text(drawn["text"], encoding="utf-8")
        print(f"an SVG of {path.stat().st_size} bytes")


if __name__ == "__main__":
    asyncio.run(main())
