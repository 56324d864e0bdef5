"""`dspex dataset`: rows of files into the store, and what is known of them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from dspex_pool.cli.call import name_or_map, server_flags
from dspex_pool.cli.connecting import add_connect_option, at_some_server, read_address
from dspex_pool.cli.exits import BAD_ARGUMENTS, OK, exits_with_code
from dspex_pool.cli.readable import print_table
from dspex_pool.client import Client
from dspex_pool.datasets.operations import FORMATS
from dspex_pool.notation import to_json
from dspex_protocol import DSPexError, invalid_argument

EPILOG: Final = """\
  dspex dataset put qa questions.csv --signature "question -> answer"
  dspex dataset append qa more.jsonl
  dspex dataset list
  dspex dataset rows qa --sample 3 --seed 7
  dspex dataset split qa train=0.8 dev=0.2 --seed 7
  dspex dataset rows qa --split train=0.8,dev=0.2 --side dev --seed 7 > dev.jsonl

FILE ends in .csv, .json, .jsonl or .parquet, or --format says what it is; `-` is stdin.
Without a server to join, one is started for this; the store is that of the settings.

exit codes: 0 ok, 1 the server refused, 2 bad arguments, 3 no server
"""
PAGE: Final = 1000


@exits_with_code
def run(arguments: list[str]) -> int:
    """Store, list, show.

    Returns:
        0; 1 when the server refuses; 2 for bad arguments; 3 without a server.
    """
    given = _parser().parse_args(arguments)
    try:
        address = read_address(given.connect, os.environ)
        flags = [] if address is not None else server_flags(())
        payload = _READ[given.action](given)
    except DSPexError as refusal:
        print(f"dspex dataset: {refusal.message}", file=sys.stderr)
        return BAD_ARGUMENTS

    async def perform(client: Client) -> int:
        return await _PERFORM[given.action](client, payload, given)

    return at_some_server("dataset", address, perform, flags=flags, as_json=given.json)


# What is asked for


def _write_payload(given: argparse.Namespace) -> dict[str, object]:
    document = _document(given.file, given.format)
    payload: dict[str, object] = {"dataset": given.dataset, **document, "note": given.note}
    if given.action == "put":
        payload |= _declared(given.signature, given.inputs)
    return {key: value for key, value in payload.items() if value is not None}


def document_of(file: str, format_: str | None, signature: object, inputs: str | None) -> dict[str, object]:
    """The payload that stores the rows of a file as a dataset of the file's name.

    Args:
        file: Its path.
        format_: What it is; else its ending says so.
        signature: That rows must fit; only where there are no `inputs`.
        inputs: Names of input fields, with commas between.

    Raises:
        CallerError: `invalid_argument` for a file that cannot be read, or of no known format.
    """
    declared = _declared(None if inputs else signature, inputs)
    return {"dataset": Path(file).stem, **_document(file, format_), **declared}


def _document(file: str, format_: str | None) -> dict[str, object]:
    known = format_ or Path(file).suffix.lower().removeprefix(".")
    if known not in FORMATS:
        raise invalid_argument("--format", f"one of {', '.join(FORMATS)}, or a file that ends so", file)
    return {"document": _content(file), "format": known}


def _declared(signature: object, inputs: str | None) -> dict[str, object]:
    declared: dict[str, object] = {}
    if inputs:
        declared["input_keys"] = inputs.split(",")
    if signature is not None:
        declared["signature"] = (
            name_or_map("signature", signature) if isinstance(signature, str) else signature
        )
    return declared


def _content(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as reason:
        raise invalid_argument("FILE", f"a file that can be read ({reason.strerror})", file) from None


def _version_payload(given: argparse.Namespace) -> dict[str, object]:
    payload: dict[str, object] = {"dataset": given.dataset}
    return payload if given.version is None else {**payload, "version": given.version}


def _rows_payload(given: argparse.Namespace) -> dict[str, object]:
    return {**_version_payload(given), "select": selection_of(given) or {}}


def selection_of(given: argparse.Namespace) -> dict[str, object] | None:
    """The selection that the options of `add_selection` say; None for all rows.

    Raises:
        CallerError: `invalid_argument` for shares that are none.
    """
    select: dict[str, object] = {}
    if given.sample is not None:
        select["sample"] = given.sample
    if given.split is not None:
        select |= {"split": _shares(given.split.split(",")), "side": given.side}
    elif given.side is not None:
        select["side"] = given.side
    return {**select, "seed": given.seed} if select else None


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which rows are meant."""
    parser.add_argument("--sample", type=int, metavar="N", help="so many rows, drawn by seed")
    parser.add_argument("--split", metavar="A=0.8,B=0.2", help="with --side: the rows of one side")
    parser.add_argument("--side", help="of the split")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same rows")


def _split_payload(given: argparse.Namespace) -> dict[str, object]:
    return {**_version_payload(given), "split": _shares(given.sides), "seed": given.seed}


