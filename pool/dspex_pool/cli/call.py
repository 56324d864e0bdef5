"""`dspex call`: a server started or joined, one call made, its result printed."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from dspex_pool.cli.connecting import add_connect_option, at_some_server, read_address
from dspex_pool.cli.exits import BAD_ARGUMENTS, OK, exits_with_code
from dspex_pool.cli.readable import field_text, meta_text, plain, prediction_fields, report, result_text
from dspex_pool.cli.serve import read_flags
from dspex_pool.client import Client
from dspex_pool.config import flag_of
from dspex_pool.notation import from_json, to_json
from dspex_pool.replies import Outcome
from dspex_pool.settings import find_file, read_config, trace_settings
from dspex_protocol import DSPexError, Meta, error, invalid_argument

EPILOG: Final = """\
PAYLOAD is one JSON value, `-` for JSON on stdin, or KEY=VALUE words that make a map.
A VALUE is JSON where it reads as JSON and text otherwise: k=3 is a number, k='"3"' is text;
`-` is the text on stdin.
Bytes and the like are written as in the output: {"$base64": "AAE="}, {"$date": "2026-01-31"}.

  dspex call system.echo '{"hello": 1}'
  dspex call predict "question -> answer" question="Why?" --module ChainOfThought --lm sim/demo
  dspex call predict "text -> summary" text=- --lm openai/gpt-4o-mini --stream
  dspex call system.info -- --workers 4
  dspex call system.info --connect unix:/run/user/1000/dspex.sock

exit codes: 0 ok, 1 the call failed, 2 bad arguments, 3 no server or no worker
"""
PREDICT: Final = "program.predict"
_WORD: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call as the command line asks for it.

    Attributes:
        lm: Model that is to be the default one; None leaves that to the settings.
        flags: Flags for a server of its own.
        connect: Where a server listens that is to be asked instead, as it was typed.
    """

    method: str
    payload: object
    meta: Meta
    lm: str | None = None
    stream: bool = False
    json: bool = False
    flags: tuple[str, ...] = ()
    connect: str | None = None


@exits_with_code
def run(arguments: list[str]) -> int:
    """Make one call.

    Returns:
        0; 1 when the call failed; 2 for bad arguments; 3 without a server or worker.
    """
    try:
        request = read_request(arguments)
        # Flags are for a server of its own, whatever the environment says.
        address = None if request.flags else read_address(request.connect, os.environ)
        flags = [] if address is not None else server_flags(request.flags)
    except DSPexError as refusal:
        print(f"dspex call: {refusal.message}", file=sys.stderr)
        return BAD_ARGUMENTS
    return at_some_server(
        "call",
        address,
        lambda client: perform(client, request),
        flags=flags,
        lms=_models(request),
        as_json=request.json,
    )


def server_flags(flags: Sequence[str], *, one_worker: bool = True) -> list[str]:
    """Flags for a server of one call: checked here, on stdio, and one worker where nothing says otherwise.

    Args:
        flags: Those that were given.
        one_worker: What is done there has no use for more.

    Raises:
        CallerError: `invalid_argument` naming the flag or variable.
    """
    given = read_flags(list(flags))
    read_config(os.environ, given)
    sources = trace_settings(os.environ, given, find_file(os.environ, given))
    added: list[str] = []
    if one_worker and sources["workers"].kind == "default" and sources["min_workers"].kind == "default":
        added += [flag_of("workers"), "1"]
    if sources["listen"].kind != "flag":  # what a shared server is told is not for this one
        added += [flag_of("listen"), "stdio"]
    return [*added, *flags]


def chosen_server(
    connect: str | None, own_flags: Sequence[str], *, one_worker: bool = True
) -> tuple[str | None, list[str]]:
    """The server that is to be asked: the address of one that listens, or the flags of one to be started.

    Args:
        connect: What --connect says.
        own_flags: What stands after `--`: for a server of its own, whatever the environment says.
        one_worker: As of `server_flags`.

    Raises:
        CallerError: `invalid_argument` for both at once, and naming a flag or variable.
    """
    if connect is not None and own_flags:
        raise error("invalid_argument", "--connect: flags of dspex serve are for a server of its own")
    address = None if own_flags else read_address(connect, os.environ)
    return address, [] if address is not None else server_flags(own_flags, one_worker=one_worker)


