"""Three runs of an experiment: batches with other temperatures, logged, compared, and forgotten."""

from __future__ import annotations

import asyncio
import os
import shlex
from typing import Any, cast

from dspex_pool.client import Client

PROGRAM = {"signature": "number: int -> is_even: bool", "module": "Predict"}
NUMBERS = range(20)


async def main() -> None:
    """Try, log and compare."""
    command = shlex.split(os.environ.get("DSPEX_COMMAND", "dspex serve"))
    flags = ("--workers", "1", "--store", "memory", "--lm", os.environ.get("DSPEX_LM", "sim/example"))
    async with Client.start(command=command, flags=flags) as client:

        async def ask(method: str, **payload: object) -> dict[str, Any]:
            return cast(
                "dict[str, Any]",
                await client.call(f"experiment.{method}", {"experiment": "even", **payload}),
            )

        for temperature in (0.0, 0.5, 1.0):
            run = (await ask("begin", params={"temperature": temperature}, lineage={"module": "Predict"}))[
                "run"
            ]
            right = 0
            for number in NUMBERS:
                asked = {
                    "spec": PROGRAM,
                    "inputs": {"number": number},
                    "config": {"temperature": temperature},
                }
                prediction: Any = await client.call("program.predict", asked)
                right += prediction.value["fields"]["is_even"] == (number % 2 == 0)
                await ask("log", run=run, points=[{"name": "right", "value": right / (number + 1)}])
            await ask("attach", run=run, name="note.md", content=f"# {right} of {len(NUMBERS)}\n")
            await ask("end", run=run)

        # An evaluation logs itself: what was asked for, on what, what it scored and what it has cost.
        evaluation = {
            "spec": PROGRAM,
            "rows": [{"number": number, "is_even": number % 2 == 0} for number in NUMBERS],
            "input_keys": ["number"],
            "metrics": {"right": {"metric": "exact_match", "options": {"field": "is_even"}}},
            "experiment": "even",
        }
        measured: Any = await client.call("evaluation.run", evaluation)
        told = await ask("run", run=measured["run"])
        calls = told["metrics"]["lm_calls"]["last"]
        print(
            f"{told['run']} by itself: {told['state']}, {calls:.0f} calls, {told['params']['spec.signature']}"
        )

        print("The model guesses; which temperature guessed best says nothing:")
        for run in (await ask("runs", sort="right"))["runs"]:
            if "temperature" not in run["params"]:
                continue
            metric = run["metrics"]["right"]
            print(
                f"{run['run']}: {run['params']['temperature']}: {metric['last']:.2f} after {metric['points']}"
            )
        await ask("delete")


asyncio.run(main())
