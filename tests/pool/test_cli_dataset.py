"""`dspex dataset`: files in, rows out, and what is told of mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dspex_pool.cli import dataset
from dspex_pool.cli.exits import BAD_ARGUMENTS
from dspex_pool.client import Client

CSV = "question,answer\nWhy?,So.\nHow?,Thus.\nWhen?,Now.\nWho?,Me.\n"


def run(*words: str, store: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command with a store of its own."""
    environment = {**os.environ, "DSPEX_STORE": f"sqlite:{store}/s.db", "DSPEX_LOG_LEVEL": "error"}
    environment.pop("DSPEX_CONNECT", None)
    return subprocess.run(
        [sys.executable, "-m", "dspex_pool", "dataset", *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )


@pytest.mark.slow
def test_a_file_becomes_rows_that_another_command_finds(tmp_path: Path) -> None:
    """Each command has a server of its own; what they share is the store."""
    file = tmp_path / "qa.CSV"
    file.write_text(CSV)
    put = run("put", "qa", str(file), "--signature", "question -> answer", "--note", "first", store=tmp_path)
    assert ("qa version 1\n", 0) == (put.stdout, put.returncode)
    more = run("append", "qa", "-", "--format", "jsonl", store=tmp_path, stdin='{"question": "And?"}\n')
    assert ("qa version 2\n", 0) == (more.stdout, more.returncode)
    shown = run("show", "qa", store=tmp_path).stdout.splitlines()
    assert ["qa 2 5 question append", "qa 1 4 question put"] == [
        " ".join(row.split()[:5]) for row in shown[1:]
    ]
    sides = [
        run("rows", "qa", "--version", "1", "--split", "a=0.5,b=0.5", "--side", side, store=tmp_path)
        for side in "ab"
    ]
    rows = [json.loads(line) for side in sides for line in side.stdout.splitlines()]
    assert ["How?", "When?", "Who?", "Why?"] == sorted(row["question"] for row in rows)


@pytest.mark.slow
def test_a_row_that_does_not_fit_is_told(tmp_path: Path) -> None:
    """On stderr, with the exit code of a call that failed."""
    refused = run(
        "put",
        "qa",
        "-",
        "--format",
        "csv",
        "--signature",
        "question -> answer: int",
        store=tmp_path,
        stdin=CSV,
    )
    assert (1, "") == (refused.returncode, refused.stdout)
    assert "document[0].answer" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["put", "qa", "file.xls"], "--format"),
        (["put", "qa", "no/such/file.csv"], "FILE"),
        (["split", "qa", "train=half"], "split"),
        (["rows", "qa", "--split", "a", "--side", "a"], "split"),
    ],
)
def test_a_mistake_is_told_before_a_server_is_started(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the word that is wrong."""
    monkeypatch.delenv("DSPEX_CONNECT", raising=False)
    monkeypatch.setattr(Client, "start", None)
    assert BAD_ARGUMENTS == dataset.run(words)
    assert capsys.readouterr().err.startswith(f"dspex dataset: {said}")
