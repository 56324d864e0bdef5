"""Rows from wherever they come, checked and cut into parts, as the supervisor stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from dspex_protocol.records import Doc, Length

from ..refusals import refusal
from .checking import checked_row, declared
from .cutting import MAX_ROWS, Parts
from .files import read_rows
from .loaders import load_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The rows that these follow.

    Attributes:
        chain: Over them, see `cutting.Parts`.
        input_keys, signature: As they were declared; None where these rows are the first.
    """

    chain: bytes
    input_keys: list[str] | None
    signature: dict[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows:
    """Rows to be read."""

    after: Before
    rows: Annotated[list[object], Length(0, MAX_ROWS)] | None = None
    document: Annotated[object, Doc("text or bytes of a file")] = None
    format: Literal["csv", "json", "jsonl", "parquet"] | None = None
    loader: dict[str, object] | None = None
    input_keys: list[str] | None = None
    signature: object = None


def read_and_cut(what: ReadRows) -> dict[str, object]:
    """Parts, and what is known of their rows: see `dspex_pool.datasets.methods.ReadRows`.

    Raises:
        DSPexError: `invalid_argument` naming row and field, and others of `files` and `loaders`.
    """
    rows, keys = _source(what)
    if what.after.input_keys is not None:
        _check_not_declared(what)
        rules = declared(what.after.input_keys, what.after.signature)
    else:
        rules = declared(what.input_keys or keys, what.signature)
    path = "rows" if what.rows is not None else "document"
    parts = Parts(what.after.chain)
    for number, row in enumerate(rows):
        where = f"{path}[{number}]"
        parts.add(checked_row(row, rules, where, is_text=what.format is not None), where)
    return {
        "parts": parts.all(),
        "fields": list(parts.fields),
        "input_keys": rules.input_keys,
        "signature": rules.signature,
        "chain": parts.chain,
    }


def _source(what: ReadRows) -> tuple[list[object], list[str] | None]:
    """The rows, and the input keys that a loader names."""
    given = [name for name in ("rows", "document", "loader") if getattr(what, name) is not None]
    if len(given) != 1:
        raise refusal("rows", "one of rows, document and loader", " and ".join(given) or "none of them")
    if (what.format is None) != (what.document is None):
        raise refusal("format", "the format of a document, and none without one", repr(what.format))
    if what.rows is not None:
        return what.rows, None
    if what.format is not None:
        return list(read_rows(what.document, what.format)), None
    assert what.loader is not None
    rows, keys = load_rows(what.loader)
    return list(rows), keys or None


def _check_not_declared(what: ReadRows) -> None:
    for name in ("input_keys", "signature"):
        if getattr(what, name) is not None:
            raise refusal(
                name, "nothing: what follows other rows is declared as they were", "another declaration"
            )
