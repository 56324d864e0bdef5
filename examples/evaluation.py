"""Two programs are measured on a dataset, held against each other, and asked what went wrong."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

from dspex_pool.client import Client

SIGNATURE = "review -> mood: Literal['good', 'bad', 'mixed']"
REVIEWS = [
    ("It never fails, and it is quiet.", "good"),
    ("It broke on the second day.", "bad"),
    ("It is fast, and the handle is loose.", "mixed"),
    ("I would buy it again.", "good"),
]
METRICS = {
    "right": {"metric": "exact_match", "options": {"field": "mood"}},
    "useful": {"metric": "host", "options": {"function": "useful"}},
}


def useful(example: dict[str, Any], prediction: dict[str, Any]) -> dict[str, object]:
    """A metric of ours: a wrong verdict is worse than none."""
    if prediction["mood"] == example["mood"]:
        return {"score": 1.0}
    return {"score": 0.5 if prediction["mood"] == "mixed" else 0.0, "feedback": f"it is {example['mood']}"}


async def main() -> None:
    """Store rows, evaluate two programs on them, and print what is known of both."""
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
    flags = ("--store", "memory", "--log-level", "error")
    rows = [{"review": f"{text} ({n})", "mood": mood} for n in range(10) for text, mood in REVIEWS]
    async with Client.start(flags=flags, lms=lms, functions={"useful": useful}) as client:

        async def evaluation(method: str, **payload: object) -> dict[str, Any]:
            return cast("dict[str, Any]", await client.call(f"evaluation.{method}", payload))

        await client.call("dataset.put", {"dataset": "reviews", "rows": rows, "signature": SIGNATURE})
        for name in ("Predict", "ChainOfThought"):
            spec = {"module": name, "signature": SIGNATURE}
            given = {"evaluation": name, "spec": spec, "dataset": {"dataset": "reviews"}, "metrics": METRICS}
            stream = client.stream_call("evaluation.run", given)
            seen = [item async for item in stream]
            made = cast("dict[str, Any]", (await stream.result()).value)
            right = made["scores"]["right"]
            interval = f"{right['low']:.2f}-{right['high']:.2f}"
            print(f"{name}: {len(seen)} rows, right {right['mean']:.2f} ({interval})")

        compared = await evaluation("compare", evaluations=["Predict", "ChainOfThought"], rows=False)
        for metric, (pair,) in compared["metrics"].items():
            verdict = "significant" if pair["significant"] else "not significant"
            print(f"{metric}: {pair['difference']:+.2f}, {verdict} (p {pair['p_holm']:.2f})")
            print(f"  better in {pair['wins']} rows, worse in {pair['losses']}, the same in {pair['ties']}")

        failures = await evaluation("failures", evaluation="Predict")
        for cluster in failures["clusters"]:
            first = cluster["rows"][0]
            print(f"{cluster['count']} rows: {cluster['kind']} of {cluster['metric']}, such as {first}")
        worst = await evaluation(
            "rows", evaluation="Predict", metric="useful", sort="score", limit=1, indexes=[0, 1, 2, 3]
        )
        print(worst["rows"][0]["example"]["review"], worst["rows"][0]["scores"]["useful"])


if __name__ == "__main__":
    asyncio.run(main())
