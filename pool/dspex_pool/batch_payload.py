"""The payload of `batch.run`, and those of its rows. What is passed on is not read here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from dspex_protocol import (
    DSPexError,
    WireError,
    decode_value,
    encode_failure,
    encode_value,
    invalid_argument,
)
from dspex_protocol.records import Doc, Length, read
from dspex_protocol.slices import cut_array, cut_map, is_array, is_map, join_array, join_map

from . import batch as rules
from .batch_plan import MAX_ROWS, OWN, MaxErrors, Parallelism, Reply, RowDeadline, Settings, Settled

if TYPE_CHECKING:
    from .batch import Batch
    from .batch_rows import Row

METHOD: Final = "batch.run"
PREDICT: Final = "program.predict"
ENTRY_BYTES: Final = 64
"""An outcome becomes so much longer at most, where it is sent as an entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBatch:
    """A program over many inputs; whatever else is given goes to each prediction, as in `program.predict`."""

    inputs: Annotated[list[dict[str, object]], Length(0, MAX_ROWS), Doc("the inputs of each row")]
    parallelism: Parallelism | None = None
    max_errors: MaxErrors | None = None
    row_deadline_ms: RowDeadline | None = None


class InputsPlan:
    """A program over inputs that came with the call; `batch_plan.Plan`.

    Args:
        inputs: Of each row, encoded.
        shared: What each row's payload has besides, encoded.
        settings: How to run them.
    """

    method = PREDICT
    keeps = True

    def __init__(self, inputs: list[bytes], shared: Mapping[str, bytes], settings: Settings) -> None:
        self.settings = settings
        self._inputs = inputs
        self._shared = shared

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self._inputs)

    @property
    def at_hand(self) -> int:
        """All of them are."""
        return len(self._inputs)

    def begin(self, go_on: Callable[[], None], fail: Callable[[DSPexError], None]) -> None:
        """Nothing is to be fetched."""

    def payload_of(self, row: int) -> bytes:
        """What a worker gets."""
        return join_map({**self._shared, "inputs": self._inputs[row]})

    def entry_bytes(self, row: int) -> int:
        """Its index, and the key."""
        return ENTRY_BYTES

    def keep(self, row: Row, failure: DSPexError | None, settled: Settled) -> None:
        """The prediction or the error, as it came."""
        if failure is None:
            settled(entry_of(row.index, "prediction", row.payload), True)
        else:
            settled(
                entry_of(row.index, "error", encode_failure(rules.of_row(failure, row.index))),
                False,
            )

    def end(self, batch: Batch, reply: Reply) -> None:
        """How it went, and all entries where they were kept."""
        said = {key: encode_value(value) for key, value in rules.summary(batch).items()}
        if batch.keeps:
            said["results"] = join_array(rules.kept_entries(batch))
        reply(join_map(said), rules.usage_of(batch))

    def left(self) -> None:
        """Nothing is to be let go."""


def read_plan(payload: bytes) -> InputsPlan:
    """Take the payload of a `batch.run` apart.

    Raises:
        DSPexError: `invalid_argument` naming the field, such as `inputs[3]`; a `value_…` code.
    """
    if not is_map(payload):
        raise invalid_argument("payload", "a map", decode_value(payload))
    shared = cut_map(payload)
    inputs = rows_in(shared, "inputs", "a map of input field and value")
    return InputsPlan(inputs, shared, take_settings(shared))


def take_settings(entries: dict[str, bytes]) -> Settings:
    """What says how rows are run; it is taken out.

    Raises:
        DSPexError: `invalid_argument` naming the field.
    """
    return read(Settings, {key: decode_value(entries.pop(key)) for key in OWN if key in entries})


def rows_in(entries: dict[str, bytes], name: str, row: str) -> list[bytes]:
    """The rows that came under a name, encoded; they are taken out.

    Args:
        entries: Of the payload.
        name: Where they stand.
        row: What one of them is, in words.

    Raises:
        CallerError: `invalid_argument` naming the field.
    """
    given = entries.pop(name, None)
    expected = f"an array of at most {MAX_ROWS} maps"
    if given is None or not is_array(given):
        raise invalid_argument(name, expected, None if given is None else _shown(given))
    rows = cut_array(given)
    if len(rows) > MAX_ROWS:
        raise invalid_argument(name, expected, f"{len(rows)} rows")
    for index, one in enumerate(rows):
        if not is_map(one):
            raise invalid_argument(f"{name}[{index}]", row, _shown(one))
    return rows


def _shown(piece: bytes) -> object:
    try:
        return decode_value(piece)
    except WireError:
        return b""  # what it is does not matter; it is no map


def entry_of(row: int, key: str, payload: bytes) -> bytes:
    """What a client gets of one row: `{index, prediction}` or `{index, error}`."""
    return join_map({"index": encode_value(row), key: payload})
