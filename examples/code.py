"""A model that writes code: it computes, and asks a function of this program. Needs `dspex code prepare`."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from dspex_pool.client import Client

STOCK = {"teapot": 3, "kettle": 4}
THINKER = {"module": "ProgramOfThought", "signature": "question -> answer: int"}
CLERK = {
    "module": "CodeAct",
    "signature": "question -> answer",
    "options": {
        "tools": [
            {
                "name": "stock",
                "desc": "How many of an article there are.",
                "args": {"article": {"type": "string"}},
            }
        ],
    },
}


async def stock(article: str) -> int:
    """Called from within the sandbox."""
    return STOCK[article]


async def model(model: str, messages: list[dict[str, str]], config: dict[str, object]) -> str:
    """The offline model: it writes code, and reads what came of it."""
    fields, seen = messages[0]["content"], messages[-1]["content"]
    if "finished" in fields:
        code = "total = stock('teapot') + stock(article='kettle')\nprint(total)"
        return say(generated_code=f"```python\n{code}\n```", finished="True")
    if "trajectory" in fields:
        return say(reasoning="The code said it.", answer="There are 7 to make tea with.")
    if "final_generated_code" in fields:
        given = seen.partition("[[ ## code_output ## ]]")[2].partition("[[")[0]
        return say(reasoning="The code said it.", answer="".join(filter(str.isdigit, given)))
    code = "total = sum(range(0, 100, 7))\nSUBMIT({'answer': total})"
    return say(reasoning="I let Python add.", generated_code=f"```python\n{code}\n```")


def say(**fields: str) -> str:
    """An answer in the form that the prompt asks for."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in {**fields, "completed": ""}.items())


async def main() -> None:
    """Let code add, and let code ask."""
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "host/model")}}
    functions: dict[str, Callable[..., Any]] = {"stock": stock, "model": model}
    async with Client.start(lms=lms, functions=functions) as client:
        added = await client.predict(THINKER, {"question": "What do the multiples of 7 below 100 add up to?"})
        print(added["answer"])
        asked = await client.predict(CLERK, {"question": "What can I make tea with?"})
        print(asked["answer"])


if __name__ == "__main__":
    asyncio.run(main())
