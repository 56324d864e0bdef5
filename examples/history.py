"""What language models were sent and what they wrote: kept by a server that was started to keep it."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

from dspex_pool.client import Client

LMS = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
SPEC = {"module": "ChainOfThought", "signature": "question -> answer"}


def show(request: dict[str, Any]) -> None:
    """One request: who asked, how much was said, and the texts where there are any."""
    said = sum(message["characters"] for message in request["messages"])
    print(f"  {request['predictor']} asked {request['model']}: {said} characters, {request['finish_reason']}")
    for message in request["messages"][-1:]:
        print(f"    {message['role']}: {message.get('text', 'not kept')[:60]!r}")


async def main() -> None:
    """First a server that keeps no texts, then one that does."""
    for level in ("redacted", "texts"):
        flags = ("--store", "memory", "--workers", "2", "--history", level)
        async with Client.start(flags=flags, lms=LMS) as client:
            for question in ("Why is the sky blue?", "And at night?"):
                await client.predict(SPEC, {"question": question})
            await client.predict(SPEC, {"question": "Between us?"}, history=False)
            history = cast("dict[str, Any]", await client.call("program.history", {"limit": 5}))
            print(f"{level}: {len(history['calls'])} calls are kept")
            for call in history["calls"]:
                show(call["requests"][0])


if __name__ == "__main__":
    asyncio.run(main())
