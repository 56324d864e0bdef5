"""`dspex serve`: take the wire first, import later."""

from __future__ import annotations

import os
import sys

from dspex_pool.taking import is_terminal_or_missing, take_stdio

USAGE = """\
usage: dspex serve [--NAME VALUE …]

Speaks DSPex frames on stdin and stdout; started by a client, not by hand.
`dspex config` lists the settings; each is a flag and an environment variable.
"""


def run(arguments: list[str]) -> int:
    """Serve until the client is gone.

    Returns:
        An exit code: 0 at the client's end, 2 for bad arguments.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if is_terminal_or_missing(0) or is_terminal_or_missing(1):
        print(
            "dspex serve: stdin and stdout must be pipes to a client; a person is better served by"
            " `dspex call` or `dspex doctor`",
            file=sys.stderr,
        )
        return 2
    wire_in, wire_out = take_stdio()

    from dspex_pool.guardian import stand_guard

    stand_guard(wire_in, wire_out)

    from dspex_pool.config import read_config
    from dspex_pool.server import serve
    from dspex_protocol import DSPexError

    try:
        config = read_config(os.environ, read_flags(arguments))
    except DSPexError as refusal:
        print(f"dspex serve: {refusal.message}", file=sys.stderr)
        return 2
    serve(config, wire_in, wire_out, dict(os.environ))
    return 0


def read_flags(arguments: list[str]) -> dict[str, str]:
    """`--max-queue 10 --zygote=false` to names and texts.

    Raises:
        CallerError: `invalid_argument` naming the flag.
    """
    from dspex_pool.config import describe_settings
    from dspex_protocol import error, invalid_argument

    names = {str(setting["flag"]): str(setting["name"]) for setting in describe_settings()}
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag, equals, text = rest.pop(0).partition("=")
        if flag not in names:
            raise error(
                "invalid_argument",
                f"{flag}: there is no such flag; the flags are: {' '.join(names)}",
                details={"field": flag, "expected": f"one of {' '.join(names)}", "got": flag},
            )
        if not equals:
            if not rest:
                raise invalid_argument(flag, "a value", None)
            text = rest.pop(0)
        flags[names[flag]] = text
    return flags
