"""A short run of `make soak`, with its planted leaks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from .paths import PATHS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_nothing_grows_with_the_calls() -> None:
    """On no path does a process surely grow, every count is as it was, and planted leaks are caught."""
    command = [sys.executable, "-m", "tests.soak", "--quick", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout, done.stderr[-3000:]
    report = cast("dict[str, Any]", json.loads(done.stdout))
    assert [] == [path for path in report["paths"] if not path["passes"]]
    assert [] == report["missed"]
    assert 0 == done.returncode
    assert [path.name for path in PATHS] == [path["path"] for path in report["paths"]]
