"""Reports of evaluations that real workers made: as a call in pieces, and from the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest
from tests.support import optimizing
from tests.support.servers import serving

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

MOODS: Final = "question -> mood: Literal['good', 'bad', 'odd']"
KINDS: Final = ("good", "bad", "odd")
LMS: Final[Mapping[str, object]] = {
    "default": {"model": "sim/test", "options": {"seed": 7}},
    "other": {"model": "sim/test", "options": {"seed": 8}},
}


async def evaluate(client: Client, evaluation: str, **more: object) -> None:
    """Run one over thirty rows."""
    rows = [{"question": f"How is <b>{n}</b>?", "mood": KINDS[n % 3]} for n in range(30)]
    await client.call(
        "evaluation.run",
        {
            "evaluation": evaluation,
            "spec": {"module": "Predict", "signature": MOODS},
            "rows": rows,
            "input_keys": ["question"],
            "metrics": {"right": {"metric": "exact_match", "options": {"field": "mood"}}},
            "requests": True,
            **more,
        },
    )


async def report(client: Client, **payload: object) -> str:
    """The text of one, in pieces."""
    stream = client.stream_call("report.make", payload)
    text = "".join([cast("dict[str, str]", item)["text"] async for item in stream])
    said = cast("dict[str, Any]", (await stream.result()).value)
    assert len(text.encode()) == said["size_bytes"]
    return text


async def test_what_workers_made_is_reported_in_every_format() -> None:
    """With prompts, answers and scores, as the evaluation has them."""
    async with serving("--workers", "2", lms=LMS) as client:
        await evaluate(client, "a")
        await evaluate(client, "b", lm="other")
        known = cast("dict[str, Any]", await client.call("evaluation.get", {"evaluation": "a"}))
        page, markdown, written, table = [
            await report(client, evaluation="a", format=form) for form in ("html", "markdown", "json", "csv")
        ]
        wish = {"evaluations": ["a", "b"]}
        compared = json.loads(await report(client, comparison=wish, format="json"))
        side_by_side = await report(client, comparison=wish, format="html")
    assert "How is \\u003cb\\u003e3\\u003c/b\\u003e?" in page
    assert "How is <b>3</b>?" not in page
    assert f"| right | {known['scores']['right']['mean']:.3f} |" in markdown
    whole = json.loads(written)
    assert known["scores"] == whole["evaluation"]["scores"]
    assert {"requests", "prediction", "scores"} <= set(whole["rows"][0])
    head, *lines = csv.reader(io.StringIO(table, newline=""))
    moods = [line[head.index("prediction.mood")] for line in lines]
    assert [row["prediction"]["$prediction"]["fields"]["mood"] for row in whole["rows"]] == moods
    assert len(compared["rows"]) == 30
    assert all(len(row["sides"]) == 2 and row["example"] for row in compared["rows"])
    assert "b against a" in side_by_side


async def test_an_optimizers_job_is_reported(tmp_path: Path) -> None:
    """With its trials, what it came to, and its events; from the command line too."""
    store = f"sqlite:{tmp_path}/state.db"
    async with serving("--workers", "1", "--store", store, lms=optimizing.LMS) as client:
        wish = {"kind": "optimize", "request": optimizing.request("COPRO")}
        job = cast("dict[str, Any]", await client.call("job.submit", wish))["job"]
        with pytest.raises(DSPexError) as unknown:
            await report(client, job="nobody's", format="html")
        stream = client.stream_call("job.follow", {"job": job}, deadline_ms=300_000)
        events = [item async for item in stream if "event" in cast("dict[str, Any]", item)]
        assert "done" == cast("dict[str, Any]", (await stream.result()).value)["state"]
        page, markdown, written, table = [
            await report(client, job=job, format=form) for form in ("html", "markdown", "json", "csv")
        ]
    assert "unknown_job" == unknown.value.code
    whole = json.loads(written)
    assert [item["event"]["n"] for item in cast("list[Any]", events)] == [row["n"] for row in whole["events"]]
    history = whole["job"]["result"]["history"]
    assert len(history) > 3
    assert "Scores of trials" in page
    assert f"| {history[0]['trial']} | {history[0]['score']:.3f} |" in markdown
    assert "Instructions of the result" in markdown
    assert len(events) == len(list(csv.DictReader(io.StringIO(table, newline=""))))
    made = dspex("--job", job, "-o", "job.html", folder=tmp_path, store=store)
    assert (0, page) == (made.returncode, (tmp_path / "job.html").read_text(encoding="utf-8"))


async def test_a_report_is_written_to_a_file(tmp_path: Path) -> None:
    """By a command with a server of its own, over the same store."""
    store = f"sqlite:{tmp_path}/state.db"
    async with serving("--workers", "1", "--store", store, lms=LMS) as client:
        await evaluate(client, "a")
        await evaluate(client, "b", lm="other")
    made = dspex("a", "b", "-o", "better.html", folder=tmp_path, store=store)
    assert (0, "") == (made.returncode, made.stdout)
    assert "better.html" in made.stderr
    assert (tmp_path / "better.html").read_text().startswith("<!doctype html>")
    printed = dspex("a", folder=tmp_path, store=store)
    assert printed.stdout.startswith("# Evaluation of a\n")
    refused = dspex("c", "-o", "c.json", folder=tmp_path, store=store)
    assert (1, True) == (refused.returncode, refused.stderr.startswith("unknown_evaluation"))
    assert ["better.html", "state.db"] == sorted(
        path.name for path in tmp_path.iterdir() if not path.name.startswith("state.db-")
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "EVALUATION"),
        (("a", "--experiment", "x"), "EVALUATION"),
        (("a", "-o", "a.pdf"), "--format"),
        (("a", "--format", "pdf"), "--format"),
    ],
)
def test_what_cannot_be_made_is_told(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    """Before a server is started for it."""
    refused = dspex(*words, folder=tmp_path, store="memory")
    assert (2, True) == (refused.returncode, told in refused.stderr)


def dspex(*words: str, folder: Path, store: str) -> subprocess.CompletedProcess[str]:
    """The command, in a folder."""
    environment = {**os.environ, "DSPEX_STORE": store, "DSPEX_LOG_LEVEL": "error"}
    environment.pop("DSPEX_CONNECT", None)
    return subprocess.run(
        [sys.executable, "-m", "dspex_pool", "report", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=folder,
        env=environment,
    )
