"""`dspex optimize`: words to a request, a program file and a report at the end, and exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dspex_pool.cli.exits import BAD_ARGUMENTS
from dspex_pool.cli.optimize import new_parser, read_models, read_optimizer, read_request, run
from dspex_pool.cli.optimizing_progress import OptimizingProgress
from dspex_protocol import DSPexError

CSV = "animal,sound\n" + "".join(f"a{n},s{n % 4}\n" for n in range(20))
SIGNATURE = "animal -> sound"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "sounds.csv").write_text(CSV)
    return tmp_path / "sounds.csv"


def optimize(*words: str, store: Path) -> subprocess.CompletedProcess[str]:
    """The command with a store of its own."""
    return _dspex("optimize", *words, store=store)


def experiment(*words: str, store: Path) -> subprocess.CompletedProcess[str]:
    """Another one, with the same store."""
    return _dspex("experiment", *words, store=store)


def _dspex(*words: str, store: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DSPEX_STORE": f"sqlite:{store}/s.db", "DSPEX_LOG_LEVEL": "error"}
    environment.pop("DSPEX_CONNECT", None)
    return subprocess.run(
        [sys.executable, "-m", "dspex_pool", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=environment,
    )


def test_words_become_an_optimizer() -> None:
    """Values are JSON where they are some, and texts where not."""
    read = read_optimizer("MIPROv2:auto=light,num_candidates=4", ["minibatch=false"])
    assert read == {
        "optimizer": "MIPROv2",
        "options": {"auto": "light", "num_candidates": 4},
        "compile": {"minibatch": False},
    }
    assert {"default": {"model": "a"}, "b": {"model": "c"}} == read_models("a", ["b=c"])


def test_arguments_become_a_request(data: Path) -> None:
    """Only what was said."""
    words = [SIGNATURE, str(data), "--optimizer", "COPRO", "--metric", "exact_match:field=sound"]
    request = read_request(
        new_parser().parse_intermixed_args([*words, "--usd", "5", "--key", "k", "--experiment", "e"])
    )
    assert {"key": "k", "experiment": "e", "budget": {"usd": 5.0}} == request.job
    assert ("sounds", SIGNATURE) == (request.document["dataset"], request.document["signature"])
    assert {"metric": "exact_match", "options": {"field": "sound"}} == request.request["metric"]
    assert {"optimizer", "metric"} == request.request.keys()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--optimizer", ":k=3"], "--optimizer"),
        (["--optimizer", "COPRO:k"], "--optimizer"),
        (["--optimizer", "COPRO", "--compile", "k"], "--compile"),
        (["--optimizer", "COPRO", "--dev", "1"], "--dev"),
        (["--optimizer", "COPRO", "--model", "small"], "--model"),
        (["--optimizer", "COPRO", "--report", "report.pdf"], "--report"),
        (["--optimizer", "COPRO", "--metric", "a:b"], "--metric"),
    ],
)
def test_what_cannot_be_is_named(
    words: list[str], told: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a server is started."""
    assert BAD_ARGUMENTS == run([SIGNATURE, str(data), *words])
    assert capsys.readouterr().err.startswith(f"dspex optimize: {told}: expected ")


def test_progress_is_told_in_one_line() -> None:
    """On a terminal, and nowhere else."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    quiet, shown = io.StringIO(), Terminal()
    for output in (quiet, shown):
        with OptimizingProgress("COPRO", output) as progress:
            progress.take({"event": {"type": "trial", "score": 0.5}})
            progress.take(
                {"progress": {"phase": "trials", "done": 1, "total": 4, "lm_calls": 12, "usd": 0.5}}
            )
            assert "trials, 1 trials, best 0.500, 12 LM calls, $0.5000" == progress.text()
    assert "" == quiet.getvalue()
    assert "COPRO" in shown.getvalue()


@pytest.mark.slow
def test_a_better_program_comes_out(data: Path, tmp_path: Path) -> None:
    """As a file that is a program again, with a report; made again with its key it is the same job."""
    better, page = tmp_path / "better.json", tmp_path / "report.html"
    words = [SIGNATURE, str(data), "--optimizer", "LabeledFewShot:k=3", "--key", "once", "--json"]
    words += ["--lm", "sim/demo", "-o", str(better), "--report", str(page)]
    words += ["--dev", "0.3", "--metric", "exact_match:field=sound", "--experiment", "tried"]
    first = optimize(*words, store=tmp_path)
    assert 0 == first.returncode, first.stderr
    told: Any = json.loads(first.stdout)
    record = json.loads(better.read_text())
    assert 3 == len(record["state"]["self"]["demos"])
    assert "<!doctype html>" in page.read_text().lower()
    again: Any = json.loads(optimize(*words, store=tmp_path).stdout)
    assert told["job"] == again["job"]
    words = [SIGNATURE, str(data), "--optimizer", "BootstrapFewShot", "--key", "dear"]
    words += ["--metric", "exact_match:field=sound", "--lm", "sim/demo", "--json"]
    spent = optimize(*words, "--lm-calls", "2", store=tmp_path)
    assert 1 == spent.returncode
    assert "--key dear" in spent.stderr
    more: Any = json.loads(optimize(*words, "--lm-calls", "500", store=tmp_path).stdout)
    assert 2 == more["replay"]["answered"]
    other = optimize(*words, "--lm-calls", "500", "--seed", "7", store=tmp_path)
    assert (1, True) == (other.returncode, "job_key_reused" in other.stdout + other.stderr)
    (logged,) = json.loads(experiment("runs", "tried", "--json", store=tmp_path).stdout)
    assert ("done", told["job"], 3) == (
        logged["state"],
        logged["lineage"]["job"],
        logged["params"]["optimizer.options.k"],
    )
    assert {"start_score", "result_score", "lm_calls"} <= logged["metrics"].keys()
    other = optimize(*words, "--experiment", "other", store=tmp_path)
    assert (1, True) == (other.returncode, "job_key_reused" in other.stderr)
    refused = optimize(str(better), str(data), "--optimizer", "Nobody", store=tmp_path)
    assert 1 == refused.returncode
    assert "optimizer" in refused.stderr


def test_a_flag_of_serve_needs_a_server_of_its_own(data: Path) -> None:
    """Which one that is joined is not."""
    words = [SIGNATURE, str(data), "--optimizer", "COPRO", "--connect", "unix:/x", "--", "--workers", "1"]
    assert BAD_ARGUMENTS == run(words)
    with pytest.raises(DSPexError):
        read_models(None, ["=x"])
