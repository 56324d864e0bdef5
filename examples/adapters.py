"""Adapters, the prompts that they write, and a model that is asked again."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from dspex_pool.client import Client

TICKET = {
    "instructions": "Sort the ticket.",
    "inputs": [{"name": "ticket"}],
    "outputs": [
        {"name": "kind", "enum": ["bug", "wish", "question"]},
        {"name": "urgency", "type": "int", "ge": 0, "le": 10},
    ],
}
INPUTS = {"ticket": "It does not start any more."}


async def main() -> None:
    """Ask with each adapter that there is, and with retries; look at a prompt without asking."""
    spec = {"module": "Predict", "signature": TICKET}
    model = os.environ.get("DSPEX_LM", "sim/example")
    async with Client.start(lms={"default": {"model": model}, "small": {"model": model}}) as client:
        described: Any = await client.call("system.describe")
        for row in described["adapters"]:
            options = {"extraction_model": "small"} if "extraction_model" in row["options"] else {}
            adapter = {"name": row["name"], "options": options}
            prediction = await client.predict(spec, INPUTS, adapter=adapter, on_violation={"retry": 2})
            print(f"{row['name']}: {prediction['kind']}, {prediction['urgency']}")
        told: Any = await client.call(
            "signature.describe", {"signature": TICKET, "adapter": "json", "inputs": INPUTS}
        )
    for message in told["prompts"][0]["messages"]:
        print(f"--- {message['role']}\n{message['content']}")


if __name__ == "__main__":
    asyncio.run(main())
