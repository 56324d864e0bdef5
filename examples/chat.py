"""Language models without a program: which work, a conversation with a tool, vectors, the bill."""

from __future__ import annotations

import array
import asyncio
import os
from typing import Any

from dspex_pool.client import Client

ADD: dict[str, Any] = {
    "name": "add",
    "desc": "Adds two numbers.",
    "args": {"a": {"type": "integer"}, "b": {"type": "integer"}},
}


async def ask(client: Client, method: str, payload: dict[str, Any]) -> Any:
    """What the server answers."""
    return await client.call(method, payload)


async def main() -> None:
    """Try each, talk to one, compare texts with another, and look at the bill."""
    lms = {
        "default": {
            "model": os.environ.get("DSPEX_LM", "sim/example"),
            "usd_per_million_in": 0.15,
            "usd_per_million_out": 0.6,
        },
        "vectors": {"model": "sim/vectors", "model_type": "embedding"},
        "broken": {"model": "openai/own", "api_base": "http://127.0.0.1:9/v1"},
    }
    async with Client.start(lms=lms) as client:
        for row in await ask(client, "lm.list", {}):
            tried = await ask(client, "lm.test", {"lm": row["name"]})
            print(f"{row['name']}: {'works' if tried['ok'] else tried['error']['code']}")
        await converse(client)
        await compare(client, ["a cat", "a dog"])
        spent = (await ask(client, "lm.usage", {}))["total"]
        print(f"{spent['lm_calls']} requests for {spent['cost_usd']:.6f} dollars")


async def converse(client: Client) -> None:
    """The model says what it wants called; this program calls it, and the model goes on."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "How much is 17 and 4?"}]
    reply = await ask(client, "lm.chat", {"messages": messages, "tools": [ADD]})
    message = reply["answers"][0]["message"]
    messages.append(message)
    for call in message.get("tool_calls", []):
        total = sum(call["args"].values())
        print(f"{call['name']} was called and gave {total}")
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": str(total)})
    reply = await ask(client, "lm.chat", {"messages": messages, "tools": [ADD]})
    print(f"answer: {reply['answers'][0]['message']['content']!r}")


async def compare(client: Client, texts: list[str]) -> None:
    """One row of 32-bit floats for each text."""
    tensor = (await ask(client, "lm.embed", {"texts": texts, "lm": "vectors"}))["vectors"]
    count, width = tensor.shape
    numbers = array.array("f", tensor.data)
    first, second = (numbers[at * width : (at + 1) * width] for at in range(count))
    alike = sum(a * b for a, b in zip(first, second, strict=True))
    print(f"{texts[0]!r} and {texts[1]!r}: {alike:.3f} in {width} dimensions")


if __name__ == "__main__":
    asyncio.run(main())
