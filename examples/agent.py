"""An agent whose tools are functions of this program, and the best of several attempts by a reward."""

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import Any

from dspex_pool.client import Client
from dspex_protocol import DSPexError

ATTEMPTS = itertools.count(1)
STOCK = {"teapot": 3, "kettle": 0}
AGENT = {
    "module": "ReAct",
    "signature": "question -> answer",
    "options": {
        "tools": [
            {
                "name": "stock",
                "desc": "How many of an article there are.",
                "args": {"article": {"type": "string"}},
            }
        ],
        "max_iters": 5,
    },
}
BEST = {
    "module": "BestOfN",
    "options": {
        "module": {"module": "Predict", "signature": "question -> answer"},
        "N": 3,
        "reward_fn": "wordy",
        "threshold": 3.0,
    },
}


async def stock(article: str) -> str:
    """What it raises is what the model is told; it may try something else."""
    if article not in STOCK:
        raise LookupError(f"there is no {article}; there are {', '.join(STOCK)}")
    return f"{STOCK[article]} in stock"


async def wordy(inputs: dict[str, object], prediction: Any) -> float:
    """The more words, the better."""
    return len(prediction.value["fields"]["answer"].split())


async def model(model: str, messages: list[dict[str, str]], config: dict[str, object]) -> str:
    """The offline model: asks for a cup, learns that there is none, asks for a teapot, and answers."""
    seen = messages[-1]["content"]
    if "next_tool_name" not in messages[0]["content"]:
        return say(reasoning="I looked.", answer="There are 3 teapots, and no cups.")
    if "3 in stock" in seen:
        return call("I know enough.", "finish", "{}")
    if "there is no cup" in seen:
        return call("Then a teapot.", "stock", '{"article": "teapot"}')
    return call("I look for cups.", "stock", '{"article": "cup"}')


async def writer(model: str, messages: list[dict[str, str]], config: dict[str, object]) -> str:
    """Each answer has a word more than the one before, up to three."""
    return say(answer=" ".join(["tea"] * min(next(ATTEMPTS), 3)))


def call(thought: str, tool: str, args: str) -> str:
    """A turn of the agent."""
    return say(next_thought=thought, next_tool_name=tool, next_tool_args=args)


def say(**fields: str) -> str:
    """An answer in the form that the prompt asks for."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in {**fields, "completed": ""}.items())


async def main() -> None:
    """Ask the agent, take the best of three attempts, and name a tool that is not there."""
    lms = {name: {"model": os.environ.get("DSPEX_LM", f"host/{name}")} for name in ("model", "writer")}
    functions: dict[str, Callable[..., Any]] = {
        "stock": stock,
        "wordy": wordy,
        "model": model,
        "writer": writer,
    }
    async with Client.start(lms=lms, functions=functions) as client:
        asked = await client.predict(AGENT, {"question": "What can I make tea with?"}, lm="model")
        steps: Any = asked["trajectory"]
        for number in range(2):
            print(f"It asked for {steps[f'tool_args_{number}']['article']}.")
        print(asked["answer"])
        best = await client.predict(BEST, {"question": "Say it well."}, lm="writer")
        print(f"The best of three: {best['answer']}")
        unknown = {**AGENT, "options": {"tools": [{"name": "order"}]}}
        try:
            await client.predict(unknown, {"question": "One teapot, please."}, lm="model")
        except DSPexError as refused:
            print(refused)


if __name__ == "__main__":
    asyncio.run(main())
