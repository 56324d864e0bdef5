"""`dspex graph`: what a program is made of, drawn or as data."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from dspex_pool.cli.call import server_flags
from dspex_pool.cli.connecting import add_connect_option, read_address, report_no_server
from dspex_pool.cli.exits import BAD_ARGUMENTS, NO_SERVER, OK, exits_with_code
from dspex_pool.cli.readable import plain, report
from dspex_pool.client import Client
from dspex_pool.config import flag_of
from dspex_pool.library import check_program, check_tag, read_document
from dspex_pool.library.documents import FORMAT, Document
from dspex_pool.notation import from_json, to_json
from dspex_protocol import DSPexError, Meta, decode_value, invalid_argument

EPILOG: Final = """\
PROGRAM is the id of a stored program, or a file: a spec as JSON ({"module", "signature",
"options"}), or a document of `dspex state export`. Where there is a file of that name it is
the file; `-` is stdin. Nothing of a file is stored. Host functions need not be there.

  dspex graph qa --format svg > qa.svg
  dspex graph qa --version 3 --connect unix:/run/user/1000/dspex.sock
  dspex graph agent.json --format mermaid
  dspex graph agent.json -- --plugins my_modules

exit codes: 0 ok, 1 the program cannot be drawn, 2 bad arguments, 3 no server or no worker
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be drawn.

    Attributes:
        meta: Names a stored program.
        payload: Has its format, or a spec besides.
        is_stored: Whether a store is asked for it.
    """

    meta: Meta = field(default_factory=dict[str, "bool | int | float | str | None"])
    payload: Mapping[str, object]
    is_stored: bool


@exits_with_code
def run(arguments: list[str]) -> int:
    """Print the graph of a program.

    Returns:
        0; 1 when it has none; 2 for bad arguments; 3 without a server or worker.
    """
    at = arguments.index("--") if "--" in arguments else len(arguments)
    given, flags = _parser().parse_args(arguments[:at]), arguments[at + 1 :]
    try:
        wanted = read_wanted(given)
        address = None if flags or not wanted.is_stored else read_address(given.connect, os.environ)
        if given.connect is not None and address is None:
            raise invalid_argument("--connect", "nothing beside a file or flags of dspex serve", "an address")
        own = [] if address is not None else _flags(wanted, flags)
    except DSPexError as refusal:
        print(f"dspex graph: {plain(refusal.message)}", file=sys.stderr)
        return BAD_ARGUMENTS
    return asyncio.run(_draw(wanted, address, own))


def _flags(wanted: Wanted, flags: Sequence[str]) -> list[str]:
    # For a file the user's store need not even be opened.
    return server_flags(flags) + ([] if wanted.is_stored else [flag_of("store"), "memory"])


async def _draw(wanted: Wanted, address: str | None, flags: Sequence[str]) -> int:
    joined = Client.start(flags=flags) if address is None else Client.connect(address)
    try:
        async with joined as client:
            _print(await client.call("program.graph", wanted.payload, **wanted.meta))
    except DSPexError as failure:
        return report(failure, as_json=False)
    except BrokenPipeError:  # the reader of stdout is gone, and not the server
        raise
    except OSError as reason:  # among them TimeoutError
        if address is not None:
            return report_no_server("graph", address, reason)
        print(f"dspex graph: no server: {reason or 'it did not answer in time'}", file=sys.stderr)
        return NO_SERVER
    return OK


def _print(answer: object) -> None:
    match answer:
        case {"text": str(text)}:
            sys.stdout.buffer.write(text.encode())  # UTF-8, whatever the terminal's encoding
        case _:
            print(json.dumps(to_json(answer), indent=2))


# The command line


def read_wanted(given: argparse.Namespace) -> Wanted:
    """What a command line asks for.

    Raises:
        CallerError: `invalid_argument` naming the word.
    """
    if given.tag is not None:
        check_tag(given.tag, "--tag")
    drawn = {"format": "data" if given.format == "json" else given.format}
    text = _text_of(given.program)
    if text is not None:
        return Wanted(payload=_content(text, given) | drawn, is_stored=False)
    check_program(given.program, "PROGRAM")
    named: Meta = {"program": given.program, "version": given.version, "tag": given.tag}
    meta: Meta = {name: value for name, value in named.items() if value is not None}
    return Wanted(meta=meta, payload=drawn, is_stored=True)


def _text_of(name: str) -> str | None:
    """The text of a file; None where there is none of that name."""
    try:
        if name == "-":
            return sys.stdin.read()
        return Path(name).read_text(encoding="utf-8") if Path(name).is_file() else None
    except OSError as reason:
        raise invalid_argument("PROGRAM", f"a file that can be read ({reason.strerror})", name) from None
    except ValueError:  # no UTF-8, or a name with a NUL
        raise invalid_argument("PROGRAM", "a file of text in UTF-8", name) from None


def _content(text: str, given: argparse.Namespace) -> dict[str, object]:
    """Spec and state that a file holds."""
    try:
        value: object = json.loads(text)
    except ValueError as reason:
        raise invalid_argument("PROGRAM", f"a file of JSON ({reason})", given.program) from None
    if not isinstance(value, dict):
        raise invalid_argument("PROGRAM", "a spec or a document: a JSON object", value)
    value = cast("dict[str, object]", value)
    if value.get("format") == FORMAT:
        return _newest(read_document(text), given)
    for option in ("version", "tag"):
        if getattr(given, option) is not None:
            raise invalid_argument(f"--{option}", "nothing beside a spec, which has no versions", "one")
    return {"spec": from_json(value)}


def _newest(document: Document, given: argparse.Namespace) -> dict[str, object]:
    """Of a document the version that is named, else the newest."""
    number = given.version
    if given.tag is not None:
        number = document.tags.get(given.tag)
        if number is None:
            raise invalid_argument("--tag", f"one of {', '.join(document.tags) or 'none'}", given.tag)
    versions = {one.version: one for one in document.versions}
    if number is not None and number not in versions:
        raise invalid_argument("--version", f"one of {', '.join(map(str, versions))}", number)
    chosen = versions[max(versions) if number is None else number]
    content = cast("Mapping[str, object]", decode_value(chosen.content))
    return {key: content[key] for key in ("spec", "state") if key in content}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex graph",
        description="What a program is made of: modules, predictors, tools, rewards, language models.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("program", metavar="PROGRAM", help="its id, or a file, or `-` for stdin")
    parser.add_argument(
        "--format", choices=("mermaid", "svg", "json"), default="mermaid", help="default: mermaid"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="N", type=int, help="which version, by its number")
    which.add_argument("--tag", metavar="TAG", help="which version, by its tag")
    add_connect_option(parser, "a server of its own, which opens the store of the settings")
    return parser
