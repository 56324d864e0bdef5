"""The payload of `batch.run`, and those of its rows. What is passed on is not read here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from dspex_protocol import WireError, decode_value, encode_value, invalid_argument
from dspex_protocol.limits import MAX_DEADLINE_MS
from dspex_protocol.records import Doc, Length, Range, read
from dspex_protocol.slices import cut_array, cut_map, is_array, is_map, join_map

METHOD: Final = "batch.run"
MAX_ROWS: Final = 100_000
"""Rows of one batch. What they may hold in all, the frame's limit says."""

MAX_PARALLELISM: Final = 1024
DEFAULT_PARALLELISM: Final = 256
"""At most, where the call does not say: beyond that it is memory that is spent, not time that is saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBatch:
    """A program over many inputs; whatever else is given goes to each prediction, as in `program.predict`."""

    inputs: Annotated[list[dict[str, object]], Length(0, MAX_ROWS), Doc("the inputs of each row")]
    parallelism: (
        Annotated[int, Range(1, MAX_PARALLELISM), Doc("rows at once; default: the workers' places")] | None
    ) = None
    max_errors: Annotated[int, Range(1), Doc("begin no more rows after so many have failed")] | None = None
    row_deadline_ms: (
        Annotated[int, Range(1, MAX_DEADLINE_MS), Doc("time of one row, from when it is begun")] | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `RunBatch` says besides the rows."""

    parallelism: Annotated[int, Range(1, MAX_PARALLELISM)] | None = None
    max_errors: Annotated[int, Range(1)] | None = None
    row_deadline_ms: Annotated[int, Range(1, MAX_DEADLINE_MS)] | None = None


OWN: Final = ("parallelism", "max_errors", "row_deadline_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A batch as it was asked for.

    Attributes:
        inputs: Of each row, encoded.
        shared: What each row's payload has besides, encoded.
        settings: How to run them.
    """

    inputs: list[bytes]
    shared: dict[str, bytes]
    settings: Settings

    def payload_of(self, row: int) -> bytes:
        """What a worker gets."""
        return join_map({**self.shared, "inputs": self.inputs[row]})


def read_plan(payload: bytes) -> Plan:
    """Take the payload of a `batch.run` apart.

    Raises:
        DSPexError: `invalid_argument` naming the field, such as `inputs[3]`; a `value_…` code.
    """
    if not is_map(payload):
        raise invalid_argument("payload", "a map", decode_value(payload))
    shared = cut_map(payload)
    inputs = _rows_of(shared)
    settings = read(Settings, {key: decode_value(shared.pop(key)) for key in OWN if key in shared})
    return Plan(inputs=inputs, shared=shared, settings=settings)


def _rows_of(entries: dict[str, bytes]) -> list[bytes]:
    given = entries.pop("inputs", None)
    expected = f"an array of at most {MAX_ROWS} maps"
    if given is None or not is_array(given):
        raise invalid_argument("inputs", expected, None if given is None else _shown(given))
    rows = cut_array(given)
    if len(rows) > MAX_ROWS:
        raise invalid_argument("inputs", expected, f"{len(rows)} rows")
    for index, row in enumerate(rows):
        if not is_map(row):
            raise invalid_argument(f"inputs[{index}]", "a map of input field and value", _shown(row))
    return rows


def _shown(piece: bytes) -> object:
    try:
        return decode_value(piece)
    except WireError:
        return b""  # what it is does not matter; it is no map


def entry_of(row: int, key: str, payload: bytes) -> bytes:
    """What a client gets of one row: `{index, prediction}` or `{index, error}`."""
    return join_map({"index": encode_value(row), key: payload})
