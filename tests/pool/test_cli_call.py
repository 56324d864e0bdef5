"""`dspex call`: what a command line asks for, and how what comes is printed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.servers import serving

from dspex_pool.cli.call import PREDICT, Request, TokenPrinter, perform, read_request, run
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, NO_SERVER, OK
from dspex_pool.client import Client
from dspex_protocol import DSPexError

on_module_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    """One server for the whole file."""
    async with serving("--workers", "1", limit_s=120) as client:
        yield client


def refusal(*arguments: str) -> str:
    with pytest.raises(DSPexError) as caught:
        read_request(arguments)
    assert "invalid_argument" == caught.value.code
    return caught.value.message


# A server that runs already


def test_a_server_that_is_not_there_is_told_with_its_address(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 3, and no server is started instead."""
    address = f"unix:{tmp_path}/absent"
    assert NO_SERVER == run(["system.info", "--connect", address])
    assert f"dspex call: no server at {address}: No such file or directory\n" == capsys.readouterr().err


@pytest.mark.parametrize("by", ["--connect", "DSPEX_CONNECT"])
def test_an_address_that_cannot_be_read_is_refused_by_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Option or variable."""
    option = ["--connect", "tcp:1"] if by == "--connect" else []
    monkeypatch.setenv("DSPEX_CONNECT", "tcp:1" if by == "DSPEX_CONNECT" else "")
    assert BAD_ARGUMENTS == run(["system.info", *option])
    assert f"{by}: expected `unix:PATH`" in capsys.readouterr().err


def test_flags_are_for_a_server_of_its_own() -> None:
    """With an address they would be ignored in silence."""
    assert "--connect" in refusal("system.info", "--connect", "unix:a", "--", "--workers", "2")


# What a command line asks for


@pytest.mark.parametrize(
    ("words", "payload"),
    [
        ([], None),
        (["{}"], {}),
        (['[1, {"a": null}]'], [1, {"a": None}]),
        (['"text"'], "text"),
        (['{"$base64": "AAE="}'], b"\x00\x01"),
        (["a=text", "b=3", "c=true", 'd="3"', "e=", "f=x=y", "g=[1]"],
         {"a": "text", "b": 3, "c": True, "d": "3", "e": "", "f": "x=y", "g": [1]}),
    ],
)  # fmt: skip
def test_a_payload_is_json_or_pairs(words: list[str], payload: object) -> None:
    """A value is JSON where it reads as JSON, and text otherwise."""
    assert payload == read_request(["system.echo", *words]).payload


def test_a_payload_may_come_on_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is JSON; `key=-` is text as it is."""
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": 1}'))
    assert {"a": 1} == read_request(["system.echo", "-"]).payload
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": 1}'))
    assert {"text": '{"a": 1}'} == read_request(["system.echo", "text=-"]).payload


def test_predict_is_written_short() -> None:
    """Signature, module, inputs and settings become a one-shot program.predict."""
    request = read_request(
        ["predict", "question, k: int = 3 -> answer", "question=Why?", "--module", "ChainOfThought"]
        + ["k=2", "--adapter", "json", "--config", "temperature=0.7", "--lm", "sim/demo", "--stream"]
    )
    assert PREDICT == request.method
    assert {
        "spec": {"module": "ChainOfThought", "signature": "question, k: int = 3 -> answer"},
        "inputs": {"question": "Why?", "k": 2},
        "config": {"temperature": 0.7},
        "adapter": "json",
    } == request.payload
    assert ("sim/demo", True, False) == (request.lm, request.stream, request.json)


def test_an_adapter_may_have_options_and_an_answer_be_asked_for_again() -> None:
    """As JSON; the server says which there are."""
    adapter = '{"name": "json", "options": {"structured_output": false}}'
    words = ["predict", "q -> a", "q=x", "--adapter", adapter, "--on-violation", '{"retry": 2}']
    payload: Any = read_request(words).payload
    assert {"name": "json", "options": {"structured_output": False}} == payload["adapter"]
    assert {"retry": 2} == payload["on_violation"]
    payload = read_request([*words[:-1], "fail"]).payload
    assert "fail" == payload["on_violation"]
    with pytest.raises(DSPexError, match="--on-violation"):
        read_request(["system.echo", "--on-violation", "fail"])


def test_a_signature_may_be_a_map() -> None:
    """Constraints have no string form."""
    request = read_request(["predict", '{"outputs": [{"name": "score", "type": "float", "le": 1}]}'])
    assert isinstance(request.payload, dict)
    assert {"outputs": [{"name": "score", "type": "float", "le": 1}]} == request.payload["spec"]["signature"]


def test_meta_deadline_and_server_flags_are_told_apart() -> None:
    """Meta values are scalars by JSON; what follows `--` is the server's."""
    request = read_request(
        [
            "system.ping",
            "--meta",
            "priority=9",
            "--meta",
            "tenant=a",
            "--deadline-ms",
            "500",
            "--",
            "--workers",
            "3",
        ]
    )
    assert {"priority": 9, "tenant": "a", "deadline_ms": 500} == request.meta
    assert ("--workers", "3") == request.flags


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict"], "a signature is missing"),
        (["system.echo", "{"], "payload: expected JSON or KEY=VALUE"),
        (["system.echo", "a=1", "b"], "payload: expected KEY=VALUE words"),
        (["system.echo", "a=1", "a=2"], "payload.a: expected one value"),
        (["system.echo", "--meta", "a=[1]"], "--meta a: expected nil, a boolean"),
        (["system.echo", "--module", "Predict"], "belong to `dspex call predict`"),
    ],
)
def test_a_word_that_cannot_be_is_named(arguments: list[str], told: str) -> None:
    """Before any server is started."""
    assert told in refusal(*arguments)


