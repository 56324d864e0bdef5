"""Rows from a CSV file in the store: versions, a split by seed, and a row that does not fit."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from typing import Any, cast

from dspex_pool.client import Client
from dspex_protocol import DSPexError

SIGNATURE = "review -> stars: int"
CSV = """review,stars,source
"Well made, and it lasts.",5,shop
It broke after two days.,1,mail
"It works. ""Fine"", says my son.",4,shop
Too loud for me.,2,mail
"""


async def main() -> None:
    """Store, look, share out, and be refused."""
    command = shlex.split(os.environ.get("DSPEX_COMMAND", "dspex serve"))
    async with Client.start(command=command, flags=("--workers", "1", "--store", "memory")) as client:

        async def ask(method: str, **payload: object) -> dict[str, Any]:
            return cast(
                "dict[str, Any]", await client.call(f"dataset.{method}", {"dataset": "reviews", **payload})
            )

        made = await ask("put", document=CSV, format="csv", signature=SIGNATURE)
        print(f"stored as version {made['version']}")
        more = {"review": "I use it daily.", "stars": 5}
        print(f"one more: version {(await ask('append', rows=[more]))['version']}")

        known = await ask("get")
        print(
            f"{known['rows']} rows of {', '.join(known['fields'])}; inputs: {', '.join(known['input_keys'])}"
        )

        split = await ask("split", split={"train": 0.6, "dev": 0.4}, seed=7)
        for side, what in split["sides"].items():
            print(f"{side}: {what['rows']} rows")
            for row in (await ask("rows", version=split["version"], select=what["select"]))["rows"]:
                print(f"  {json.dumps(row)}")

        try:
            await ask("append", rows=[more, {"review": "Hm.", "stars": "many"}])
        except DSPexError as refused:
            print(f"refused: {refused.message}")


asyncio.run(main())
