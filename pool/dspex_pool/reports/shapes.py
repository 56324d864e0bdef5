"""SHAPES: what a report reads of records, leniently: an odd record is shown as far as it can be.

Rows stay as they are; a few functions say what is in one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from dspex_protocol import Tagged

from .figures import number_of

Record = Mapping[str, object]


def map_of(value: object) -> Record:
    """A map; an empty one for anything else."""
    return cast("Record", value) if is_map(value) else {}


def is_map(value: object) -> bool:
    """Whether it is one."""
    return isinstance(value, dict)


def is_list(value: object) -> bool:
    """Whether it is one."""
    return isinstance(value, list | tuple)


def list_of(value: object) -> Sequence[object]:
    """A list; an empty one for anything else."""
    return cast("Sequence[object]", value) if is_list(value) else ()


def maps_of(value: object) -> list[Record]:
    """The maps in a list."""
    return [map_of(item) for item in list_of(value) if is_map(item)]


def text_of(value: object) -> str:
    """A text, a number or a truth as text; nothing for nil and what has parts."""
    return str(value) if isinstance(value, str | int | float) else ""


def versioned(name: object, version: object) -> str:
    """`qa version 3`, or what there is of it."""
    said = text_of(name)
    return f"{said} version {version}" if said and text_of(version) else said


def moment_of(value: object) -> str:
    """A moment as text, to the second: dates of the protocol, or what was written."""
    iso = getattr(value, "isoformat", None)
    if iso is None:
        return text_of(value)
    said = str(iso(sep=" ", timespec="seconds")) if hasattr(value, "hour") else str(iso())
    return said.replace("+00:00", " UTC")


# Rows


def legible(row: Record) -> Record:
    """A row for a table: its prediction as a map of fields, without what it is tagged with."""
    match row.get("prediction"):
        case Tagged(tag="prediction", value={"fields": dict()} as parts):
            return {**row, "prediction": map_of(parts)["fields"]}
        case _:
            return row


def score_of(row: Record, metric: str) -> float | None:
    """The score that a metric gave a row; None where it gave none."""
    return number_of(map_of(map_of(row.get("scores")).get(metric)).get("score"))


def error_code_of(row: Record) -> str:
    """Why it has no prediction; empty where it has one."""
    return text_of(map_of(row.get("error")).get("code"))
