"""`--connect unix:PATH`: a command as one of the clients of a server that runs already."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, cast

from dspex_pool.addresses import read_socket
from dspex_pool.cli.exits import BAD_ARGUMENTS, NO_SERVER
from dspex_pool.cli.readable import report
from dspex_pool.client import Client
from dspex_protocol import DSPexError, error

VARIABLE: Final = "DSPEX_CONNECT"
NOBODY: Final = "there is nobody to ask"
HINT: Final = (
    "which server? Name its socket by --connect unix:PATH or DSPEX_CONNECT=unix:PATH; "
    "a server has one when it is started with --listen stdio,unix:PATH"
)
ANSWER_TIMEOUT_S: Final = 10.0
"""A supervisor answers for itself in a millisecond; one that takes so long is stuck."""


def add_connect_option(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """Add `--connect` to a command.

    Args:
        parser: The command's.
        otherwise: What happens without the option and the variable.
    """
    parser.add_argument(
        "--connect",
        metavar="unix:PATH",
        help=f"the server that listens there (else {VARIABLE}, else {otherwise})",
    )


def read_address(given: str | None, environment: Mapping[str, str]) -> str | None:
    """The address that the option names, or else the variable; None for neither.

    Raises:
        CallerError: `invalid_argument` naming the one that cannot be read.
    """
    address = given if given is not None else environment.get(VARIABLE)
    if given is None and not address:
        return None
    assert address is not None
    read_socket(address, "--connect" if given is not None else VARIABLE)
    return address


def report_no_server(command: str, address: str, reason: OSError) -> int:
    """Tell that nobody answers at an address, and return the exit code for it."""
    why = reason.strerror or "it did not answer in time"
    print(f"dspex {command}: no server at {address}: {why}", file=sys.stderr)
    return NO_SERVER


def at_server(
    command: str, given: str | None, perform: Callable[[Client], Awaitable[int]], *, as_json: bool = False
) -> int:
    """Join a server that runs, and do something there.

    Args:
        command: Whose errors these are.
        given: The option `--connect`.
        perform: What to do; returns an exit code.
        as_json: How errors are printed.

    Returns:
        Its exit code, or the one for what went wrong.
    """
    try:
        address = read_address(given, os.environ)
        if address is None:
            raise error("invalid_argument", HINT)
    except DSPexError as refusal:
        print(f"dspex {command}: {refusal.message}", file=sys.stderr)
        return BAD_ARGUMENTS
    return at_some_server(command, address, perform, as_json=as_json)


def at_some_server(
    command: str,
    address: str | None,
    perform: Callable[[Client], Awaitable[int]],
    *,
    flags: Sequence[str] = (),
    lms: Mapping[str, object] | None = None,
    as_json: bool = False,
) -> int:
    """Join a server, or start one for this, and do something there.

    Args:
        command: Whose errors these are.
        address: Where the server listens; None starts one.
        perform: What to do; returns an exit code.
        flags: Of the server that is started; `call.server_flags` makes them.
        lms: Language models that are offered.
        as_json: How errors are printed.

    Returns:
        Its exit code, or the one for what went wrong.
    """
    return asyncio.run(_perform(command, address, perform, flags, lms or {}, as_json=as_json))


async def _perform(
    command: str,
    address: str | None,
    perform: Callable[[Client], Awaitable[int]],
    flags: Sequence[str],
    lms: Mapping[str, object],
    *,
    as_json: bool,
) -> int:
    reached = Client.start(flags=flags, lms=lms) if address is None else Client.connect(address, lms=lms)
    try:
        async with reached as client:
            return await perform(client)
    except DSPexError as failure:
        return report(failure, as_json=as_json)
    except BrokenPipeError:  # the reader of stdout is gone, and not the server
        raise
    except OSError as reason:  # TimeoutError is one
        if address is not None:
            return report_no_server(command, address, reason)
        print(f"dspex {command}: no server: {reason or 'it did not answer in time'}", file=sys.stderr)
        return NO_SERVER


async def snapshot_of(client: Client) -> dict[str, object]:
    """What a server says about itself.

    Raises:
        DSPexError: what its FAIL said, or `connection_lost`.
        TimeoutError: after `ANSWER_TIMEOUT_S`.
    """
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        return cast("dict[str, object]", await client.call("system.info", {}))
