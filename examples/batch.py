"""One program over many inputs: results as they come, a row that is wrong, and what it cost in all."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

from dspex_pool.client import Client
from dspex_pool.replies import fields_of

LMS = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
SPEC = {"module": "Predict", "signature": "review: str -> mood: literal['glad', 'sad', 'angry']"}
REVIEWS = [
    "It broke after two days.",
    "My cat sleeps on nothing else now.",
    "Well, it works.",
    "The box was empty.",
]


async def main() -> None:
    """With credit the rows come as they end; without, all of them in order with the answer."""
    rows: list[dict[str, object]] = [{"review": review} for review in REVIEWS]
    rows.insert(2, {"reviw": "Misspelt."})
    async with Client.start(flags=("--workers", "2"), lms=LMS) as client:
        stream = client.stream_call("batch.run", {"spec": SPEC, "inputs": rows, "parallelism": 4})
        async for item in stream:
            match cast("dict[str, Any]", item):
                case {"index": index, "prediction": prediction}:
                    print(f"row {index}: {fields_of(prediction)['mood']}")
                case {"index": index, "error": failure}:
                    print(f"row {index} failed: {failure['message']}")
                case _:
                    pass  # of a later server
        whole = cast("dict[str, Any]", (await stream.result()).value)
        print(f"{whole['done']} of {whole['rows']} rows, {whole['usage']['tokens_out']} tokens written")

        answer = cast("dict[str, Any]", await client.call("batch.run", {"spec": SPEC, "inputs": rows[:2]}))
        print("in order:", [fields_of(row["prediction"])["mood"] for row in answer["results"]])


if __name__ == "__main__":
    asyncio.run(main())
