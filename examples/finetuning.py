"""A model made of a dataset by a provider, here `dspex sim-lm`, and asked by its name."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from typing import Any, cast

from dspex_pool.client import Client

SIGNATURE = "number: int -> double: int"
PROGRAM = {"module": "Predict", "signature": SIGNATURE}


async def main() -> None:
    """Store rows, have a model made, and ask it and the one that it was made of."""
    provider = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex_pool", "sim-lm", "--until-eof", "--tuning-s", "0.5"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert provider.stdout is not None
    listening = json.loads(await provider.stdout.readline())
    lms = {"small": {"model": "openai/sim-base", "api_base": listening["api_base"]}}
    command = shlex.split(os.environ.get("DSPEX_COMMAND", "dspex serve"))
    flags = ("--workers", "1", "--store", "memory")
    async with Client.start(command=command, flags=flags, lms=lms) as client:

        async def ask(method: str, **payload: object) -> dict[str, Any]:
            return cast("dict[str, Any]", await client.call(method, payload))

        rows = [{"number": number, "double": 2 * number} for number in range(20)]
        await ask("dataset.put", dataset="doubles", rows=rows, signature=SIGNATURE)
        request = {"lm": "small", "dataset": "doubles", "signature": SIGNATURE, "suffix": "doubles"}
        job = (await ask("job.submit", kind="finetune", request=request))["job"]
        await client.call("job.follow", {"job": job}, deadline_ms=60_000)
        for event in (await ask("job.events", job=job))["events"]:
            print(event.get("message") or event["type"])
        tuned = (await ask("job.result", job=job))["result"]["lm"]
        for lm in ("small", tuned):
            prediction: Any = await client.call(
                "program.predict", {"spec": PROGRAM, "inputs": {"number": 7}, "lm": lm}
            )
            print(f"{lm.partition(':')[0]}: twice 7 is {prediction.value['fields']['double']}")


asyncio.run(main())
