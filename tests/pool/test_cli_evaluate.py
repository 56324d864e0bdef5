"""`dspex evaluate`: words to a request, a bar while it runs, a summary at the end, and exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dspex_pool.cli.evaluate import Request, new_parser, print_summary, read_request, run
from dspex_pool.cli.evaluation_progress import Progress
from dspex_pool.cli.evaluation_words import read_metrics, read_program
from dspex_pool.cli.exits import BAD_ARGUMENTS
from dspex_protocol import DSPexError

SIGNATURE = "question -> mood: Literal['good', 'bad', 'odd']"
SPEC = {"module": "Predict", "signature": SIGNATURE}
CSV = "question,mood\n" + "".join(f"How is {n}?,{('good', 'bad', 'odd')[n % 3]}\n" for n in range(30))
RIGHT = "right=exact_match:field=mood"


def request(*words: str) -> Request:
    return read_request(new_parser().parse_intermixed_args(list(words)))


def evaluate(*words: str, store: Path) -> subprocess.CompletedProcess[str]:
    """The command with a store of its own."""
    environment = {**os.environ, "DSPEX_STORE": f"sqlite:{store}/s.db", "DSPEX_LOG_LEVEL": "error"}
    environment.pop("DSPEX_CONNECT", None)
    return subprocess.run(
        [sys.executable, "-m", "dspex_pool", "evaluate", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "moods.csv").write_text(CSV)
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    state = {"self": {"instructions": "Say how it is."}}
    (tmp_path / "learned.json").write_text(json.dumps({"spec": SPEC, "state": state}))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["exact_match:field=a"], {"exact_match": {"metric": "exact_match", "options": {"field": "a"}}}),
        (["SemanticF1"], {"SemanticF1": {"metric": "SemanticF1", "options": {}}}),
        (
            ["near=numeric:field=n,absolute=0.5,any_of=true", "EM:field=a", "EM:field=b"],
            {
                "near": {"metric": "numeric", "options": {"field": "n", "absolute": 0.5, "any_of": True}},
                "EM": {"metric": "EM", "options": {"field": "a"}},
                "EM_2": {"metric": "EM", "options": {"field": "b"}},
            },
        ),
        (['m={"metric": "x", "options": {"a": [1, 2]}}'], {"m": {"metric": "x", "options": {"a": [1, 2]}}}),
        (['{"metric": "x"}'], {"x": {"metric": "x"}}),
    ],
)
def test_words_become_metrics(words: list[str], wanted: dict[str, object]) -> None:
    """Short ones and specs in JSON, with names of one's own or their kinds'."""
    assert wanted == read_metrics(words)


@pytest.mark.parametrize("words", [["a:b"], [":x=1"], ["a:=1"], ["{no"], ["m=a:x=1", "m=b:x=1"]])
def test_words_that_are_no_metric_are_refused(words: list[str]) -> None:
    """Before anything is started."""
    with pytest.raises(DSPexError):
        read_metrics(words)


def test_words_become_programs(files: Path) -> None:
    """A signature, a spec, one with a state, an export; with the signature that rows must fit."""
    assert {"module": "ChainOfThought", "signature": "a -> b"} == read_program(
        "a -> b", "ChainOfThought"
    ).spec
    assert (SPEC, SIGNATURE) == (
        (program := read_program(f"{files}/spec.json", None)).spec,
        program.signature,
    )
    learned = read_program(f"{files}/learned.json", None)
    assert (SPEC, SIGNATURE) == (learned.spec, learned.signature)
    assert {"self": {"instructions": "Say how it is."}} == learned.state
    (files / "export.json").write_text('{"versions": [], "program": "p"}')
    assert read_program(f"{files}/export.json", None).document is not None
    for text in ("[1]", "{}", "no", '{"spec": 3}'):
        (files / "bad.json").write_text(text)
        with pytest.raises(DSPexError):
            read_program(f"{files}/bad.json", None)
    for word, module in (("none.json", None), (f"{files}/spec.json", "Predict"), (None, "Predict")):
        with pytest.raises(DSPexError):
            read_program(word, module)


def test_words_become_a_request(files: Path) -> None:
    """A file's rows are a dataset of its name, and the selection goes along."""
    options = ["--sample", "5", "--seed", "2", "--max-errors", "3", "--evaluation", "e", "--config", "n=2"]
    asked = request(f"{files}/spec.json", f"{files}/moods.csv", "--metric", RIGHT, *options)
    assert {"dataset": "moods", "select": {"sample": 5, "seed": 2}} == asked.dataset
    assert asked.document is not None
    assert ("moods", "csv", SIGNATURE) == tuple(
        asked.document[key] for key in ("dataset", "format", "signature")
    )
    assert ("e", 3, {"n": 2}) == tuple(asked.payload[key] for key in ("evaluation", "max_errors", "config"))
    assert "again" not in asked.payload
    again = request(f"{files}/spec.json", f"{files}/moods.csv", "--metric", RIGHT, *options, "--again")
    assert True is again.payload["again"]
    asked = request(
        "--program", "p", "--tag", "t", "--dataset", "d", "--metric", RIGHT, "--split", "a=0.5", "--side", "a"
    )
    assert (None, None, "p", "t") == (
        asked.program.spec,
        asked.document,
        asked.meta["program"],
        asked.meta["tag"],
    )
    assert {"dataset": "d", "select": {"split": {"a": 0.5}, "side": "a", "seed": 0}} == asked.dataset


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a -> b", "x.csv"],
        ["a -> b", "--metric", RIGHT],
        ["a -> b", "none.csv", "--metric", RIGHT],
        ["a -> b", "x.txt", "--metric", RIGHT],
        ["--program", "p", "a -> b", "--dataset", "d", "--metric", RIGHT],
        ["a -> b", "--dataset", "d", "--metric", "a:b"],
        ["a -> b", "--dataset", "d", "--metric", RIGHT, "--split", "a=x", "--side", "a"],
        ["a -> b", "--dataset", "d", "--metric", RIGHT, "--connect", "tcp:x"],
        ["a -> b", "--dataset", "d", "--metric", RIGHT, "--connect", "unix:/x", "--", "--workers", "1"],
        ["a -> b", "--dataset", "d", "--metric", RIGHT, "--", "--workers", "none"],
    ],
)
def test_bad_arguments_end_with_two(words: list[str]) -> None:
    """And no server is started for them."""
    assert BAD_ARGUMENTS == run(words)


class Terminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


def row(error: object = None, **scores: object) -> dict[str, Any]:
    return {"error": error, "scores": {name: {"score": score} for name, score in scores.items()}}


def test_a_bar_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """With means so far and failures; what a name is does not steer the terminal."""
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    with Progress(4, "e\x1b[2J", terminal) as progress:
        progress.take(row(right=1.0))
        progress.take(row({"code": "deadline"}))
        progress.take(row(**{"[red]odd": 0.5, "right": 1}))
        assert "1 failed, right 0.667, [red]odd 0.167" == progress.text()
    shown = terminal.getvalue()
    assert "3/4" in shown
    assert "[red]odd 0.167" in shown
    assert "\x1b[2J" not in shown
    quiet = io.StringIO()
    with Progress(4, "e", quiet) as progress:
        progress.take(row(right=1.0))
    assert "" == quiet.getvalue()


def test_without_rich_a_line_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "rich", None)
    terminal = Terminal()
    with Progress(2, "e", terminal) as progress:
        progress.take(row(right=1.0))
    assert "\r1 of 2, 0 failed, right 1.000\n" == terminal.getvalue()


def test_a_summary_has_scores_costs_and_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not known is a dash."""
    figures = {"mean": 0.5, "low": 0.25, "high": 0.75, "passed": 2, "scored": 4, "failed": 1}
    nothing = dict.fromkeys(figures, None) | {"scored": 0, "failed": 5}
    cluster = {"kind": "score", "metric": "m", "part": "a.b", "mean": 0.25, "count": 3, "rows": [1, 2, 3, 4]}
    failed = {"kind": "error", "metric": None, "part": None, "code": "deadline", "message": "after # s"}
    print_summary(
        {
            "evaluation": "e",
            "done": 4,
            "failed": 1,
            "rows": 5,
            "confidence": 0.95,
            "scores": {"right": figures, "other": nothing},
            "usage": {"lm_calls": 5, "tokens_in": 7, "tokens_out": 8, "cost_usd": 0.0, "unpriced": 2},
            "latency_ms": {"p50": 12.3, "p99": 45.6},
            "experiment": "demos",
            "run": "run-3",
        },
        {"clusters": [cluster, *([{**failed, "count": 1, "rows": [0]}] * 6)]},
    )
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "e: 4 done, 1 failed of 5 rows" == lines[0]
    assert "right 0.500 0.250 to 0.750 2 4 1" in lines
    assert "other - - - 0 5" in lines
    assert "5 LM calls, 7 tokens in, 8 out, 2 calls of unknown price, 12 ms a row (p99 46 ms)" in lines
    assert "run-3 of experiment demos" in lines
    assert "3 m.a.b did not pass (mean 0.25) 1, 2, 3" in lines
    assert "1 deadline: after # s 0" in lines
    assert "and 2 more kinds" == lines[-1]


@pytest.mark.slow
def test_a_program_is_measured_and_measured_again(files: Path) -> None:
    """A file's rows, then the dataset that they have become; one that is done is told again."""
    words = [f"{files}/spec.json", f"{files}/moods.csv", "--metric", RIGHT, "--lm", "sim/demo"]
    first = evaluate(*words, "--evaluation", "first", store=files)
    assert 0 == first.returncode, first.stderr
    assert first.stdout.startswith("first: 30 done, 0 failed of 30 rows\n")
    again = evaluate(*words, "--evaluation", "first", "--json", store=files)
    made = json.loads(again.stdout)
    assert made["run"] is None
    assert ("done", 30, "moods", 1) == tuple(
        made[key] for key in ("state", "done", "dataset", "dataset_version")
    )
    learned = evaluate(
        f"{files}/learned.json",
        "--dataset",
        "moods",
        "--metric",
        RIGHT,
        "--json",
        "--lm",
        "sim/demo",
        "--sample",
        "7",
        store=files,
    )
    made = json.loads(learned.stdout)
    assert (7, 1) == (made["rows"], made["version"])
    assert made["program"] is not None


@pytest.mark.slow
def test_what_fails_is_told_by_code_and_exit_code(files: Path) -> None:
    """A refusal is 1, rows that failed are 1, with the others' scores."""
    refused = evaluate(
        "question -> x", f"{files}/moods.csv", "--metric", "nope", "--lm", "sim/demo", store=files
    )
    assert 1 == refused.returncode
    assert "metrics.nope.metric" in refused.stderr
    failing = evaluate(
        SIGNATURE,
        "--dataset",
        "moods",
        "--metric",
        RIGHT,
        "--max-errors",
        "2",
        "--lm",
        "host/none",
        store=files,
    )
    assert 1 == failing.returncode
    assert "unknown_function" in failing.stderr
