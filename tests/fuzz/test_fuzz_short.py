"""A short run of the fuzzer, in a child: what breaks the decoder in C must not end the tests."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.corpus import seeds
from tests.fuzz.mutation import mutate
from tests.fuzz.oracle import check, check_envelope, check_stream, check_value

ROOT = Path(__file__).parents[2]
GUIDED = importlib.util.find_spec("atheris") is not None


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.fuzz_wire", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_short_run_finds_nothing() -> None:
    """Thousands of bent frames raise WireError or are read, nothing else."""
    arguments = ("-max_total_time=8", "-runs=40000", "-rss_limit_mb=1024") if GUIDED else ("--plain", "5")
    finished = run(*arguments)
    assert 0 == finished.returncode, finished.stderr[-3000:]


def test_seeds_hold() -> None:
    """Every golden vector passes the checks as it is."""
    for seed in seeds():
        check(seed)


def test_checks_accept_something() -> None:
    """The checks are not idle: of the seeds, and of bent ones, many are accepted."""
    chance, corpus = random.Random(2), seeds()
    bent = [mutate(chance.choice(corpus), b"", chance) for _ in range(3000)]
    accepted = [0, 0, 0]
    for data in bent:
        if data:
            which = data[0] % 3
            accepted[which] += bool((check_value, check_envelope, check_stream)[which](data[1:]))
    assert min(accepted) > 20, accepted
