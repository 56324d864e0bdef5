"""A program that gets better: DSPy's MIPROv2 as a job, followed while it runs, and its result used.

The offline model has a lesson, so that a better prompt really makes it answer better; it stands in for
a model, and says nothing of any.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from dspex_pool.client import Client

SOUNDS = {
    "cow": "moo",
    "dog": "woof",
    "cat": "meow",
    "horse": "neigh",
    "pig": "oink",
    "sheep": "baa",
    "duck": "quack",
    "owl": "hoot",
    "lion": "roar",
    "snake": "hiss",
    "bee": "buzz",
    "frog": "croak",
}
LEARNER = {"model": "sim/learner", "options": {"lesson": {"answers": SOUNDS, "start": 0.2}}}
ROWS = [{"animal": animal, "sound": sound} for animal, sound in SOUNDS.items()]

REQUEST = {
    "program": "sounds",
    "optimizer": {
        "optimizer": "MIPROv2",
        "options": {"auto": None, "num_candidates": 4, "max_labeled_demos": 3},
        "compile": {"num_trials": 6, "minibatch": False},
    },
    "metric": {"metric": "exact_match", "options": {"field": "sound"}},
    "trainset": ROWS,
    "valset": ROWS,
    "seed": 7,
}


async def main() -> None:
    """Optimize, tell of the trials, and see what the next version knows."""
    flags = ("--store", "memory", "--log-level", "error")
    async with Client.start(flags=flags, lms={"default": LEARNER}) as client:
        spec = {"module": "Predict", "signature": "animal -> sound"}
        await client.call("program.create", {"spec": spec}, program="sounds")
        what = {"kind": "optimize", "request": REQUEST, "budget": {"lm_calls": 500}}
        submitted = cast("dict[str, Any]", await client.call("job.submit", what))
        stream = client.stream_call("job.follow", {"job": submitted["job"], "after": 0})
        async for item in stream:
            event = cast("dict[str, Any]", item).get("event", {})
            if event.get("type") == "trial":
                best = ", the best so far" if event["is_best"] else ""
                print(f"trial {event['trial']}: {event['score']:.2f}{best}")
        told = cast("dict[str, Any]", await client.call("job.result", {"job": submitted["job"]}))
        scores, calls = told["result"]["scores"], told["result"]["usage"]["lm_calls"]
        print(f"from {scores['start']:.2f} to {scores['best']:.2f}, for {calls} requests")
        print(f"stored as version {told['saved']['version']} of {told['saved']['program']}")
        record = told["result"]["program"]["state"]["self"]
        print(f"{len(record['demos'])} demos, and: {record['instructions']}")


if __name__ == "__main__":
    asyncio.run(main())
