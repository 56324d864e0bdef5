"""`dspex ps`: the workers of a server, one a line."""

from __future__ import annotations

import argparse
import json
from typing import Final

from dspex_pool.cli.connecting import NOBODY, add_connect_option, at_server, snapshot_of
from dspex_pool.cli.exits import OK, exits_with_code
from dspex_pool.cli.tables import rows_of, text_lines, workers
from dspex_pool.client import Client
from dspex_pool.notation import to_json

EPILOG: Final = """\
MB is memory that the worker shares with nobody, and own MB what of it came since it had
warmed up. A worker with a reason under `retiring` goes when its successor is ready and its
calls have ended.

exit codes: 0 ok, 1 the server refused, 2 bad arguments, 3 no server
"""


@exits_with_code
def run(arguments: list[str]) -> int:
    """Print the workers.

    Returns:
        0; 1 when the server refuses; 2 for bad arguments; 3 without a server.
    """
    given = _parser().parse_args(arguments)

    async def perform(client: Client) -> int:
        snapshot = await snapshot_of(client)
        if given.json:
            print(json.dumps(to_json([dict(row) for row in rows_of(snapshot, "workers")]), indent=2))
        else:
            print("\n".join(text_lines(workers(snapshot))))
        return OK

    return at_server("ps", given.connect, perform, as_json=given.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex ps",
        description="The workers of a server, one a line.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connect_option(parser, NOBODY)
    parser.add_argument("--json", action="store_true", help="an array of objects, for machines")
    return parser
