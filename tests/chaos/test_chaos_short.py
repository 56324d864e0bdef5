"""Short runs of `make chaos`: one as it is, and one with a planted defect that must go red."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

ROOT = Path(__file__).parents[2]


def chaos(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of a run."""
    command = [sys.executable, "-m", "tests.chaos", "--json", "--quick", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.stdout, done.stderr[-3000:]
    return done.returncode, cast("dict[str, Any]", json.loads(done.stdout))


@pytest.mark.slow
def test_a_short_run_breaks_no_promise() -> None:
    """Each fault once under load: every call has its own one outcome, and nothing is left over."""
    code, report = chaos("--minutes", "0.25", "--seed", "11")
    assert [] == report["violations"]
    assert [] == report["unnoticed"]
    assert 0 == code
    assert 1000 < report["calls"]
    assert 5 <= len(report["faults"])
    assert 1 <= report["worker_deaths"]


@pytest.mark.slow
def test_a_planted_defect_turns_a_run_red() -> None:
    """Results that change places are seen for what they are."""
    code, report = chaos("--minutes", "0.1", "--plant", "swap", "--faults", "worker_kill")
    assert 1 == code
    assert {"P2"} == set(report["violated"])
