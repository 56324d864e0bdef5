"""Fuzzes frames, envelopes and values: `python -m tests.fuzz.fuzz_wire`, from the checkout.

With atheris it is guided by coverage, and further arguments go to libFuzzer, such as
`-max_total_time=60` or a folder for the corpus. `--plain SECONDS` runs our own mutations
instead, which need nothing.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.corpus import seeds, write_seeds
from tests.fuzz.mutation import mutate
from tests.fuzz.oracle import check


def run_plain(seconds: float, seed: int = 1) -> int:
    """Mutate the seeds for so long; an input that breaks a rule is printed and raises.

    Returns:
        How many inputs were tried.
    """
    chance, corpus, tries = random.Random(seed), seeds(), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutate(chance.choice(corpus), chance.choice(corpus), chance)
        tries += 1
        try:
            check(data)
        except BaseException:
            print(f"input: {data.hex()}", file=sys.stderr)
            raise
    return tries


def run_guided(arguments: list[str]) -> None:
    """Hand over to libFuzzer, which ends the process."""
    import atheris

    atheris.instrument_all()  # pyright: ignore[reportAttributeAccessIssue]  # it comes without types
    with tempfile.TemporaryDirectory() as folder:
        write_seeds(Path(folder))
        atheris.Setup([sys.argv[0], *arguments, folder], check)
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        print(f"{run_plain(float(sys.argv[2]))} inputs, no fault")
    else:
        run_guided(sys.argv[1:])
