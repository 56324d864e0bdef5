"""`dspex top`: a server's workers, queue, jobs and clients, seen live."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, Protocol, cast

from dspex_pool.cli.connecting import NOBODY, add_connect_option, at_server, snapshot_of
from dspex_pool.cli.exits import BAD_ARGUMENTS, NO_SERVER, OK, exits_with_code
from dspex_pool.cli.readable import plain
from dspex_pool.client import Client
from dspex_pool.notation import to_json
from dspex_protocol import DSPexError

EPILOG: Final = """\
The server is one that was started with --listen stdio,unix:PATH. Its figures are those of
system.info; latencies are of the last half to whole minute. Press q or Ctrl-C to quit.

exit codes: 0 quit, 1 the server refused, 2 bad arguments, 3 no server, or it went away
"""
NO_RICH: Final = "it draws with rich, which is not installed: pip install 'dspex[top]' (or use --json)"
MIN_INTERVAL_S: Final = 0.1
MAX_INTERVAL_S: Final = 3600.0
SILENCE_S: Final = 1.0
"""So long an answer may take before the person is told that none comes."""


class View(Protocol):
    """Where snapshots are shown."""

    def show(self, snapshot: dict[str, object]) -> None:
        """Show one."""
        ...

    def tell(self, notice: str) -> None:
        """Say why none comes."""
        ...


@exits_with_code
def run(arguments: list[str]) -> int:
    """Show a server until the person quits, or once.

    Returns:
        0; 2 for bad arguments; 3 without a server, or when it goes away.
    """
    given = _parser().parse_args(arguments)
    if not given.json and importlib.util.find_spec("rich") is None:
        print(f"dspex top: {NO_RICH}", file=sys.stderr)
        return BAD_ARGUMENTS
    perform = _once if given.once else _on_and_on
    return at_server("top", given.connect, perform(given), as_json=given.json)


class JsonLines:
    """Snapshots for programs: one object a line."""

    def show(self, snapshot: dict[str, object]) -> None:
        """Print one."""
        print(json.dumps(to_json(snapshot)), flush=True)

    def tell(self, notice: str) -> None:
        """Nothing: each line is a snapshot."""


class Pages:
    """Views one below the other, as they suit what stdout is; plain text where it is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        # By what stdout is and not by FORCE_COLOR: a pipe gets no escape codes.
        self._console = Console(force_terminal=sys.stdout.isatty(), highlight=False)

    def show(self, snapshot: dict[str, object]) -> None:
        """Print one, and an empty line after it."""
        from .panels import view

        with self._console.capture() as captured:
            self._console.print(view(snapshot, self._console.width))
        lines = (line.rstrip() for line in captured.get().split("\n"))
        print("\n".join(lines), flush=True)

    def tell(self, notice: str) -> None:
        """Nothing: the next page comes when there is one."""


def _once(given: argparse.Namespace) -> Callable[[Client], Awaitable[int]]:
    async def perform(client: Client) -> int:
        snapshot = await snapshot_of(client)
        (JsonLines() if given.json else Pages()).show(snapshot)
        return OK

    return perform


def _on_and_on(given: argparse.Namespace) -> Callable[[Client], Awaitable[int]]:
    async def perform(client: Client) -> int:
        try:
            if given.json or not _can_draw():
                await follow(client, JsonLines() if given.json else Pages(), given.interval_s)
            else:
                await _draw(client, given.interval_s)
        except DSPexError as failure:
            if failure.code != "connection_lost":
                raise
            print(f"dspex top: {_last_word(client, failure)}", file=sys.stderr)
            return NO_SERVER
        return OK

    return perform


def _can_draw() -> bool:
    from rich.console import Console

    return sys.stdout.isatty() and not Console().is_dumb_terminal


async def _draw(client: Client, interval_s: float) -> None:
    """Until the person quits.

    Raises:
        DSPexError: `connection_lost` when the server goes away.
    """
    from rich.console import Console

    from .screen import Screen, wishes

    quits = asyncio.Event()
    with Screen(Console(highlight=False), "asking the server …") as screen, wishes(screen, quits):
        following = asyncio.ensure_future(follow(client, screen, interval_s))
        quitting = asyncio.ensure_future(quits.wait())
        try:
            await asyncio.wait((following, quitting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            quitting.cancel()
            following.cancel()
    if following.done():
        following.result()


async def follow(client: Client, view: View, interval_s: float) -> None:
    """Show a snapshot in every interval, until cancelled.

    Raises:
        DSPexError: `connection_lost`, or what the server refused with. A server that drains
            is about to hang up, and that says more.
    """
    while True:
        try:
            view.show(await _ask(client, view))
        except DSPexError as failure:
            if failure.code != "draining":
                raise
            view.tell("draining")
        await asyncio.sleep(interval_s)


async def _ask(client: Client, view: View) -> dict[str, object]:
    """A snapshot, however long it takes; the view is told of the silence."""
    question = asyncio.ensure_future(client.call("system.info", {}))
    try:
        for waited in count(1):
            await asyncio.wait((question,), timeout=SILENCE_S)
            if question.done():
                break
            view.tell(f"no answer for {waited * SILENCE_S:.0f} s")
        return cast("dict[str, object]", question.result())
    finally:
        question.cancel()


def _last_word(client: Client, failure: DSPexError) -> str:
    """Why the connection ended: the server's own words where it had some."""
    for method, value in reversed(client.notes):
        match value:
            case {"code": str(code), "message": str(message)} if method == "system.closing":
                return plain(f"the server hung up: {code}: {message}")
            case _:
                pass
    return plain(failure.message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex top",
        description="A server's workers, queue, jobs and clients, seen live.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connect_option(parser, NOBODY)
    parser.add_argument("--once", action="store_true", help="print one view and end")
    parser.add_argument("--json", action="store_true", help="system.info as one object a line")
    parser.add_argument(
        "--interval-s", type=_interval, default=1.0, metavar="S", help="seconds between two views (default 1)"
    )
    return parser


def _interval(text: str) -> float:
    seconds = float(text)
    if not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:
        raise argparse.ArgumentTypeError(
            f"expected {MIN_INTERVAL_S:g} to {MAX_INTERVAL_S:g} seconds, got {text}"
        )
    return seconds