def _models(request: Request) -> dict[str, object]:
    return {} if request.lm is None else {"default": {"model": request.lm}}


async def perform(client: Client, request: Request) -> int:
    """Make the call on a connection and print what comes.

    Returns:
        An exit code.
    """
    try:
        if request.stream:
            streamed, outcome = await _stream(client, request)
        else:
            streamed = frozenset[str]()
            outcome = await client.outcome(request.method, request.payload, **request.meta)
    except DSPexError as failure:
        return report(failure, as_json=request.json)
    _print_outcome(outcome, streamed, as_json=request.json)
    return OK


async def _stream(client: Client, request: Request) -> tuple[frozenset[str], Outcome]:
    """Print items as they come; the fields that were seen, and the outcome."""
    stream = client.stream_call(request.method, request.payload, **request.meta)
    tokens = TokenPrinter()
    async for item in stream:
        if request.json:
            print(json.dumps({"item": to_json(item)}), flush=True)
        else:
            tokens.show(item)
    tokens.end()
    return frozenset(tokens.fields), await stream.result()


class TokenPrinter:
    """Prints the items of a stream for a person: tokens without a break, a line for each field.

    Of several completions, those after the first are numbered.

    Status items are for programs; among tokens they would tear the text apart.

    Attributes:
        fields: The fields of which tokens came.
    """

    def __init__(self) -> None:
        self.fields: list[str] = []
        self._open: tuple[object, object, str] | None = None

    def show(self, item: object) -> None:
        """Print one item."""
        match item:
            case {"type": "token", "field": str(name), "text": str(text)}:
                self._enter(cast("dict[str, object]", item), name)
                print(plain(text), end="", flush=True)
            case {"type": "status", "event": "retry", "message": str(message)}:
                self.end()
                print(f"({plain(message)})", file=sys.stderr)
            case {"type": "status"}:
                pass
            case _:
                self.end()
                print(json.dumps(to_json(item), ensure_ascii=False), flush=True)

    def end(self) -> None:
        """End the line that is open."""
        if self._open is not None:
            print(flush=True)
            self._open = None

    def _enter(self, item: dict[str, object], name: str) -> None:
        completion = item.get("completion", 0)
        if self._open != (item.get("predictor"), completion, name):
            self.end()
            self._open = (item.get("predictor"), completion, name)
            self.fields.append(name)
            print(f"{plain(name)} ({completion}): " if completion else f"{plain(name)}: ", end="")


def _print_outcome(outcome: Outcome, streamed: frozenset[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"result": to_json(outcome.value), "meta": outcome.meta}))
        return
    text = _unseen(outcome.value, streamed) if streamed else result_text(outcome.value)
    if text:
        print(text, flush=True)
    if said := meta_text(outcome.meta):
        print(f"({said})", file=sys.stderr)


def _unseen(value: object, streamed: frozenset[str]) -> str:
    """What of a prediction has not been printed token by token."""
    rest = (prediction_fields(value) or {}).items()
    return "\n".join(field_text(name, item) for name, item in rest if name not in streamed)


# The command line


def read_request(arguments: Sequence[str]) -> Request:
    """The call that a command line asks for.

    Raises:
        CallerError: `invalid_argument` naming the word that cannot be.
        SystemExit: argparse's own, for `--help` and unknown options.
    """
    ours, flags = _split(arguments)
    given = _parser().parse_intermixed_args(ours)
    meta = _scalars("--meta", given.meta)
    if given.deadline_ms is not None:
        meta["deadline_ms"] = given.deadline_ms
    predicts = given.method == "predict"
    if not predicts and (given.module or given.adapter or given.config or given.on_violation):
        raise error(
            "invalid_argument",
            "--module, --adapter, --config and --on-violation belong to `dspex call predict`",
        )
    if given.connect is not None and flags:
        raise error("invalid_argument", "--connect: flags of dspex serve are for a server of its own")
    return Request(
        method=PREDICT if predicts else given.method,
        payload=_prediction(given) if predicts else read_payload(given.payload),
        meta=meta,
        lm=given.lm,
        stream=given.stream,
        json=given.json,
        flags=tuple(flags),
        connect=given.connect,
    )


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before `--`, and the server's flags behind it."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:at]), list(arguments[at + 1 :])


