"""What a program does while it does it: a list that grows, and an agent's tools."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, cast

from dspex_pool.client import Client

REPORT = {"module": "Predict", "signature": "topic -> findings: list[str], score: int"}
AGENT = {
    "module": "ReAct",
    "signature": "question -> answer",
    "options": {"tools": [{"name": "weather", "args": {"city": {"type": "string"}}}], "max_iters": 3},
}


async def weather(city: str) -> str:
    """A tool of the agent's: what it gives is what the model reads."""
    return f"It rains in {city}."


def model(model: str, messages: list[dict[str, str]], config: object) -> str:
    """The offline model of the agent: asks for the weather once, and answers."""
    if "next_tool_name" not in messages[0]["content"]:
        return say(reasoning="I looked.", answer="Yes, take an umbrella.")
    if "It rains" in messages[-1]["content"]:
        return say(next_thought="I know enough.", next_tool_name="finish", next_tool_args="{}")
    return say(next_thought="I look.", next_tool_name="weather", next_tool_args='{"city": "Bergen"}')


def say(**fields: str) -> str:
    """An answer in the form that DSPy's chat adapter reads."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in fields.items())


async def main() -> None:
    """Print each step of both programs."""
    named = os.environ.get("DSPEX_LM")
    lms = {"default": {"model": named or "sim/example"}, "agent": {"model": named or "host/model"}}
    functions: dict[str, Callable[..., object]] = {"weather": weather, "model": model}
    async with Client.start(lms=lms, functions=functions) as client:
        stream = client.stream(REPORT, {"topic": "pipes"}, events=["value"])
        async for item in stream:
            value = cast("dict[str, Any]", item)
            match value["field"]:
                case "findings":
                    state = "complete" if value["last"] else "so far"
                    print(f"findings, {state}: {len(value['value'])}")
                case field:
                    print(f"{field}: {value['value']}")
        await stream.result()

        stream = client.stream(AGENT, {"question": "Will it rain?"}, lm="agent", events=["tool_arguments"])
        async for item in stream:
            tool = cast("dict[str, Any]", item)
            match tool["event"]:
                case "start":
                    print(f"call {tool['call']}: {tool['name']} with {tool['arguments']}")
                case _:
                    print(f"call {tool['call']}: {tool['outcome']}")
        await stream.result()


if __name__ == "__main__":
    asyncio.run(main())
