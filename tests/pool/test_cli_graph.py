"""`dspex graph`: of a file or of a stored program, with a server that it starts or joins."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, NO_SERVER, OK
from dspex_pool.cli.graph import run
from dspex_pool.client import Client

SPEC: dict[str, Any] = {"module": "ChainOfThought", "signature": "question -> answer"}
AGENT: dict[str, Any] = {
    "module": "ReAct",
    "signature": "question -> answer",
    "options": {"tools": [{"name": "look", "args": {"where": {"type": "string"}}}]},
}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is named."""
    monkeypatch.delenv("DSPEX_CONNECT", raising=False)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty store."""
    address = f"sqlite:{tmp_path}/state.db"
    monkeypatch.setenv("DSPEX_STORE", address)
    return address


def printed(*arguments: str) -> str:
    """What a command that works prints."""
    body = io.BytesIO()
    out = io.TextIOWrapper(body, encoding="utf-8")
    with contextlib.redirect_stdout(out):
        assert OK == run(list(arguments))
    out.flush()
    return body.getvalue().decode()


def nodes(*arguments: str) -> dict[str, dict[str, Any]]:
    return {node["id"]: node for node in json.loads(printed(*arguments, "--format", "json"))["nodes"]}


async def stocked(*flags: str) -> str:
    """A program with two versions, and its document."""
    async with Client.start(flags=("--workers", "1", *flags)) as client:
        await client.call("program.create", {"spec": SPEC, "tags": ["first"]}, program="qa")
        await client.call("program.update", {"state": {"predict": {"instructions": "Brief."}}}, program="qa")
        exported: Any = await client.call("program.export", {"versions": "all"}, program="qa")
    return str(exported["document"])


@pytest.mark.slow
def test_a_spec_in_a_file_is_drawn(tmp_path: Path, store: str) -> None:
    """Though its functions are nobody's; the store is not opened."""
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(AGENT))
    assert printed(str(path)).startswith("flowchart LR\n")
    assert "{http://www.w3.org/2000/svg}svg" == ET.fromstring(printed(str(path), "--format", "svg")).tag
    assert "look" == nodes(str(path))["self.tools[look]"]["function"]
    assert not (tmp_path / "state.db").exists()


@pytest.mark.slow
async def test_every_version_of_a_stored_program_is_drawn(tmp_path: Path, store: str) -> None:
    """By number, by tag, the newest; and the same of its document, in a file or on stdin."""
    document = tmp_path / "qa.json"
    document.write_text(await stocked())

    def instructions(*arguments: str) -> str:
        return str(nodes(*arguments)["self.predict"]["signature"]["instructions"])

    def look() -> None:
        for program in ("qa", str(document)):
            assert "Brief." == instructions(program)
            first = instructions(program, "--version", "1")
            assert first == instructions(program, "--tag", "first") != "Brief."

    await asyncio.to_thread(look)


@pytest.mark.slow
async def test_a_running_server_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At its socket; one that nobody listens at is no server."""
    address = f"unix:{tmp_path}/socket"
    async with Client.start(flags=("--workers", "1", "--listen", f"stdio,{address}")) as client:
        await client.call("program.create", {"spec": SPEC}, program="qa")
        drawn = await asyncio.to_thread(nodes, "qa", "--connect", address)
        assert 1 == drawn["program"]["version"]
        assert CALL_FAILED == await asyncio.to_thread(run, ["unknown", "--connect", address])
    assert NO_SERVER == await asyncio.to_thread(run, ["qa", "--connect", address])
    assert "unknown_program" in capsys.readouterr().err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a file may be written."""
    return tmp_path / "program.json"


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("{", [], "JSON"),
        ("[1]", [], "a spec or a document"),
        (json.dumps(SPEC), ["--version", "1"], "--version"),
        (json.dumps(SPEC), ["--connect", "unix:/nowhere"], "--connect"),
        ('{"format": "dspex"}', [], "document"),
    ],
)
def test_what_is_no_program_is_a_bad_argument(
    file: Path, text: str, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No server is started for it."""
    file.write_text(text)
    assert BAD_ARGUMENTS == run([str(file), *more])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["a\x00b"], ["qa", "--format", "png"], ["qa", "--version", "1", "--tag", "x"]]
)
def test_bad_words_are_told(arguments: list[str]) -> None:
    """Exit code 2."""
    assert BAD_ARGUMENTS == run(arguments)


@pytest.mark.slow
def test_a_spec_that_cannot_be_is_an_error_of_the_call(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which names its field."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({**SPEC, "module": "Oracle"})))
    assert CALL_FAILED == run(["-"])
    assert "spec.module" in capsys.readouterr().err
