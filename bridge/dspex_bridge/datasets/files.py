"""Rows out of files: CSV, JSON, JSON lines, Parquet. What is wrong is told with its line."""

from __future__ import annotations

import csv
import importlib
import io
import sys
from typing import Any, Final, cast

import orjson

from dspex_protocol.errors import invalid_argument

from ..refusals import refusal

MAX_CELL_CHARACTERS: Final = 8 << 20
"""Of one CSV cell; Python's own limit of 131,072 is one for memory of long ago."""

MAX_UNPACKED_BYTES: Final = 256 << 20
"""Of a Parquet file's columns: a small file may unpack to more than a worker has."""

BATCH_ROWS: Final = 1024
"""Of a Parquet file that are made into Python's values at once."""

Row = dict[str, object]


def read_rows(document: object, format_: str) -> list[Row]:
    """The rows of a file.

    Args:
        document: Its content; text where the format is text.
        format_: `csv`, `json`, `jsonl` or `parquet`.

    Raises:
        CallerError: `invalid_argument` naming `document` and the line, or `format` where Parquet
            cannot be read for want of a package.
    """
    if format_ == "parquet":
        if not isinstance(document, bytes):
            raise invalid_argument("document", "the bytes of a Parquet file", document)
        return _from_parquet(document)
    return _READERS[format_](_text_of(document))


def _text_of(document: object) -> str:
    if isinstance(document, bytes):
        try:
            return document.decode("utf-8-sig")
        except UnicodeDecodeError as reason:
            raise refusal("document", "UTF-8", f"a byte that is none, at {reason.start}") from None
    if isinstance(document, str):
        return document.removeprefix("\ufeff")
    raise invalid_argument("document", "text or bytes", document)


def _from_csv(text: str) -> list[Row]:
    csv.field_size_limit(min(MAX_CELL_CHARACTERS, sys.maxsize))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next(reader, [])
        _check_names(names)
        return [_csv_row(names, cells, reader.line_num) for cells in reader if cells]
    except csv.Error as reason:
        raise refusal("document", "CSV", f"{reason} in line {reader.line_num}") from None


def _check_names(names: list[str]) -> None:
    if not names or not all(names) or len(set(names)) != len(names):
        shown = ", ".join(names)[:200] or "nothing"
        raise refusal("document", "a first line with the name of each column, no two alike", shown)


def _csv_row(names: list[str], cells: list[str], line: int) -> Row:
    if len(cells) != len(names):
        raise refusal("document", f"{len(names)} cells in line {line}", f"{len(cells)}")
    return dict(zip(names, cells, strict=True))


def _from_json(text: str) -> list[Row]:
    found = _json(text, "document")
    if not isinstance(found, list):
        raise refusal("document", "a JSON array of objects", type(found).__name__)
    rows = cast("list[object]", found)
    return [_object(row, f"document[{number}]") for number, row in enumerate(rows)]


def _from_lines(text: str) -> list[Row]:
    # Not `splitlines`: a string may hold U+2028, which is no end of a line in JSON lines.
    lines = enumerate(text.split("\n"), start=1)
    return [
        _object(_json(line, f"document line {number}"), f"document line {number}")
        for number, line in lines
        if line.strip()
    ]


def _json(text: str, where: str) -> object:
    try:
        return cast("object", orjson.loads(text))
    except (orjson.JSONDecodeError, RecursionError) as reason:
        raise refusal(where, "JSON", str(reason)[:200]) from None


def _object(row: object, where: str) -> Row:
    if not isinstance(row, dict):
        raise refusal(where, "a JSON object", type(row).__name__)
    return cast("Row", row)


_READERS: Final = {"csv": _from_csv, "json": _from_json, "jsonl": _from_lines}


def _from_parquet(document: bytes) -> list[Row]:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise refusal("format", "one that is installed: pip install 'dspex[parquet]'", "parquet") from None
    try:
        file: Any = parquet.ParquetFile(arrow.BufferReader(document))
        _check_size(file.metadata)
        return [row for batch in file.iter_batches(batch_size=BATCH_ROWS) for row in batch.to_pylist()]
    except (arrow.ArrowException, OSError, ValueError) as reason:
        raise refusal("document", "a Parquet file", str(reason)[:200]) from None


def _check_size(metadata: Any) -> None:
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if size > MAX_UNPACKED_BYTES:
        raise refusal("document", f"at most {MAX_UNPACKED_BYTES} bytes unpacked", f"{size}")
