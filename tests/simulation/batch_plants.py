"""Defects of batches that are planted to see that they are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dspex_pool import batch as rules
from dspex_pool import batch_payload
from dspex_pool.batch import Batch
from dspex_pool.batches import Batches, Running

from .occasions import Occasions
from .patches import Patch

if TYPE_CHECKING:
    from dspex_pool.calls import Call


def drop_row() -> list[Patch]:
    """A row is counted, and nobody is told of it."""
    right, occasions = rules.settle, Occasions(5)

    def wrong(batch: Batch, row: int, *given: Any, **more: Any) -> None:
        right(batch, row, *given, **more)
        if occasions.is_bad():
            batch.entry_bytes -= len(batch.entries.pop(row))

    return [(rules, "settle", wrong)]


def double_row() -> list[Patch]:
    """A row is told twice."""
    right, occasions = rules.take_entry, Occasions(5)

    def wrong(batch: Batch) -> bytes | None:
        before = dict(batch.entries)
        entry = right(batch)
        if entry is not None and occasions.is_bad():
            batch.entries = before
            batch.entry_bytes += len(entry)
        return entry

    return [(rules, "take_entry", wrong)]


def misname_row() -> list[Patch]:
    """A row is told as the one before it."""
    right, occasions = batch_payload.entry_of, Occasions(5)

    def wrong(row: int, *given: Any) -> bytes:
        return right(max(0, row - 1) if occasions.is_bad() else row, *given)

    return [(batch_payload, "entry_of", wrong)]


def swap_results() -> list[Patch]:
    """Results are answered in the order in which they came."""

    def wrong(batch: Batch) -> list[bytes]:
        return list(batch.entries.values())

    return [(rules, "kept_entries", wrong)]


def begin_row_again() -> list[Patch]:
    """A row that found no room is begun again, and once more after that."""
    right = rules.put_back

    def wrong(batch: Batch, row: int, *given: Any) -> None:
        right(batch, row, *given)
        batch.begun -= 1

    return [(rules, "put_back", wrong)]


def send_rows_uncredited() -> list[Patch]:
    """Items go out whether there is credit or not."""
    right = Batches._send_entries

    def wrong(self: Batches, running: Running) -> None:
        running.call.credit += 1
        right(self, running)

    return [(Batches, "_send_entries", wrong)]


def answer_before_rows() -> list[Patch]:
    """A batch is over when its last row has ended, though its items wait for credit."""

    def wrong(self: Batch) -> bool:
        return not self.running and (self.has_stopped or not self.left)

    return [(Batch, "is_over", property(wrong))]


def run_rows_of_nobody() -> list[Patch]:
    """The rows of a batch that has ended go on."""

    def wrong(self: Batches, call: Call) -> None:
        self._open.pop(call, None)

    return [(Batches, "closed", wrong)]


def forget_next_row() -> list[Patch]:
    """A row ends, and the next one is not begun."""
    right, occasions = Batches._go_on, Occasions(3)

    def wrong(self: Batches, running: Running) -> None:
        if not occasions.is_bad():
            right(self, running)

    return [(Batches, "_go_on", wrong)]


BATCH_PLANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    plant.__name__: plant
    for plant in (
        drop_row,
        double_row,
        misname_row,
        swap_results,
        begin_row_again,
        send_rows_uncredited,
        answer_before_rows,
        run_rows_of_nobody,
        forget_next_row,
    )
}
