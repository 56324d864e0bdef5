"""The kinds of jobs that a worker can run, by name; plug-ins add theirs as `KINDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dspex_protocol.errors import error
from dspex_protocol.records import describe

from ..finetuning.kind import FINETUNE
from ..optimizers.kind import OPTIMIZE
from ..synthesis.kind import SYNTHESIZE
from .kind import Kind

_ROWS: Final[tuple[Kind, ...]] = (FINETUNE, OPTIMIZE, SYNTHESIZE)

KINDS: Final[dict[str, Kind]] = {row.name: row for row in _ROWS}


def find_kind(kinds: Mapping[str, Kind], name: str) -> Kind:
    """Look a kind up.

    Raises:
        CallerError: `invalid_argument`, naming those that exist.
    """
    kind = kinds.get(name)
    if kind is None:
        known = ", ".join(sorted(kinds)) or "none"
        raise error(
            "invalid_argument",
            f"kind: expected one of the kinds of jobs that workers know ({known}), got {name[:64]!r}",
            details={"field": "kind", "expected": f"one of: {known}", "got": f"string {name[:64]!r}"},
        )
    return kind


def describe_kinds(kinds: Mapping[str, Kind]) -> dict[str, object]:
    """Every kind with the fields of its request, as plain values."""
    return {
        name: {"doc": kind.doc, "request": None if kind.request is None else describe(kind.request)}
        for name, kind in kinds.items()
    }
