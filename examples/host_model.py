"""A language model that is a function of the host and writes word by word, into a stream and without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from dspex_pool.client import Client
from dspex_pool.function_streams import Reply

SPEC = {"module": "Predict", "signature": "topic -> essay"}
WORDS = ["A pipe ", "carries ", "bytes ", "in order ", "from one process ", "to another."]


async def write(model: str, messages: list[dict[str, str]], config: object) -> AsyncGenerator[object]:
    """What stands here would ask a model of your own; its answer has the form that the messages ask for."""
    yield "[[ ## essay ## ]]\n"
    for word in WORDS:
        await asyncio.sleep(0.02)  # it thinks
        yield word
    yield "\n\n[[ ## completed ## ]]"
    yield Reply(tokens_in=sum(len(message["content"]) // 4 for message in messages), tokens_out=len(WORDS))


async def main() -> None:
    """Show the words as they come; then ask again without a stream."""
    lms = {"default": {"model": "host/write"}}
    async with Client.start(functions={"write": write}, lms=lms) as client:
        stream = client.stream(SPEC, {"topic": "pipes"}, events=["token"])
        async for item in stream:
            match item:
                case {"text": str(text)}:
                    print(text, end="", flush=True)
                case _:
                    pass
        outcome = await stream.result()
        print(f"\n-- {outcome.meta['tokens_out']} tokens")
        prediction = await client.predict(SPEC, {"topic": "pipes"})
        print(f"-- the same at once: {prediction['essay']}")


if __name__ == "__main__":
    asyncio.run(main())