def read_payload(words: Sequence[str]) -> object:
    """A payload from its words: JSON, `-`, or KEY=VALUE words.

    Raises:
        CallerError: `invalid_argument` naming the word.
    """
    match words:
        case []:
            return None
        case ["-"]:
            return _json("stdin", sys.stdin.read())
        case [word] if _WORD.fullmatch(word) is None:
            return _json("payload", word)
        case _:
            return _pairs("payload", words)


def _prediction(given: argparse.Namespace) -> dict[str, object]:
    if not given.payload:
        raise error("invalid_argument", 'predict: a signature is missing, such as "question -> answer"')
    signature: str = given.payload[0]
    inputs = read_payload(given.payload[1:])
    payload: dict[str, object] = {
        "spec": {
            "module": given.module or "Predict",
            "signature": _json("signature", signature) if signature.startswith("{") else signature,
        },
        "inputs": {} if inputs is None else inputs,
    }
    if given.config:
        payload["config"] = _pairs("--config", given.config)
    if given.adapter:
        payload["adapter"] = name_or_map("--adapter", given.adapter)
    if given.on_violation:
        payload["on_violation"] = name_or_map("--on-violation", given.on_violation)
    return payload


def name_or_map(where: str, word: str) -> object:
    """A name as it is, or a map in JSON; the server says which there are."""
    return _json(where, word) if word.startswith("{") else word


def _pairs(where: str, words: Sequence[str]) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for word in words:
        parts = _WORD.fullmatch(word)
        if parts is None:
            raise invalid_argument(where, "KEY=VALUE words, or one JSON value alone", word)
        if parts[1] in pairs:
            raise invalid_argument(f"{where}.{parts[1]}", "one value", "a second one")
        pairs[parts[1]] = _value(parts[2])
    return pairs


def _value(text: str) -> object:
    if text == "-":
        return sys.stdin.read()
    try:
        return from_json(json.loads(text))
    except ValueError:
        return text


def _json(where: str, text: str) -> object:
    try:
        return from_json(json.loads(text))
    except ValueError as reason:
        raise invalid_argument(where, f"JSON or KEY=VALUE ({reason})", text) from None


def _scalars(where: str, words: Sequence[str]) -> Meta:
    meta: Meta = {}
    for key, value in cast("Mapping[str, object]", _pairs(where, words)).items():
        if value is not None and not isinstance(value, bool | int | float | str):
            raise invalid_argument(f"{where} {key}", "nil, a boolean, a number or a string", value)
        meta[key] = value
    return meta


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex call",
        usage="dspex call METHOD [PAYLOAD | KEY=VALUE …] [options] [-- flags of dspex serve]\n"
        "       dspex call predict SIGNATURE [KEY=VALUE …] [options] [-- flags of dspex serve]",
        description="Start a server (or join one), make one call, print the result.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("method", metavar="METHOD", help="such as system.info (`dspex schema` lists them), or predict")
    add("payload", metavar="PAYLOAD", nargs="*", help="see below")
    add("--lm", metavar="MODEL", help="the default language model, such as openai/gpt-4o-mini or sim/demo")
    add("--module", metavar="NAME", help="predict: the DSPy module (default: Predict)")
    add("--adapter", metavar="NAME", help="predict: how the prompt is written: chat, json, xml, … or JSON")
    add("--config", metavar="KEY=VALUE", action="append", default=[], help="predict: temperature=0.7, …")
    add("--on-violation", metavar="WHAT", help="""predict: fail, or '{"retry": 2}' to ask again""")
    add("--meta", metavar="KEY=VALUE", action="append", default=[], help="the call's meta: priority=9, …")
    add("--deadline-ms", metavar="MS", type=int, help="time for the whole call (default: the server's)")
    add_connect_option(parser, "a server is started for this call")
    add("--stream", action="store_true", help="print tokens as they come")
    add("--json", action="store_true", help="a JSON object a line: item, result with meta; error on stderr")
    return parser
