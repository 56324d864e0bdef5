"""A typed prediction: one call, one whole answer."""

from __future__ import annotations

import asyncio
import os

from dspex_pool.client import Client


async def main() -> None:
    """Ask for a number and a choice, and get a number and a choice."""
    spec = {
        "module": "ChainOfThought",
        "signature": "review: str -> stars: int, mood: literal['glad', 'sad', 'angry']",
    }
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
    async with Client.start(lms=lms) as client:
        prediction = await client.predict(spec, {"review": "It broke after two days."})
    for name, value in prediction.items():
        print(f"{name}: {value!r}")


if __name__ == "__main__":
    asyncio.run(main())
