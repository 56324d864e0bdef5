"""`dspex serve`: take the wire first, import later, fork before anything has a thread."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from dspex_pool.taking import take_stdio

if TYPE_CHECKING:
    from dspex_pool.config import Config

USAGE = """\
usage: dspex serve [--NAME VALUE …]

Speaks DSPex frames on stdin and stdout; started by a client, not by hand.
With --listen unix:PATH clients find it at a Unix socket instead, and it ends at SIGTERM.
`dspex config` lists the settings; each is a flag and an environment variable.
"""


def run(arguments: list[str]) -> int:
    """Serve until the client is gone, or on a socket alone until a signal.

    Returns:
        An exit code: 0 at the end, 2 for bad arguments, 3 when the socket or the store cannot be.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    wire = take_stdio()

    from dspex_pool.addresses import read_places
    from dspex_pool.settings import read_config
    from dspex_protocol import DSPexError

    try:
        config = read_config(os.environ, read_flags(arguments))
    except DSPexError as refusal:
        print(f"dspex serve: {refusal.message}", file=sys.stderr)
        return 2
    wanted = read_places(config.listen, "listen").stdio
    if wanted and wire is None:
        print(
            "dspex serve: stdin and stdout must be pipes to a client; a person is better served by"
            " `dspex call` or `dspex doctor`, and a pool of one's own by `--listen unix:PATH`",
            file=sys.stderr,
        )
        return 2
    if wire is not None and not wanted:
        for descriptor in wire:  # whoever started it sees that nothing will come
            os.close(descriptor)
    return _serve(config, wire if wanted else None)


def _serve(config: Config, wire: tuple[int, int] | None) -> int:
    from dspex_pool.guardian import stand_guard

    stand_guard(wire)

    from dspex_pool.cli.exits import BAD_ARGUMENTS, NO_SERVER
    from dspex_pool.listening import CannotListen
    from dspex_pool.server import serve
    from dspex_pool.store import Refused
    from dspex_protocol import CallerError

    try:
        serve(config, wire, dict(os.environ))
    except (CannotListen, Refused) as reason:
        print(f"dspex serve: {reason}", file=sys.stderr)
        return NO_SERVER
    except CallerError as refusal:  # the rest of an address is read by the package that connects
        print(f"dspex serve: {refusal.message}", file=sys.stderr)
        return BAD_ARGUMENTS
    return 0


def read_flags(arguments: list[str]) -> dict[str, str]:
    """`--max-queue 10 --zygote=false` to names and texts.

    Raises:
        CallerError: `invalid_argument` naming the flag.
    """
    from dspex_pool.config import describe_settings, flag_of
    from dspex_pool.settings import CONFIG_FILE, unknown_name
    from dspex_protocol import invalid_argument

    names = {str(setting["flag"]): str(setting["name"]) for setting in describe_settings()}
    names[flag_of(CONFIG_FILE)] = CONFIG_FILE
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag, equals, text = rest.pop(0).partition("=")
        if flag not in names:
            raise unknown_name(flag, "flag", flag, names)
        if not equals:
            if not rest:
                raise invalid_argument(flag, "a value", None)
            text = rest.pop(0)
        flags[names[flag]] = text
    return flags
