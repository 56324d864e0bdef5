"""`dspex lm`: the language models of a server, whether they work, and what they have cost."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import Final, cast

from dspex_pool.cli.call import server_flags
from dspex_pool.cli.connecting import add_connect_option, at_server, at_some_server, read_address
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, OK, exits_with_code
from dspex_pool.cli.readable import plain, print_table
from dspex_pool.client import Client
from dspex_pool.notation import to_json
from dspex_protocol import DSPexError

EPILOG: Final = """\
  dspex lm list --connect unix:/run/user/1000/dspex.sock
  dspex lm test                         all that are configured, one after the other
  dspex lm test default --lm openai/gpt-4o-mini
  dspex lm usage --connect unix:/run/user/1000/dspex.sock

Without a server to join, `list` and `test` start one, with the model of --lm or of the settings.

exit codes: 0 ok, 1 a model does not work or the server refused, 2 bad arguments, 3 no server
"""
_HEADS: Final = {
    "list": ("name", "model", "kind", "usable", "in $/M", "out $/M"),
    "usage": ("what", "name", "requests", "tokens in", "tokens out", "dollars", "unpriced"),
}


@exits_with_code
def run(arguments: list[str]) -> int:
    """List, try, or count.

    Returns:
        0; 1 when a model does not work or the server refuses; 2 for bad arguments; 3 without a server.
    """
    given = _parser().parse_args(arguments)

    async def perform(client: Client) -> int:
        return await _PERFORM[given.action](client, given)

    if given.action == "usage":  # a server that is started for this has spent nothing
        return at_server("lm", given.connect, perform, as_json=given.json)
    try:
        address = read_address(given.connect, os.environ)
        flags = [] if address is not None else server_flags(())
    except DSPexError as refusal:
        print(f"dspex lm: {refusal.message}", file=sys.stderr)
        return BAD_ARGUMENTS
    lms = {} if given.lm is None or address is not None else {"default": {"model": given.lm}}
    return at_some_server("lm", address, perform, flags=flags, lms=lms, as_json=given.json)


async def _list(client: Client, given: argparse.Namespace) -> int:
    rows = await _listed(client)
    if given.json:
        print(json.dumps(to_json(rows), indent=2))
        return OK
    print_table(_HEADS["list"], [_list_row(row) for row in rows])
    return OK


async def _test(client: Client, given: argparse.Namespace) -> int:
    names = given.names or [str(row["name"]) for row in await _listed(client)]
    works = True
    for name in names:
        tried = cast("dict[str, object]", await client.call("lm.test", {"lm": name}))
        works = works and tried["ok"] is True
        print(json.dumps(to_json(tried)) if given.json else _trial_text(tried), flush=True)
    if not names:
        print("dspex lm: no language model is configured", file=sys.stderr)
    return OK if works and names else CALL_FAILED


async def _usage(client: Client, given: argparse.Namespace) -> int:
    spent = cast("dict[str, object]", await client.call("lm.usage", {}))
    if given.json:
        print(json.dumps(to_json(spent), indent=2))
        return OK
    rows = [_usage_row("all", "", cast("dict[str, object]", spent["total"]))]
    for table, word in (("lms", "lm"), ("programs", "program"), ("tenants", "tenant")):
        listed = cast("list[dict[str, object]]", spent[table])
        rows += [_usage_row(word, str(row[word] or "(others)"), row) for row in listed]
    print_table(_HEADS["usage"], rows)
    return OK


_PERFORM: Final = {"list": _list, "test": _test, "usage": _usage}


async def _listed(client: Client) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", await client.call("lm.list", {}))


def _list_row(row: Mapping[str, object]) -> tuple[str, ...]:
    prices = cast("dict[str, object] | None", row["prices"]) or {}
    problem = cast("dict[str, object] | None", row["problem"])
    usable = "yes" if problem is None else str(problem["code"])
    money = [str(prices.get(side, "?")) for side in ("in", "out")]
    return (str(row["name"]), str(row["model"]), str(row["kind"]), usable, *money)


def _trial_text(tried: Mapping[str, object]) -> str:
    about = f"{tried['lm']} ({tried['model']})"
    if tried["ok"] is True:
        return plain(f"{about}: works, {tried['latency_ms']:.0f} ms")
    error = cast("dict[str, object]", tried["error"])
    return plain(f"{about}: {error['code']}: {error['message']}")


def _usage_row(what: str, name: str, row: Mapping[str, object]) -> tuple[str, ...]:
    counts = [str(row[key]) for key in ("lm_calls", "tokens_in", "tokens_out")]
    return (what, name, *counts, f"{row['cost_usd']:.6f}", str(row["unpriced"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex lm",
        description="The language models of a server: which there are, which work, what they have cost.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, what in (
        ("list", "all that are configured"),
        ("test", "try each, or those that are named, with a tiny request"),
        ("usage", "what they have cost since the server started, by model, program and tenant"),
    ):
        action = actions.add_parser(name, help=what, description=what, allow_abbrev=False)
        add_connect_option(
            action, "there is nobody to ask" if name == "usage" else "a server is started for this"
        )
        action.add_argument("--json", action="store_true", help="JSON, for machines")
        if name != "usage":
            action.add_argument("--lm", metavar="MODEL", help="the default model of a server that is started")
        if name == "test":
            action.add_argument("names", metavar="NAME", nargs="*", help="of a configured model")
    return parser
