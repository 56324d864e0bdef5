"""Two programs are measured, and what came of it is written for people: a page, Markdown, and a table."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import shlex
from pathlib import Path
from typing import cast

from dspex_pool.client import Client

SIGNATURE = "review -> mood: Literal['good', 'bad', 'mixed']"
ROWS: list[dict[str, object]] = [
    {"review": f"{text} ({n})", "mood": mood}
    for n in range(20)
    for text, mood in (
        ("It never fails.", "good"),
        ("It broke at once.", "bad"),
        ("<b>Loud</b>, but fast.", "mixed"),
    )
]
METRICS = {"right": {"metric": "exact_match", "options": {"field": "mood"}}}


async def report(client: Client, **wanted: object) -> str:
    """A report in pieces, which need not be in memory together."""
    stream = client.stream_call("report.make", wanted)
    text = "".join([cast("dict[str, str]", item)["text"] async for item in stream])
    await stream.result()
    return text


def save(path: Path, text: str) -> None:
    """Put it where a browser finds it."""
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {path.stat().st_size:,} bytes, to be opened in a browser\n")


async def main() -> None:
    """Evaluate twice, and write reports."""
    lms = {"default": {"model": os.environ.get("DSPEX_LM", "sim/example")}}
    command = shlex.split(os.environ.get("DSPEX_COMMAND", "dspex serve"))
    flags = ("--store", "memory", "--log-level", "error")
    async with Client.start(command=command, flags=flags, lms=lms) as client:
        await client.call("dataset.put", {"dataset": "reviews", "rows": ROWS, "signature": SIGNATURE})
        for name in ("Predict", "ChainOfThought"):
            spec = {"module": name, "signature": SIGNATURE}
            given = {"evaluation": name, "spec": spec, "dataset": {"dataset": "reviews"}, "metrics": METRICS}
            await client.call("evaluation.run", given)

        both = {"evaluations": ["Predict", "ChainOfThought"]}
        save(Path("better.html"), await report(client, comparison=both, format="html"))
        print((await report(client, comparison=both, format="markdown")).partition("## Rows")[0])

        table = await report(client, evaluation="Predict", format="csv")
        wrong = [row for row in csv.DictReader(io.StringIO(table, newline="")) if row["right.score"] == "0.0"]
        print(f"{len(wrong)} of {len(ROWS)} rows are wrong, such as {wrong[0]['example.review']!r}")


asyncio.run(main())
