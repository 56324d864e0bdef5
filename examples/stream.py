"""An answer as it is written: tokens first, then the whole prediction."""

from __future__ import annotations

import asyncio
import os

from dspex_pool.client import Client
from dspex_pool.replies import fields_of


async def main() -> None:
    """Print each piece when it comes, and the prediction at the end."""
    spec = {"module": "Predict", "signature": "topic -> essay"}
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
    async with Client.start(lms=lms) as client:
        stream = client.stream(spec, {"topic": "pipes"})
        async for item in stream:
            match item:
                case {"type": "token", "text": str(text)}:
                    print(text, end="", flush=True)
                case _:
                    pass  # a status
        outcome = await stream.result()
    print(f"\n-- {len(str(fields_of(outcome.value)['essay']))} characters")


if __name__ == "__main__":
    asyncio.run(main())
