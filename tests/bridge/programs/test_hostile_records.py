"""No bytes from a store become code, and none make a worker look around (ground rule 8)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Final

import pytest
from tests.support.hostile_records import CHECKPOINTS, DOCUMENTS, RECORDS, SOURCES

TYPED: Final = {"invalid_argument", "record_too_new", "lm_invalid_request"}
"""How a case may be refused; the last one is the offline model's, which takes no images."""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[str, list[str]]]:
    """What came of each case in a process whose interpreter denies every door."""
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile_records"],
        capture_output=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )
    return {name: (outcome, seen) for name, (outcome, seen) in json.loads(done.stdout).items()}


@pytest.mark.slow
def test_the_doors_are_watched(outcomes: dict[str, tuple[str, list[str]]]) -> None:
    """What is opened on purpose is seen and denied; else the rest would prove nothing."""
    outcome, seen = outcomes["the hook"]
    assert ("denied", 1) == (outcome, len(seen))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RECORDS, *SOURCES, *DOCUMENTS, *CHECKPOINTS])
def test_nothing_comes_of_it(outcomes: dict[str, tuple[str, list[str]]], name: str) -> None:
    """It is refused by a code of ours or does no harm, without a file, import, socket, process or code."""
    outcome, seen = outcomes[name]
    assert [] == seen
    assert outcome in TYPED | {"harmless"}


def test_there_are_enough_of_them() -> None:
    """Of records and of DSPy's documents."""
    assert len(RECORDS) >= 30
    assert len(DOCUMENTS) >= 20
