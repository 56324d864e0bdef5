"""`dspex doctor`: can this machine run DSPex, and what to do if not."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from dspex_pool.cli.exits import CALL_FAILED, OK, exits_with_code
from dspex_pool.cli.machine import Check, look_at_machine
from dspex_pool.cli.readable import plain
from dspex_pool.cli.trial import judge, try_server
from dspex_pool.config import Config
from dspex_pool.settings import read_config
from dspex_protocol import DSPexError

EPILOG = """\
It looks at the machine, then starts a real server for a moment, with one worker and an
offline model. Nothing is installed, changed, sent anywhere or left running.

exit codes: 0 this machine can run DSPex (warnings or not), 1 it cannot, 2 bad arguments
"""


@exits_with_code
def run(arguments: list[str]) -> int:
    """Check the machine.

    Returns:
        0 when DSPex can run here, 1 when not.
    """
    given = _parser().parse_args(arguments)
    began_s = time.monotonic()
    checks: list[Check] = []
    for check in examine(os.environ):
        checks.append(check)
        if not given.json:
            print("\n".join(_lines(check)), flush=True)
    can_run = all(check.level != "fail" for check in checks)
    seconds = time.monotonic() - began_s
    if given.json:
        report = {
            "can_run": can_run,
            "seconds": round(seconds, 3),
            "checks": [asdict(check) for check in checks],
        }
        print(json.dumps(report, indent=2))
    else:
        print(f"\n{_verdict(checks)} ({seconds:.1f} s)")
    return OK if can_run else CALL_FAILED


def examine(environment: Mapping[str, str]) -> Iterator[Check]:
    """Every check, the quick ones first; a server is tried only where one could run."""
    failed = False
    try:
        config = read_config(environment, {})
        yield Check(name="settings", level="ok", found="all of them can be read")
    except DSPexError as refusal:
        failed = True
        config = Config()
        advice = "Correct or unset it; `dspex config` lists the settings."
        yield Check(name="settings", level="fail", found=refusal.message, advice=advice)
    for check in look_at_machine(config, environment):
        failed = failed or check.level == "fail"
        yield check
    if not failed:
        yield from judge(asyncio.run(try_server()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex doctor",
        description="Can this machine run DSPex, and what to do if not.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one object with all checks, for machines")
    return parser


def _lines(check: Check) -> Iterator[str]:
    yield f"{check.level:<5} {check.name}: {plain(check.found)}"
    if check.advice:
        yield f"      -> {check.advice}"


def _verdict(checks: list[Check]) -> str:
    failed = [check.name for check in checks if check.level == "fail"]
    if failed:
        return f"This machine cannot run DSPex yet; put right: {', '.join(failed)}."
    warned = sum(check.level == "warn" for check in checks)
    return f"This machine can run DSPex{f'; warnings: {warned}' if warned else ''}."
