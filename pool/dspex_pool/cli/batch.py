"""`dspex batch`: a program over the rows of a file, one JSON object a line, and the results in that form."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO, cast

from dspex_pool.batch_payload import METHOD
from dspex_pool.batch_plan import MAX_ROWS
from dspex_pool.cli.call import name_or_map, read_payload, server_flags
from dspex_pool.cli.connecting import add_connect_option, at_some_server, read_address
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, OK, exits_with_code
from dspex_pool.cli.readable import meta_text, prediction_fields, report
from dspex_pool.client import Client
from dspex_pool.notation import from_json, to_json
from dspex_protocol import DSPexError, Meta, error, invalid_argument

EPILOG: Final = """\
FILE has one JSON object a line, the inputs of a row; `-` is stdin. Each result is a line on stdout,
in the order of the rows: {"index": 0, "fields": {…}} or {"index": 0, "error": {…}}.

  dspex batch "question -> answer" questions.jsonl --lm sim/demo > answers.jsonl
  dspex batch --program qa questions.jsonl --connect unix:/run/user/1000/dspex.sock
  dspex batch "text -> summary" - --module ChainOfThought --max-errors 10 -- --workers 4

exit codes: 0 every row has a prediction, 1 rows failed or the call did, 2 bad arguments, 3 no server
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A batch as the command line asks for it.

    Attributes:
        payload: Of the call, without the rows.
        file: Where the rows are.
        lm: Model that is to be the default one.
        flags: Flags for a server of its own.
        connect: Where a server listens that is to be asked instead.
    """

    payload: dict[str, object]
    meta: Meta
    file: str
    lm: str | None = None
    flags: tuple[str, ...] = ()
    connect: str | None = None


@exits_with_code
def run(arguments: list[str]) -> int:
    """Run a batch.

    Returns:
        0 when every row has a prediction; 1 when not; 2 for bad arguments; 3 without a server.
    """
    try:
        request = read_request(arguments)
        address = None if request.flags else read_address(request.connect, os.environ)
        flags = [] if address is not None else server_flags(request.flags, one_worker=False)
        rows = read_rows(request.file)
    except DSPexError as refusal:
        print(f"dspex batch: {refusal.message}", file=sys.stderr)
        return BAD_ARGUMENTS
    lms: dict[str, object] = {} if request.lm is None else {"default": {"model": request.lm}}
    return at_some_server(
        "batch", address, lambda client: perform(client, request, rows), flags=flags, lms=lms
    )


async def perform(client: Client, request: Request, rows: list[dict[str, object]]) -> int:
    """Run the rows and print what comes of them.

    Returns:
        An exit code.
    """
    stream = client.stream_call(METHOD, {**request.payload, "inputs": rows}, **request.meta)
    printed = Results(len(rows))
    async for item in stream:
        printed.take(cast("dict[str, Any]", item))
    printed.end()
    try:
        outcome = await stream.result()
    except DSPexError as failure:
        return report(failure, as_json=False)
    summary = cast("dict[str, Any]", outcome.value)
    said = f"{summary['done']} done, {summary['failed']} failed, {summary['left']} left"
    print(f"{said} ({meta_text(outcome.meta)})", file=sys.stderr)
    return OK if summary["done"] == summary["rows"] else CALL_FAILED


@dataclass(slots=True)
class Results:
    """Prints results in the order of the rows, and how far it is where somebody looks.

    Attributes:
        rows: How many there are.
        output: Where results go.
        progress: Where it says how far it is, when that is a terminal.
    """

    rows: int
    output: TextIO = field(default_factory=lambda: sys.stdout)
    progress: TextIO = field(default_factory=lambda: sys.stderr)
    _held: dict[int, str] = field(default_factory=dict[int, str])
    _next: int = 0
    _came: int = 0
    _failed: int = 0

    def take(self, item: dict[str, Any]) -> None:
        """A row has ended: print it, and those that waited for it."""
        self._came += 1
        self._failed += "error" in item
        self._held[item["index"]] = result_line(item)
        while self._next in self._held:
            print(self._held.pop(self._next), file=self.output, flush=True)
            self._next += 1
        self._tell()

    def end(self) -> None:
        """No more come: what waited for rows that are missing is printed too."""
        for index in sorted(self._held):
            print(self._held[index], file=self.output)
        self.output.flush()
        if self._came and self.progress.isatty():
            print(file=self.progress)

    def _tell(self) -> None:
        if self.progress.isatty():
            print(
                f"\r{self._came} of {self.rows}, {self._failed} failed",
                end="",
                file=self.progress,
                flush=True,
            )


def result_line(item: dict[str, Any]) -> str:
    """One row's outcome as JSON."""
    if "error" in item:
        return json.dumps({"index": item["index"], "error": to_json(item["error"])})
    fields = prediction_fields(item["prediction"])
    return json.dumps({"index": item["index"], "fields": to_json(fields)})


