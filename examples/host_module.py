"""A module whose forward is a function of the host: it drafts, has the draft checked, and tries again."""

from __future__ import annotations

import asyncio
import os

from dspex_pool.client import Client

PARTS = {
    "draft": {"module": "Predict", "signature": "topic, advice -> text"},
    "check": {"module": "ChainOfThought", "signature": "text -> good: bool, advice"},
}
WRITER = {
    "module": "Host",
    "signature": "topic -> text, drafts: int",
    "options": {"forward": "write", "parts": PARTS},
}


class Writer:
    """The control flow of the program; what the parts have learned is the program's."""

    def __init__(self) -> None:
        self.client: Client

    async def write(self, topic: str) -> dict[str, object]:
        """At most three drafts."""
        advice, drafts = "none yet", list[str]()
        while len(drafts) < 3:
            draft = await self.client.part("draft", {"topic": topic, "advice": advice})
            drafts.append(str(draft["text"]))
            check = await self.client.part("check", {"text": drafts[-1]})
            if check["good"]:
                break
            advice = str(check["advice"])
        return {"text": drafts[-1], "drafts": len(drafts)}


async def main() -> None:
    """Store the program, change what one part is told, and see which predictors ran."""
    writer = Writer()
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
    async with Client.start(lms=lms, functions={"write": writer.write}) as client:
        writer.client = client
        state = {"draft": {"instructions": "Write one sentence."}}
        await client.call("program.create", {"spec": WRITER, "state": state}, program="writer")
        prediction = await client.prediction("writer", {"topic": "pipes"}, trace=True)
        print(f"{prediction.fields['text']} (drafts: {prediction.fields['drafts']})")
        for step in prediction.trace:
            print(step)


if __name__ == "__main__":
    asyncio.run(main())
