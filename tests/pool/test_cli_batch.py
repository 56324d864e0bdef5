"""`dspex batch`: rows from a file, results in their order, and an exit code that says how it went."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.servers import serving

from dspex_pool.cli.batch import Request, Results, perform, read_request, read_rows, run
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, NO_SERVER, OK
from dspex_pool.client import Client
from dspex_protocol import DSPexError, Tagged

on_module_loop = pytest.mark.asyncio(loop_scope="module")
SPEC = {"module": "Predict", "signature": "question -> answer"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    """One server for the whole file."""
    async with serving("--workers", "1", limit_s=120) as client:
        yield client


def _request(**payload: object) -> Request:
    return Request(payload={"spec": SPEC, **payload}, meta={}, file="-")


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@on_module_loop
async def test_results_are_printed_in_order(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, and how it went on stderr."""
    rows: list[dict[str, object]] = [{"question": f"{number}?"} for number in range(20)]
    assert OK == await perform(client, _request(parallelism=7), rows)
    said = capsys.readouterr()
    lines = _lines(said.out)
    assert list(range(20)) == [line["index"] for line in lines]
    assert all(list(line["fields"]) == ["answer"] for line in lines)
    assert said.err.startswith("20 done, 0 failed, 0 left (")


@on_module_loop
async def test_rows_that_fail_make_it_fail(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are printed all the same."""
    assert CALL_FAILED == await perform(client, _request(), [{"question": "?"}, {"quest": "?"}])
    said = capsys.readouterr()
    first, second = _lines(said.out)
    assert "fields" in first
    assert "invalid_argument" == second["error"]["code"]
    assert said.err.startswith("1 done, 1 failed, 0 left")


@on_module_loop
async def test_a_batch_that_fails_says_why(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, and not for each row."""
    assert CALL_FAILED == await perform(client, _request(lm="nobody"), [{"question": "?"}] * 5)
    said = capsys.readouterr()
    assert "" == said.out
    assert 1 == said.err.count("unknown_lm")


def test_a_row_waits_for_those_before_it() -> None:
    """And what is held when no more come is printed with its index."""
    output = io.StringIO()
    results = Results(4, output, io.StringIO())
    prediction = Tagged("prediction", {"fields": {"a": 1}})
    results.take({"index": 1, "prediction": prediction})
    assert "" == output.getvalue()
    results.take({"index": 0, "error": {"code": "deadline"}})
    results.take({"index": 3, "prediction": prediction})
    assert [0, 1] == [line["index"] for line in _lines(output.getvalue())]
    results.end()
    assert [0, 1, 3] == [line["index"] for line in _lines(output.getvalue())]


def test_rows_are_read_with_their_types(tmp_path: Path) -> None:
    """Empty lines are none, and a line's end within a text is no end of the line."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"q": "a\u2028b", "d": {"$date": "2026-01-31"}}\n\n{"q": 1}\n', encoding="utf-8")
    first, second = read_rows(str(file))
    assert ("a\u2028b", "2026-01-31", {"q": 1}) == (first["q"], str(first["d"]), second)


@pytest.mark.parametrize(("text", "where"), [('{"q": 1}\n{', "line 2"), ("3\n", "line 1"), ("[1]", "line 1")])
def test_a_wrong_line_is_named(tmp_path: Path, text: str, where: str) -> None:
    """By file and number."""
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    with pytest.raises(DSPexError) as caught:
        read_rows(str(file))
    assert f"{file}, {where}: " in caught.value.message


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """And no server is started."""
    assert BAD_ARGUMENTS == run(["q -> a", "/nowhere/rows.jsonl"])
    assert "/nowhere/rows.jsonl: it cannot be read" in capsys.readouterr().err


def test_a_signature_or_a_program_is_wanted() -> None:
    """And one of them only."""
    by_spec = read_request(["q -> a", "rows.jsonl", "--module", "ChainOfThought", "--max-errors", "3"])
    assert {"module": "ChainOfThought", "signature": "q -> a"} == by_spec.payload["spec"]
    assert 3 == by_spec.payload["max_errors"]
    by_id = read_request(["rows.jsonl", "--program", "qa", "--tag", "stable", "--config", "temperature=0.5"])
    assert ({"config": {"temperature": 0.5}}, "rows.jsonl") == (by_id.payload, by_id.file)
    assert {"program": "qa", "tag": "stable"}.items() <= by_id.meta.items()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["rows.jsonl"],
        ["q -> a", "rows.jsonl", "--program", "qa"],
        ["rows.jsonl", "--program", "qa", "--module", "Predict"],
        ["{signature", "rows.jsonl"],
        ["q -> a", "rows.jsonl", "--adapter", "{"],
        ["q -> a", "rows.jsonl", "--connect", "unix:/x", "--", "--workers", "2"],
    ],
)
def test_what_does_not_fit_together_is_refused(words: list[str]) -> None:
    """Before anything is read."""
    with pytest.raises(DSPexError):
        read_request(words)


def test_a_server_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With its address."""
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n")
    assert NO_SERVER == run(["q -> a", str(file), "--connect", f"unix:{tmp_path}/absent"])
    assert f"dspex batch: no server at unix:{tmp_path}/absent" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_starts_a_server_of_its_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """And ends it."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "Why?"}\n{"question": "How?"}\n')
    arguments = ["question -> answer", str(file), "--lm", "sim/demo"]
    assert OK == run([*arguments, "--", "--workers", "1", "--store", "memory"])
    assert 2 == len(_lines(capsys.readouterr().out))