def _shares(words: Sequence[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for word in words:
        side, _, share = word.partition("=")
        try:
            shares[side] = float(share)
        except ValueError:
            raise invalid_argument("split", "sides such as train=0.8", word) from None
    return shares


def _list_payload(given: argparse.Namespace) -> dict[str, object]:
    return {"prefix": given.prefix}


def _named(given: argparse.Namespace) -> dict[str, object]:
    return {"dataset": given.dataset}


_READ: Final = {
    "put": _write_payload,
    "append": _write_payload,
    "list": _list_payload,
    "show": _named,
    "rows": _rows_payload,
    "split": _split_payload,
    "delete": _named,
}

# What is done


async def _write(client: Client, payload: dict[str, object], given: argparse.Namespace) -> int:
    made = await _ask(client, given.action, payload)
    _print(made, given, f"{made['dataset']} version {made['version']}")
    return OK


async def _list(client: Client, payload: dict[str, object], given: argparse.Namespace) -> int:
    rows = [row async for row in _pages(client, "list", payload, "datasets", "after")]
    if given.json:
        print(json.dumps(to_json(rows), indent=2))
    else:
        print_table(("dataset", "version", "rows", "inputs"), [_cells(row, "dataset") for row in rows])
    return OK


async def _show(client: Client, payload: dict[str, object], given: argparse.Namespace) -> int:
    rows = [row async for row in _pages(client, "versions", payload, "versions", "before")]
    if given.json:
        print(json.dumps(to_json(rows), indent=2))
        return OK
    head = ("dataset", "version", "rows", "inputs", "by", "checksum", "note")
    more = [(str(row["by"]), str(row["checksum"])[:12], str(row["note"] or "")) for row in rows]
    print_table(head, [(*_cells(row, "dataset"), *rest) for row, rest in zip(rows, more, strict=True)])
    return OK


async def _rows(client: Client, payload: dict[str, object], given: argparse.Namespace) -> int:
    async for row in _pages(client, "rows", payload, "rows", "offset"):
        print(json.dumps(to_json(row), ensure_ascii=False))
    return OK


async def _split(client: Client, payload: dict[str, object], given: argparse.Namespace) -> int:
    made = await _ask(client, "split", payload)
    sides = cast("Mapping[str, Mapping[str, object]]", made["sides"])
    _print(made, given, "\n".join(f"{side}  {what['rows']} rows" for side, what in sides.items()))
    return OK


async def _delete(client: Client, payload: dict[str, object], given: argparse.Namespace) -> int:
    await client.call("dataset.delete", payload)
    return OK


_PERFORM: Final = {
    "put": _write,
    "append": _write,
    "list": _list,
    "show": _show,
    "rows": _rows,
    "split": _split,
    "delete": _delete,
}


async def _ask(client: Client, action: str, payload: Mapping[str, object]) -> dict[str, Any]:
    return cast("dict[str, Any]", await client.call(f"dataset.{action}", payload))


async def _pages(
    client: Client, action: str, payload: Mapping[str, object], key: str, cursor: str
) -> AsyncIterator[dict[str, Any]]:
    """The rows of all pages. Those of a dataset are all of the version that the first page is of."""
    asked: dict[str, object] = {**payload, "limit": PAGE}
    while True:
        page = await _ask(client, action, asked)
        for row in page[key]:
            yield row
        if page["next"] is None:
            return
        asked[cursor] = page["next"]
        if action == "rows":
            asked["version"] = page["version"]


def _cells(row: Mapping[str, object], key: str) -> tuple[str, ...]:
    inputs = ", ".join(cast("list[str]", row["input_keys"]))
    return (str(row[key]), str(row["version"]), str(row["rows"]), inputs)


def _print(value: object, given: argparse.Namespace, text: str) -> None:
    print(json.dumps(to_json(value)) if given.json else text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex dataset",
        description="Datasets: rows of fields in the store, in versions that never change.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, what in (
        ("put", "store the rows of a file as the next version"),
        ("append", "store the newest version's rows with those of a file"),
        ("list", "the datasets"),
        ("show", "the versions of one"),
        ("rows", "print rows, one JSON object a line"),
        ("split", "how many rows each side of a split has"),
        ("delete", "forget one with all its versions"),
    ):
        _add_arguments(actions.add_parser(name, help=what, description=what, allow_abbrev=False), name)
    return parser


def _add_arguments(action: argparse.ArgumentParser, name: str) -> None:
    add_connect_option(action, "a server is started for this")
    action.add_argument("--json", action="store_true", help="JSON, for machines")
    if name == "list":
        action.add_argument("--prefix", default="", help="only ids that begin so")
        return
    action.add_argument("dataset", metavar="ID", help="of a dataset")
    if name in ("put", "append"):
        action.add_argument("file", metavar="FILE", help="CSV, JSON, JSON lines or Parquet")
        action.add_argument("--format", choices=FORMATS, help="what the file is")
        action.add_argument("--note", help="why, for people who read its history")
    if name == "put":
        action.add_argument("--inputs", metavar="A,B", help="fields that a program is given")
        action.add_argument("--signature", help="that every row must fit, such as 'question -> answer'")
    if name in ("rows", "split"):
        action.add_argument("--version", type=int, help="a version; else the newest")
    if name == "rows":
        add_selection(action)
    if name == "split":
        action.add_argument("--seed", type=int, default=0, help="the same seed, the same rows")
        action.add_argument("sides", metavar="SIDE=SHARE", nargs="+", help="such as train=0.8")