# What is printed


@on_module_loop
async def test_a_prediction_is_printed_field_by_field(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result alone on stdout; times and tokens on stderr."""
    request = read_request(
        ["predict", "question -> answer: int", "question=Why?", "--module", "ChainOfThought"]
    )
    assert OK == await perform(client, request)
    printed = capsys.readouterr()
    assert printed.out.startswith("reasoning:")
    assert "\nanswer: " in printed.out
    assert "LM calls" in printed.err


@on_module_loop
async def test_json_is_one_object_with_result_and_meta(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """Types that JSON lacks come back as they were given."""
    given = '{"data": {"$base64": "AAE="}, "day": {"$date": "2026-01-31"}}'
    assert OK == await perform(client, read_request(["system.echo", given, "--json"]))
    (line,) = capsys.readouterr().out.splitlines()
    printed = json.loads(line)
    assert json.loads(given) == printed["result"]
    assert 1 == printed["meta"]["attempt"]


@on_module_loop
async def test_streamed_tokens_make_the_same_text(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """What was printed token by token is the field of the result, and it is printed once."""
    words = ["predict", "question -> answer", "question=Why?"]
    assert OK == await perform(client, read_request([*words, "--json"]))
    whole = json.loads(capsys.readouterr().out)["result"]["$prediction"]["fields"]["answer"]
    assert OK == await perform(client, read_request([*words, "--stream"]))
    assert f"answer: {whole}\n" == capsys.readouterr().out


def test_of_several_completions_each_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The first as where there is one; the others with their number."""
    printer = TokenPrinter()
    for text, more in (("Yes", {}), (".", {}), ("No.", {"completion": 1})):
        printer.show({"type": "token", "field": "answer", "text": text, "predictor": "self", **more})
    printer.end()
    assert "answer: Yes.\nanswer (1): No.\n" == capsys.readouterr().out


@on_module_loop
async def test_a_stream_in_json_is_a_line_for_each_item(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """Items in order, then the result."""
    assert OK == await perform(client, read_request(["predict", "a -> b", "a=x", "--stream", "--json"]))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    tokens = [line["item"]["text"] for line in lines[:-1] if line["item"]["type"] == "token"]
    assert lines[-1]["result"]["$prediction"]["fields"]["b"] == "".join(tokens)


@on_module_loop
async def test_an_error_is_told_with_code_and_details(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """`code: message`, then the details; nothing on stdout; exit code 1."""
    assert CALL_FAILED == await perform(client, read_request(["predict", "question -> answer", "q=Why?"]))
    printed = capsys.readouterr()
    assert "" == printed.out
    assert printed.err.startswith("invalid_argument: inputs.q: ")
    assert "\n    field: inputs.q\n" in printed.err


@on_module_loop
async def test_an_error_in_json_has_all_its_fields(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object on stderr."""
    assert CALL_FAILED == await perform(client, read_request(["system.nothing", "--json"]))
    failure: dict[str, Any] = json.loads(capsys.readouterr().err)["error"]
    assert ("unknown_method", False, None) == (
        failure["code"],
        failure["retryable"],
        failure["retry_after_ms"],
    )


@on_module_loop
async def test_text_of_a_result_cannot_steer_the_terminal(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model's answer is not to clear the screen."""
    await perform(client, Request(method="system.echo", payload="a\x1b[2Jb\n\tc", meta={}))
    assert "a\\x1b[2Jb\n\tc\n" == capsys.readouterr().out


# Exit codes without a server that answers


def test_bad_arguments_start_no_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, for our own words, argparse's and the server's flags and variables."""
    monkeypatch.setattr(Client, "start", None)  # calling it would raise
    assert BAD_ARGUMENTS == run(["system.echo", "{"])
    assert BAD_ARGUMENTS == run([])
    assert BAD_ARGUMENTS == run(["system.echo", "--deadline-ms", "soon"])
    assert BAD_ARGUMENTS == run(["system.echo", "--", "--workers", "0"])
    assert BAD_ARGUMENTS == run(["system.echo", "--", "--wrokers", "2"])
    monkeypatch.setenv("DSPEX_WORKERS", "many")
    assert BAD_ARGUMENTS == run(["system.echo"])
    assert "DSPEX_WORKERS: expected an integer from 1 to 256" in capsys.readouterr().err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and it tells the exit codes."""
    assert OK == run(["--help"])
    assert "exit codes: 0 ok, 1 the call failed, 2 bad arguments, 3 no server" in capsys.readouterr().out


def test_a_server_that_ends_at_once_is_no_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3 when the program that should serve does not."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert NO_SERVER == run(["system.ping"])
    assert capsys.readouterr().err.startswith("connection_lost: ")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert NO_SERVER == run(["system.ping"])
    assert capsys.readouterr().err.startswith("dspex call: no server: ")


def test_the_command_starts_a_server_of_its_own() -> None:
    """As a user runs it: one line of result, exit code 0, the model by flag."""
    ended = subprocess.run(
        [sys.executable, "-m", "dspex_pool", "call", "lm.list", "--lm", "sim/demo", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (OK, "") == (ended.returncode, ended.stderr)
    (row,) = json.loads(ended.stdout)["result"]
    assert ("default", "sim/demo", True) == (row["name"], row["model"], row["usable"])
