"""`python -m tests.soak`: whether anything grows with the calls, by path; 1 when it does."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Final

from .gates import COLD
from .paths import PATHS
from .report import as_data, as_text
from .run import Plan, run

CALLS: Final = 700_000
QUICK: Final = Plan(calls=4000, samples=20, warm_up_s=0.7, resolution=COLD)


def main(arguments: list[str]) -> int:
    """Run a soak and print the report.

    Returns:
        0; 1 when something grew, or when a planted leak was not caught; 2 for bad arguments.
    """
    given = _parser().parse_args(arguments)
    paths = [path for path in PATHS if given.paths is None or path.name in given.paths]
    plan = QUICK if given.quick else Plan(calls=given.calls)
    result = asyncio.run(run(plan, paths))
    print(json.dumps(as_data(result), indent=2) if given.json else as_text(result))
    return 0 if result.is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "--calls", type=int, default=CALLS, help=f"on the fastest path ({CALLS:,}); slow ones make fewer"
    )
    parser.add_argument(
        "--quick", action="store_true", help="half a minute, for leaks of some hundred bytes a call"
    )
    parser.add_argument("--paths", nargs="+", choices=[path.name for path in PATHS], help="only these")
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
