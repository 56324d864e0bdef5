"""`python -m tests.simulation`: try seeds, replay one, look for a planted defect."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from .plants import PLANTS
from .run import Outcome, run_seed


def main() -> int:
    """Run what the flags ask for; 0 when every promise was kept, or the plant was found."""
    flags = _flags().parse_args()
    plant = PLANTS[flags.plant] if flags.plant else list
    seeds = range(flags.start, flags.start + flags.seeds) if flags.seed is None else [flags.seed]
    began_s = time.monotonic()
    outcomes: Counter[str] = Counter()
    failed: list[Outcome] = []
    virtual_s, tried = 0.0, 0
    for seed in seeds:
        outcome = run_seed(seed, plant)
        tried += 1
        outcomes.update(outcome.outcomes)
        virtual_s += outcome.virtual_s
        if flags.trace:
            _print_trace(outcome)
        if outcome.violation is not None:
            failed.append(outcome)
            _print_failure(outcome, flags.plant)
            if flags.plant or len(failed) >= flags.failures:
                break
    took_s = time.monotonic() - began_s
    calls = sum(outcomes.values())
    print(f"{tried} seeds, {calls} calls, {virtual_s:.0f} virtual s in {took_s:.1f} s; {len(failed)} failed")
    print("  " + ", ".join(f"{code} {count}" for code, count in outcomes.most_common()))
    if not failed and not flags.plant:
        print(f"  95 % bound: fewer than {3 / tried:.4%} of seeds would fail")
    return int(bool(failed) != bool(flags.plant))


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, metavar="N", help="how many; default %(default)s")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first of them")
    parser.add_argument("--seed", type=int, metavar="S", help="this one only")
    parser.add_argument("--plant", choices=sorted(PLANTS), metavar="NAME", help=", ".join(PLANTS))
    parser.add_argument("--failures", type=int, default=5, metavar="N", help="stop after so many")
    parser.add_argument("--trace", action="store_true", help="print what happened, moment by moment")
    return parser


def _print_trace(outcome: Outcome) -> None:
    for at_s, *event in outcome.events:
        assert isinstance(at_s, float)
        print(f"{at_s - 1000:9.4f} ", *event)


def _print_failure(outcome: Outcome, plant: str | None) -> None:
    planted = f" --plant {plant}" if plant else ""
    print(f"seed {outcome.seed}: {type(outcome.violation).__name__}: {outcome.violation}")
    print(f"  replay: python -m tests.simulation --seed {outcome.seed}{planted} --trace")


if __name__ == "__main__":
    sys.exit(main())
