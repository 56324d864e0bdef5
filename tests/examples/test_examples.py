"""Every example runs as its README says, and prints something."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PYTHON = sorted(EXAMPLES.glob("*.py"))
ELIXIR = sorted(EXAMPLES.glob("*.exs"))

pytestmark = pytest.mark.slow


def _run(command: list[str], folder: Path) -> str:
    serve = f"{sys.executable} -m dspex_pool serve"
    offline = {name: value for name, value in os.environ.items() if name != "DSPEX_LM"}
    finished = subprocess.run(
        command,
        cwd=folder,
        env=offline | {"DSPEX_COMMAND": serve},
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


def test_every_example_is_in_the_readme() -> None:
    """The table of examples/README.md names each file."""
    text = (EXAMPLES / "README.md").read_text()
    assert [] == [example.name for example in PYTHON + ELIXIR if f"`{example.name}`" not in text]
