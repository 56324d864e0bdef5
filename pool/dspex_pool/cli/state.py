"""`dspex state`: what is in a store, whether it is sound, and how it gets out and in.

It opens the store itself, so it works where no server runs; where one does, they share the store.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dspex_pool.cli.exits import BAD_ARGUMENTS, NO_SERVER, exits_with_code
from dspex_pool.cli.readable import plain, report
from dspex_pool.cli.state_actions import ACTIONS
from dspex_pool.library import Library, check_program, check_tag
from dspex_pool.library.failures import to_wire_error
from dspex_pool.library.names import check_prefix
from dspex_pool.settings import read_config
from dspex_pool.store import Store, StoreError
from dspex_pool.store.addresses import read_sqlite, scheme_of
from dspex_pool.store.opening import open_store
from dspex_pool.wall_clock import wall_ms
from dspex_protocol import DSPexError, invalid_argument

TIMEOUT_S: Final = 10.0
"""For one operation. A server has a second; nobody waits here, and a store may have much to read."""

EPILOG: Final = """\
The store is that of the settings (DSPEX_STORE, or a settings file), or --store.
A server may use it at the same time.

  dspex state list --tag live
  dspex state show qa
  dspex state show qa --version 3
  dspex state diff qa 2 3
  dspex state export qa --all > qa.json
  dspex state import qa.json --program qa-copy
  dspex state verify
  dspex state repair qa

exit codes: 0 ok, 1 an error or something is broken, 2 bad arguments, 3 the store cannot be used
"""
_SHOWN: Final = {
    "program": "PROGRAM",
    "copy": "--program",
    "version": "--version",
    "before": "FROM",
    "after": "TO",
}


@exits_with_code
def run(arguments: list[str]) -> int:
    """Do one thing with a store.

    Returns:
        0; 1 for an error, or when something is broken; 2 for bad arguments; 3 when the store
        cannot be used.
    """
    given = _parser().parse_args(arguments)
    try:
        url = store_of(given, os.environ)
        _check(given)
        if given.action == "import":
            given.text = _read_text(given.file)
    except DSPexError as refusal:
        print(f"dspex state: {plain(refusal.message)}", file=sys.stderr)
        return BAD_ARGUMENTS
    try:
        return asyncio.run(_with_store(url, given))
    except DSPexError as failure:
        code = report(failure, as_json=given.json)
        return NO_SERVER if failure.code.startswith("store_") else code


def store_of(given: argparse.Namespace, environment: Mapping[str, str]) -> str:
    """The address of the store that is meant.

    Raises:
        CallerError: `invalid_argument` for what is none, and for a store that ends with its server.
    """
    flags = {"store": given.store, "config_file": given.config_file}
    url = read_config(environment, {name: text for name, text in flags.items() if text is not None}).store
    if url == "memory":
        raise invalid_argument("--store", "a store that outlives its server", url)
    if scheme_of(url) == "sqlite" and given.action != "import":
        path = read_sqlite(url, environment).path
        if not path.exists():  # it would be made, and there would be nothing in it
            raise invalid_argument("--store", "a file that there is", str(path))
    return url


def _check(given: argparse.Namespace) -> None:
    for name in ("program", "copy"):
        if getattr(given, name, None) is not None:
            check_program(getattr(given, name), _SHOWN[name])
    if getattr(given, "tag", None) is not None:
        check_tag(given.tag, "--tag")
    if getattr(given, "prefix", ""):
        check_prefix(given.prefix, "--prefix")
    for name in ("version", "before", "after"):
        number = getattr(given, name, None)
        if number is not None and not 1 <= number < 10**10:
            raise invalid_argument(_SHOWN[name], "the number of a version, from 1", number)
    if getattr(given, "limit", 0) < 0:
        raise invalid_argument("--limit", "a number from 1", given.limit)


def _read_text(name: str) -> str:
    try:
        body = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return body.decode()
    except OSError as reason:
        raise invalid_argument("FILE", f"a file that can be read ({reason.strerror})", name) from None
    except ValueError:  # no UTF-8, or a name with a NUL
        raise invalid_argument("FILE", "text in UTF-8", name) from None


async def _with_store(url: str, given: argparse.Namespace) -> int:
    try:
        store = open_store(url, timeout_s=TIMEOUT_S)
        await store.open()
    except StoreError as failure:
        raise to_wire_error(failure) from failure
    try:
        return await ACTIONS[given.action](_library(store), given)
    finally:
        with contextlib.suppress(StoreError):  # what was done is done
            await store.close()


def _library(store: Store) -> Library:
    clock = asyncio.get_running_loop().time
    return Library(store, clock=clock, wall_ms=wall_ms, new_id=lambda: secrets.token_hex(8))


# The command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex state",
        description="What is in a store: look at it, take it out, put it in, check and repair it.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_list(actions.add_parser("list", help="programs, one a line", allow_abbrev=False))
    show = actions.add_parser("show", help="a program with its versions, or one of them", allow_abbrev=False)
    _add_program(show)
    _add_version(show)
    diff = actions.add_parser("diff", help="what differs between two versions", allow_abbrev=False)
    _add_program(diff)
    diff.add_argument("before", metavar="FROM", type=int, help="number of a version")
    diff.add_argument("after", metavar="TO", type=int, help="number of another")
    _add_export(actions.add_parser("export", help="a program as a JSON document", allow_abbrev=False))
    _add_import(actions.add_parser("import", help="what an export made", allow_abbrev=False))
    for name, what in (("verify", "look for what is broken"), ("repair", "put right what can be")):
        check = actions.add_parser(name, help=what, allow_abbrev=False)
        check.add_argument("program", metavar="PROGRAM", nargs="?", help="only this one")
    for action in actions.choices.values():
        action.add_argument("--store", metavar="URL", help="sqlite, sqlite:PATH, redis://…, postgresql://…")
        action.add_argument("--config-file", metavar="PATH", help="a settings file")
        action.add_argument("--json", action="store_true", help="for machines")
    return parser


def _add_program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", metavar="PROGRAM", help="its id")


def _add_version(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="N", type=int, help="by its number")
    which.add_argument("--tag", metavar="TAG", help="the version that carries it")


def _add_list(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--prefix", metavar="TEXT", default="", help="only ids that begin so")
    add("--tag", metavar="TAG", help="only programs with a version that carries it")
    add("--module", metavar="NAME", help="only programs of this module")
    add("--sort", choices=("program", "created", "updated"), default="program", help="by what")
    add("--descending", action="store_true", help="the last one first")
    add("--limit", metavar="N", type=int, default=0, help="at most so many (default: all)")


def _add_export(parser: argparse.ArgumentParser) -> None:
    _add_program(parser)
    _add_version(parser)
    parser.add_argument("--all", action="store_true", help="all versions")
    parser.add_argument("--sound-only", action="store_true", help="with --all: leave out what cannot be read")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a document, `-` for stdin")
    parser.add_argument("--program", dest="copy", metavar="ID", help="its id (default: as in the document)")
    parser.add_argument("--note", metavar="TEXT", help="why, for its history")
