"""`dspex recycle`: living workers replaced by new ones, without losing a call."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from dspex_pool.cli.connecting import NOBODY, add_connect_option, at_server, snapshot_of
from dspex_pool.cli.exits import BAD_ARGUMENTS, OK, exits_with_code
from dspex_pool.cli.readable import report
from dspex_pool.cli.tables import rows_of
from dspex_pool.client import Client
from dspex_protocol import DSPexError

EPILOG: Final = """\
WORKER is a number of `dspex ps`. Each gets a successor first, takes no more calls then, and
goes when those that it has have ended (the server's setting drain_s bounds that).

  dspex recycle 3
  dspex recycle --all --wait

exit codes: 0 ok, 1 the server refused (no such worker), 2 bad arguments, 3 no server
"""
LOOK_AGAIN_S: Final = 0.2
"""A worker takes longer than that to start; looking costs the server a tenth of a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be replaced.

    Attributes:
        workers: Numbers; None for all that serve.
        wait: Whether to wait until they are gone.
    """

    workers: tuple[int, ...] | None
    wait: bool
    json: bool


@exits_with_code
def run(arguments: list[str]) -> int:
    """Replace workers.

    Returns:
        0; 1 when the server refuses; 2 for bad arguments; 3 without a server.
    """
    given = _parser().parse_args(arguments)
    if bool(given.workers) == given.all:
        print("dspex recycle: name workers by their numbers, or --all", file=sys.stderr)
        return BAD_ARGUMENTS
    workers = None if given.all else tuple(dict.fromkeys(given.workers))
    request = Request(workers=workers, wait=given.wait, json=given.json)
    return at_server("recycle", given.connect, lambda client: perform(client, request), as_json=given.json)


async def perform(client: Client, request: Request) -> int:
    """Ask for it, and wait where that is wanted.

    Returns:
        An exit code.
    """
    replaced, code = await _ask(client, request)
    if not request.json and (replaced or code == OK):  # else the error has said it
        print(_announcement(replaced, request.workers), flush=True)
    if request.wait:
        # Those that were on their way out before are waited for too.
        going = set(replaced).union(request.workers or ()) if code == OK else set(replaced)
        await _see_off(client, going, quiet=request.json)
    if request.json:
        print(json.dumps({"workers": replaced}))
    return code


async def _ask(client: Client, request: Request) -> tuple[list[int], int]:
    """Those that will be replaced, and the exit code: one that is unknown does not keep the others."""
    replaced: list[int] = []
    code = OK
    for worker in (None,) if request.workers is None else request.workers:
        try:
            answer = cast("dict[str, list[int]]", await client.call("pool.recycle", {"worker": worker}))
        except DSPexError as failure:
            if failure.code != "invalid_argument":
                raise
            code = report(failure, as_json=request.json)
        else:
            replaced += answer["workers"]
    return replaced, code


def _announcement(replaced: Sequence[int], asked: Sequence[int] | None) -> str:
    if not replaced:
        return (
            "nothing to replace: no worker serves" if asked is None else "nothing that is not going already"
        )
    numbers = ", ".join(map(str, replaced))
    return f"replacing worker{'s' if len(replaced) > 1 else ''} {numbers}"


async def _see_off(client: Client, going: set[int], *, quiet: bool) -> None:
    """Wait until none of them has a process, and tell of each."""
    while going:
        there = {row.get("worker") for row in rows_of(await snapshot_of(client), "workers")}
        for number in sorted(going - there):
            going.remove(number)
            if not quiet:
                print(f"worker {number} has gone", flush=True)
        if going:
            await asyncio.sleep(LOOK_AGAIN_S)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex recycle",
        description="Replace living workers by new ones, without losing a call.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workers", nargs="*", type=int, metavar="WORKER", help="number of a worker")
    parser.add_argument("--all", action="store_true", help="all that serve, a few at a time")
    parser.add_argument("--wait", action="store_true", help="wait until the old ones are gone")
    add_connect_option(parser, NOBODY)
    parser.add_argument("--json", action="store_true", help="one object, for machines")
    return parser
