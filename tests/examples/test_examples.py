"""Every example runs as its README says, and prints something."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.survivors import MARK, alive_after, marked, new_mark

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
VECTORS = ROOT / "protocol" / "vectors"
PYTHON = sorted(EXAMPLES.glob("*.py"))
ELIXIR = sorted(EXAMPLES.glob("*.exs"))
# Clients that are written from docs/protocol.md alone, by what runs them where it is there.
CLIENTS = {"client.py": sys.executable, "client.mjs": shutil.which("node")}
RUNNABLE = {name: program for name, program in CLIENTS.items() if program is not None}
# What each of them says about itself, line by line; `…` stands for what the model wrote.
WALK = """
hello: dspex/…, protocol 1
ping: are you there?
typed: …
pipelined: 50 answers, each to its question: true
streamed: … items, all there: true
  host/relay was called, and asks in its turn
callback: relayed …
deadline: deadline
cancel: cancelled
bad argument: adapter: expected one of the adapters baml, chat, json, two_step, xml, got string 'yaml'
goodbye: the server ended with 0
"""

pytestmark = pytest.mark.slow


def _run(command: list[str], folder: Path, more: dict[str, str] | None = None) -> str:
    serve = f"{sys.executable} -m dspex_pool serve"
    offline = {name: value for name, value in os.environ.items() if name != "DSPEX_LM"}
    finished = subprocess.run(
        command,
        cwd=folder,
        env=offline | {"DSPEX_COMMAND": serve} | (more or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert 0 == finished.returncode, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("example", PYTHON, ids=lambda example: example.name)
def test_a_python_example_runs(example: Path, tmp_path: Path) -> None:
    """It ends with 0 in any folder, with nothing but the offline model."""
    assert "" != _run([sys.executable, str(example)], tmp_path)


@pytest.mark.skipif(shutil.which("mix") is None, reason="needs Elixir, which `make setup` installs")
@pytest.mark.parametrize("example", ELIXIR, ids=lambda example: example.name)
def test_an_elixir_example_runs(example: Path) -> None:
    """It ends with 0 from the client's folder, with nothing but the offline model."""
    assert "" != _run(["mix", "run", str(example)], ROOT / "clients" / "elixir")


def test_the_clients_that_can_run_are_run() -> None:
    """Python is always among them, and no client of another language is forgotten here."""
    assert "client.py" in RUNNABLE
    assert sorted(CLIENTS) == sorted(
        client.name for client in (EXAMPLES / "clients").iterdir() if client.is_file()
    )


@pytest.mark.parametrize("name", sorted(RUNNABLE))
def test_a_client_goes_through_the_protocol(name: str, tmp_path: Path) -> None:
    """Each part of the protocol ends as it should, and nothing that it started is left."""
    mark = new_mark()
    said = _run([RUNNABLE[name], str(EXAMPLES / "clients" / name)], tmp_path, {MARK: mark})
    assert [] == alive_after(2.0, marked(mark))
    pattern = re.escape(WALK.lstrip()).replace("…", ".*")
    assert re.fullmatch(pattern, said.replace("True", "true"), re.DOTALL), said


@pytest.mark.parametrize("name", sorted(RUNNABLE))
def test_a_clients_codec_agrees_with_the_vectors(name: str, tmp_path: Path) -> None:
    """Most vectors are within its reach, and none of those differs."""
    command = [RUNNABLE[name], str(EXAMPLES / "clients" / name), "--vectors"]
    counts = re.fullmatch(
        r"vectors: (\d+) agree, 0 differ, (\d+) left out\n", _run([*command, str(VECTORS)], tmp_path)
    )
    assert counts is not None
    assert int(counts[1]) > 2 * int(counts[2])


@pytest.mark.parametrize("name", sorted(RUNNABLE))
def test_a_clients_codec_can_differ_from_the_vectors(name: str, tmp_path: Path) -> None:
    """One wrong vector is named, and the client ends with 1; else the test above would say nothing."""
    wrong = {"id": "wrong", "hex": "07", "value": 8, "direction": "both"}
    (tmp_path / "wrong.json").write_text(json.dumps({"format": 1, "shape": "value", "vectors": [wrong]}))
    command = [RUNNABLE[name], str(EXAMPLES / "clients" / name), "--vectors", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (1, "vectors: 0 agree, 1 differ, 0 left out\n  differs: wrong\n") == (
        finished.returncode,
        finished.stdout,
    )


def test_every_example_is_in_the_readme() -> None:
    """The table of examples/README.md names each file."""
    text = (EXAMPLES / "README.md").read_text()
    names = [example.name for example in PYTHON + ELIXIR] + [f"clients/{name}" for name in CLIENTS]
    assert [] == [name for name in names if f"`{name}`" not in text]
