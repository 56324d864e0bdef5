"""Modules whose fields feed one another as one program, and a stored program as a part of another."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final, cast

from dspex_pool.client import Client
from dspex_protocol import DSPexError

LMS: Final = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
REVIEW: Final[dict[str, Any]] = {
    "module": "Pipeline",
    "signature": "text -> title: str, summary: str, fits: bool",
    "options": {
        "nodes": {
            # These two need nothing of each other, so they run at once.
            "points": {"module": "ChainOfThought", "signature": "text -> points: list[str]"},
            "name": {"module": "Predict", "signature": "text -> title: str"},
            "write": {"module": "Predict", "signature": "points: list[str], words: int -> draft: str"},
            "check": {"program": "checker"},
        },
        # What has the same name needs no wire.
        "wires": {"write": {"words": {"value": 50}}, "check": {"summary": "write.draft"}},
        "outputs": {"summary": "write.draft"},
    },
}
TEXT: Final = "Copper was the first metal that people worked, long before iron."


async def make(client: Client) -> None:
    """The checker is a program of its own, with what it has learned; the review has a copy of it."""
    checker = {"module": "Predict", "signature": "title: str, summary: str -> fits: bool"}
    learned = {"self": {"instructions": "Say whether the title fits."}}
    await client.call("program.create", {"spec": checker, "state": learned}, program="checker")
    await client.call("program.create", {"spec": REVIEW}, program="review")
    program = cast("dict[str, Any]", await client.call("program.get", {}, program="review"))
    for name, state in program["state"].items():
        print(f"predictor {name}: {state['instructions']}")
    print(f"check is a copy of {program['spec']['options']['nodes']['check']['origin']}")


async def ask(client: Client) -> None:
    """As it is written: whose text it is says the predictor's name."""
    stream = client.stream("review", {"text": TEXT})
    async for item in stream:
        match item:
            case {"type": "token", "predictor": str(name), "field": str(field), "last": True}:
                print(f"{name} has written {field}")
            case _:
                pass
    outcome = await stream.result()
    prediction = cast("Any", outcome.value).value
    print(f"{prediction['fields']['title']!r}, {prediction['usage']['lm_calls']} requests")


async def mistake(client: Client) -> None:
    """What does not fit together is told when the program is made."""
    nodes = {**REVIEW["options"]["nodes"], "name": {"module": "Predict", "signature": "text -> title: int"}}
    wrong = {**REVIEW, "options": {**REVIEW["options"], "nodes": nodes}}
    try:
        await client.call("program.create", {"spec": wrong}, program="wrong")
    except DSPexError as refused:
        print(refused.message)


async def main() -> None:
    """Here all ends with the server; without `--store memory` the programs are there the next time."""
    async with Client.start(flags=("--store", "memory"), lms=LMS) as client:
        await make(client)
        await ask(client)
        await mistake(client)


if __name__ == "__main__":
    asyncio.run(main())
