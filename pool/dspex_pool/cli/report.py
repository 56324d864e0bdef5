"""`dspex report`: an evaluation, a comparison, a job or an experiment as a page, Markdown, JSON or CSV."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from dspex_pool.cli.call import server_flags
from dspex_pool.cli.connecting import add_connect_option, at_some_server, read_address
from dspex_pool.cli.exits import BAD_ARGUMENTS, OK, exits_with_code
from dspex_pool.client import Client
from dspex_pool.reports.operations import METHOD
from dspex_pool.reports.subjects import FORMATS
from dspex_protocol import DSPexError, invalid_argument

EPILOG: Final = """\
  dspex report qa-3 -o qa-3.html
  dspex report qa-3 qa-4 -o better.html
  dspex report qa-3 qa-4 --format markdown >> "$GITHUB_STEP_SUMMARY"
  dspex report --job job-01a21a80837e-ed6ad3014a6b -o optimized.html
  dspex report --experiment demos --format csv > runs.csv

One EVALUATION is told of with its rows; of several each is held against each, row by row.
The format is that of --format, else that of FILE's ending (.html, .md, .json, .csv), else markdown.
Without a server to join, one is started for this; the store is that of the settings.

exit codes: 0 ok, 1 the server refused, 2 bad arguments, 3 no server
"""
ENDINGS: Final = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json", ".csv": "csv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be made, and where it goes.

    Attributes:
        payload: Of the call.
        file: None for stdout.
    """

    payload: dict[str, object]
    file: Path | None


@exits_with_code
def run(arguments: list[str]) -> int:
    """Make a report.

    Returns:
        0; 1 when the server refuses; 2 for bad arguments; 3 without a server.
    """
    given = _parser().parse_args(arguments)
    try:
        wanted = read_wanted(given)
        address = read_address(given.connect, os.environ)
        flags = [] if address is not None else server_flags(())
    except DSPexError as refusal:
        print(f"dspex report: {refusal.message}", file=sys.stderr)
        return BAD_ARGUMENTS
    return at_some_server("report", address, lambda client: _write(client, wanted), flags=flags)


def read_wanted(given: argparse.Namespace) -> Wanted:
    """What the arguments ask for.

    Raises:
        CallerError: `invalid_argument` naming the one that cannot be.
    """
    file = None if given.output in (None, "-") else Path(given.output)
    named = None if file is None else ENDINGS.get(file.suffix.lower())
    if file is not None and named is None and given.format is None:
        raise invalid_argument(
            "--format", f"one of {', '.join(FORMATS)}, or a FILE that ends so", given.output
        )
    named_ways = [way for way in (given.evaluations, given.job, given.experiment) if way]
    if len(named_ways) != 1:
        raise invalid_argument("EVALUATION", "ids of evaluations, --job or --experiment", given.evaluations)
    return Wanted(payload={"format": given.format or named or "markdown", **_subject(given)}, file=file)


def _subject(given: argparse.Namespace) -> dict[str, object]:
    for way in ("job", "experiment"):
        if getattr(given, way) is not None:
            return {way: getattr(given, way)}
    if len(given.evaluations) == 1:
        return {"evaluation": given.evaluations[0]}
    return {"comparison": {"evaluations": given.evaluations, "seed": given.seed}}


async def _write(client: Client, wanted: Wanted) -> int:
    if wanted.file is None:
        async for piece in _pieces(client, wanted):
            sys.stdout.buffer.write(piece)  # UTF-8, whatever the terminal's encoding
        return OK
    try:
        size = await _into_file(client, wanted, wanted.file)
    except OSError as reason:
        print(f"dspex report: {wanted.file}: {reason.strerror}", file=sys.stderr)
        return BAD_ARGUMENTS
    print(f"{wanted.file} ({size:,} bytes)", file=sys.stderr)
    return OK


async def _into_file(client: Client, wanted: Wanted, file: Path) -> int:
    with replacing(file) as output:
        return sum([output.write(piece) async for piece in _pieces(client, wanted)])


@contextmanager
def replacing(file: Path) -> Generator[BinaryIO]:
    """Write beside a file, and then in its place: a report that breaks off replaces none."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as output:
            yield output
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o666 & ~mask)  # as a file that was simply opened
        beside.replace(file)
    except BaseException:
        beside.unlink()
        raise


async def _pieces(client: Client, wanted: Wanted) -> AsyncIterator[bytes]:
    stream = client.stream_call(METHOD, wanted.payload)
    async for item in stream:
        yield cast("dict[str, str]", item)["text"].encode()
    await stream.result()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex report",
        description="What came of evaluations, optimizers and experiments, for people to read.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("evaluations", metavar="EVALUATION", nargs="*", help="id of an evaluation")
    parser.add_argument("--job", metavar="ID", help="a job and its events, such as that of an optimizer")
    parser.add_argument("--experiment", metavar="ID", help="an experiment and its runs")
    parser.add_argument("--format", choices=FORMATS, help="of the report")
    parser.add_argument("-o", "--output", metavar="FILE", help="where it goes; else stdout")
    parser.add_argument(
        "--seed", type=int, default=0, help="of a comparison: the same seed, the same figures"
    )
    add_connect_option(parser, "a server is started for this")
    return parser
