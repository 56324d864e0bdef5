"""`python -m tests.chaos`: faults at random moments under load; 1 when a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from typing import Final

from .faults import INJECTORS
from .plants import PLANTS
from .report import as_data, as_text
from .run import Plan, run
from .scene import Sizes

SMALL: Final = Sizes(soft_mb=24, hard_mb=64, flood_mb=10, blob_mb=20)


def main(arguments: list[str]) -> int:
    """Run chaos and print the report.

    Returns:
        0; 1 when a promise was broken, or when the checker is blind; 2 for bad arguments.
    """
    given = _parser().parse_args(arguments)
    seed = random.SystemRandom().getrandbits(32) if given.seed is None else given.seed
    plan = Plan(
        seed=seed,
        seconds=given.minutes * 60,
        faults_per_s=given.faults_per_s,
        faults=given.faults or tuple(INJECTORS),
        plant=given.plant,
        sizes=SMALL if given.quick else Sizes(),
    )
    print(f"chaos: seed {seed}", file=sys.stderr, flush=True)
    result = asyncio.run(run(plan))
    print(json.dumps(as_data(result), indent=2) if given.json else as_text(result))
    return 0 if result.is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of load (2)")
    parser.add_argument("--seed", type=int, help="of an earlier run, to have its faults again")
    parser.add_argument("--faults-per-s", type=float, default=1.5, help="on average (1.5)")
    parser.add_argument("--faults", nargs="+", choices=INJECTORS, help="only these")
    parser.add_argument("--plant", choices=PLANTS, help="a defect: the run must go red")
    parser.add_argument("--quick", action="store_true", help="faults that take less")
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
