"""How good predictions are: a program is run over rows, and its answers are scored."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

from dspex_pool.client import Client

PROGRAM = {"module": "Predict", "signature": "question -> answer: str, sure: float"}
METRIC = {
    "metric": "weighted",
    "options": {
        "parts": {
            "right": {
                "metric": "any",
                "options": {
                    "parts": {
                        "same": {"metric": "EM", "options": {"field": "answer"}},
                        "near": {
                            "metric": "threshold",
                            "options": {
                                "metric": {"metric": "token_f1", "options": {"field": "answer"}},
                                "at": 0.8,
                            },
                        },
                    }
                },
            },
            "modest": {"metric": "numeric", "options": {"field": "sure", "value": 0.5, "absolute": 0.5}},
            "polite": {"metric": "host", "options": {"function": "polite", "timeout_s": 5}},
        },
        "weights": {"right": 2},
    },
}
EXAMPLES = [
    {"question": "Why is the sky blue?", "answer": "Rayleigh scattering"},
    {"question": "What is the capital of France?", "answer": "Paris"},
]


def polite(example: dict[str, Any], prediction: dict[str, Any]) -> dict[str, object]:
    """A metric of ours, with words for whoever is to do better."""
    rude = "!" in prediction["answer"]
    return {"score": 0.0 if rude else 1.0, "feedback": "it shouts" if rude else None}


async def main() -> None:
    """Predict, score, and print what is to be said of each row."""
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
    flags = ("--store", "memory", "--log-level", "error")
    async with Client.start(flags=flags, lms=lms, functions={"polite": polite}) as client:
        predictions = [
            await client.predict(PROGRAM, {"question": example["question"]}) for example in EXAMPLES
        ]
        rows = [
            {"example": example, "prediction": dict(prediction)}
            for example, prediction in zip(EXAMPLES, predictions, strict=True)
        ]
        scores = cast("dict[str, Any]", await client.call("metric.score", {"metric": METRIC, "rows": rows}))
    print(f"mean {scores['mean']:.2f} of {scores['scored']} rows")
    for example, result in zip(EXAMPLES, scores["results"], strict=True):
        parts = ", ".join(f"{name} {part['score']:.2f}" for name, part in result["parts"].items())
        print(f"{example['question']} {result['score']:.2f} ({parts})")


if __name__ == "__main__":
    asyncio.run(main())