# What is asked for


def read_rows(file: str) -> list[dict[str, object]]:
    """The rows of a file; empty lines are none.

    Raises:
        CallerError: `invalid_argument` naming the line that is no JSON object, or the file.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise error("invalid_argument", f"{file}: it cannot be read: {reason}") from None
    rows = list(_rows_in(text, "stdin" if file == "-" else file))
    if len(rows) > MAX_ROWS:
        raise invalid_argument(file, f"at most {MAX_ROWS} rows", f"{len(rows)} rows")
    return rows


def _rows_in(text: str, name: str) -> Iterator[dict[str, object]]:
    # Not `splitlines`: text in JSON may hold what Unicode takes for an end of line.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = from_json(json.loads(line))
        except ValueError as reason:
            raise error("invalid_argument", f"{name}, line {number}: no JSON ({reason})") from None
        if not isinstance(row, dict):
            raise invalid_argument(f"{name}, line {number}", "a JSON object, the inputs of a row", row)
        yield cast("dict[str, object]", row)


def read_request(arguments: Sequence[str]) -> Request:
    """The batch that a command line asks for.

    Raises:
        CallerError: `invalid_argument` naming the word that cannot be.
        SystemExit: argparse's own, for `--help` and unknown options.
    """
    at = arguments.index("--") if "--" in arguments else len(arguments)
    given = _parser().parse_intermixed_args(list(arguments[:at]))
    flags = tuple(arguments[at + 1 :])
    if given.connect is not None and flags:
        raise error("invalid_argument", "--connect: flags of dspex serve are for a server of its own")
    signature, file = _words(given)
    return Request(
        payload=_payload(given, signature),
        meta=_meta(given),
        file=file,
        lm=given.lm,
        flags=flags,
        connect=given.connect,
    )


def _words(given: argparse.Namespace) -> tuple[str | None, str]:
    words: list[str] = given.words
    if given.program is not None and len(words) == 1:
        return None, words[0]
    if given.program is None and len(words) == 2:
        return words[0], words[1]
    expected = "FILE, since --program has a signature" if given.program else "SIGNATURE and FILE"
    raise error("invalid_argument", f"expected {expected}, got {len(words)} words")


def _payload(given: argparse.Namespace, signature: str | None) -> dict[str, object]:
    payload: dict[str, object] = {}
    if signature is not None:
        read = name_or_map("signature", signature)
        payload["spec"] = {"module": given.module or "Predict", "signature": read}
    elif given.module is not None:
        raise error("invalid_argument", "--module: the program of --program has its module")
    for key in ("parallelism", "max_errors"):
        if getattr(given, key) is not None:
            payload[key] = getattr(given, key)
    for key in ("adapter", "on_violation"):
        if getattr(given, key) is not None:
            payload[key] = name_or_map(f"--{key.replace('_', '-')}", getattr(given, key))
    if given.config:
        payload["config"] = read_payload(given.config)
    return payload


def _meta(given: argparse.Namespace) -> Meta:
    wanted: Meta = {
        key: getattr(given, key) for key in ("program", "version", "tag", "tenant", "deadline_ms")
    }
    return {key: value for key, value in wanted.items() if value is not None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex batch",
        usage="dspex batch SIGNATURE FILE [options] [-- flags of dspex serve]\n"
        "       dspex batch --program ID FILE [options] [-- flags of dspex serve]",
        description="Start a server (or join one) and run a program on every row of a file.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("words", metavar="[SIGNATURE] FILE", nargs="*", help="see below")
    add("--program", metavar="ID", help="a stored program, instead of a signature")
    add("--version", metavar="N", type=int, help="its version (default: the newest)")
    add("--tag", metavar="TAG", help="the version with that tag")
    add("--module", metavar="NAME", help="the DSPy module (default: Predict)")
    add("--lm", metavar="MODEL", help="the default language model, such as openai/gpt-4o-mini or sim/demo")
    add("--adapter", metavar="NAME", help="how the prompt is written: chat, json, xml, … or JSON")
    add("--on-violation", metavar="NAME", help="what follows from an answer that does not fit, or JSON")
    add("--config", metavar="KEY=VALUE", action="append", default=[], help="temperature=0.7, …")
    add("--parallelism", metavar="N", type=int, help="rows at once (default: the workers' places)")
    add("--max-errors", metavar="N", type=int, help="begin no more rows after so many have failed")
    add("--tenant", metavar="NAME", help="on whose behalf")
    add(
        "--deadline-ms", metavar="MS", type=int, default=86_400_000, help="time for all rows (default: a day)"
    )
    add_connect_option(parser, "a server is started for this batch")
    return parser
