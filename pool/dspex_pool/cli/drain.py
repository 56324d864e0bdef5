"""`dspex drain`: a server takes no more calls, and ends when the open ones have ended."""

from __future__ import annotations

import argparse
import json
import time
from typing import Final

from dspex_pool.cli.connecting import NOBODY, add_connect_option, at_server, snapshot_of
from dspex_pool.cli.exits import OK, exits_with_code
from dspex_pool.cli.figures import number_of
from dspex_pool.cli.tables import Row, rows_of
from dspex_pool.client import Client

EPILOG: Final = """\
It waits for the end, which the server's setting drain_s bounds: calls that take longer are
given up. Ctrl-C ends the waiting and not the drain.

exit codes: 0 drained, 1 the server refused, 2 bad arguments, 3 no server, or it ended otherwise
"""


@exits_with_code
def run(arguments: list[str]) -> int:
    """Drain a server.

    Returns:
        0; 1 when the server refuses; 2 for bad arguments; 3 without a server.
    """
    given = _parser().parse_args(arguments)

    async def perform(client: Client) -> int:
        snapshot = await snapshot_of(client)
        calls = open_calls(snapshot)
        if not given.json:
            print(f"draining: {calls} open call{'' if calls == 1 else 's'}", flush=True)
        began_s = time.monotonic()
        await client.call("pool.drain", {})
        took_s = round(time.monotonic() - began_s, 3)
        if given.json:
            print(json.dumps({"drained": True, "seconds": took_s, "open_calls": calls}))
        else:
            print(f"drained in {took_s:.1f} s: the server ends")
        return OK

    return at_server("drain", given.connect, perform, as_json=given.json)


def open_calls(snapshot: Row) -> int:
    """Calls of all clients that have had no outcome yet."""
    return round(sum(number_of(row.get("open_calls")) or 0 for row in rows_of(snapshot, "clients")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex drain",
        description="Have a server take no more calls, and end when the open ones have ended.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connect_option(parser, NOBODY)
    parser.add_argument("--json", action="store_true", help="one object when it has drained, for machines")
    return parser
