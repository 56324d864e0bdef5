"""A job: an optimizer that goes on whoever dies, followed, and submitted twice without being done twice."""

from __future__ import annotations

import asyncio
import os
import shlex
from typing import Any, cast

from dspex_pool.client import Client

TRAIN = [
    {"review": "Well made, and it lasts.", "stars": 5},
    {"review": "It broke after two days.", "stars": 1},
    {"review": "It works.", "stars": 4},
    {"review": "Too loud for me.", "stars": 2},
]


async def main() -> None:
    """Submit, follow, look at what came of it."""
    command = shlex.split(os.environ.get("DSPEX_COMMAND", "dspex serve"))
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
    flags = ("--workers", "1", "--store", "memory")
    async with Client.start(command=command, flags=flags, lms=lms) as client:

        async def ask(method: str, payload: object) -> dict[str, Any]:
            return cast("dict[str, Any]", await client.call(method, payload))

        job = {
            "kind": "optimize",
            "key": "stars, first try",
            "budget": {"lm_calls": 200},
            "request": {
                "spec": {"module": "Predict", "signature": "review -> stars: int"},
                "optimizer": {"optimizer": "LabeledFewShot", "options": {"k": 2}},
                "metric": {"metric": "exact_match", "options": {"field": "stars"}},
                "trainset": TRAIN,
                "seed": 7,
                "save_as": {"program": "stars", "tags": ["optimized"]},
            },
        }
        submitted = await ask("job.submit", job)
        print(f"submitted: {submitted['created']}")
        again = await ask("job.submit", job)
        print(f"submitted again: {again['created']}, and it is the same: {again['job'] == submitted['job']}")

        stream = client.stream_call("job.follow", {"job": submitted["job"]})
        async for item in stream:
            told = cast("dict[str, Any]", item)
            if "event" in told:
                print(f"  {told['event']['n']}. {told['event']['type']}")
        ended = cast("dict[str, Any]", (await stream.result()).value)
        print(f"{ended['state']} in attempt {ended['attempt']}, {ended['spent']['lm_calls']} requests")

        saved = ended["saved"]
        program = cast("dict[str, Any]", await client.call("program.get", {}, program=saved["program"]))
        demos = program["state"]["self"]["demos"]
        made_by = program["lineage"]["by"]
        print(f"{saved['program']} version {saved['version']}, by {made_by}, has {len(demos)} demos")


asyncio.run(main())
