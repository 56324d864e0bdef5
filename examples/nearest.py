"""Past cases that are nearest to a new one: found by vectors of a host function, and shown to a model."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from dspex_pool.client import Client

CASES = [
    {"problem": "water drips from the pipe under the sink", "remedy": "a new washer"},
    {"problem": "a tile fell from the roof in the storm", "remedy": "a roofer"},
    {"problem": "the pipe in the cellar is frozen", "remedy": "a warm towel"},
    {"problem": "paint comes off the wall", "remedy": "sandpaper and a new coat"},
]
WORDS = sorted({word for case in CASES for word in case["problem"].split()})
NEAREST = {
    "module": "KNN",
    "signature": "problem -> remedy",
    "options": {"k": 2, "trainset": CASES, "vectorizer": {"function": "embed"}},
}
ADVISER = {
    "module": "Pipeline",
    "signature": "problem -> examples: list[dict], remedy",
    "options": {
        "nodes": {
            "nearest": NEAREST,
            "advise": {"module": "ChainOfThought", "signature": "problem, examples: list[dict] -> remedy"},
        }
    },
}


def embed(model: str, texts: list[str], config: dict[str, object]) -> list[list[float]]:
    """A vector for each text: which words it has. A model for embeddings knows far more."""
    return [[float(word in text.split()) for word in WORDS] for text in texts]


async def main() -> None:
    """Find the nearest cases; then have a model advise with them before its eyes."""
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
    inputs = {"problem": "the pipe drips"}
    async with Client.start(lms=lms, functions={"embed": embed}) as client:
        found: Any = await client.predict(NEAREST, inputs)
        for case in found["examples"]:
            print(f"{case['problem']}: {case['remedy']}")
        advice = await client.predict(ADVISER, inputs)
        print(f"advice: {advice['remedy']}")


if __name__ == "__main__":
    asyncio.run(main())
