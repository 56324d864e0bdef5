"""A BATCH: one program over many rows of input. What is known of it, and what follows from that. Pure.

    next_row ──► the row runs ──► judge ──► settle      its outcome stays
                     ▲                └──► put_back     the pool had no room; later
                     └─────────────────────────┘
                                      └──► END          no row can succeed

A row is named by its index, and is in exactly one place: not begun, running, put back, or settled.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, cast

from dspex_protocol import CallerError, DSPexError, Meta, error

from .spending import Spent

NO_ROOM: Final = frozenset(("overloaded", "unavailable"))
"""Codes that say nothing about the row: it can be tried again when the pool has less to do."""

PAUSE_MS: Final = 100
"""How long no row is begun after one found no room, where the refusal does not say."""


class AfterRow(Enum):
    """What becomes of a row that has failed."""

    KEEP = auto()
    """Its error is its outcome."""
    AGAIN = auto()
    """It never ran, for want of room: it is begun again after a pause."""
    END = auto()
    """Every row would fail like this: the batch ends with the error."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """One batch.

    Attributes:
        rows: How many it has.
        parallelism: Rows that may run at once.
        max_errors: After so many failed rows no more are begun; None: all are.
        keeps: Entries are kept for the answer; else they go out one by one, or nobody wants them.
        begun: Rows below this index have been begun.
        running: Those that run.
        again: Those that are to be begun once more, before all others.
        done: Rows that have a prediction.
        failed: Rows that have an error.
        paused_until_s: No row is begun before that time.
        entries: Of the rows that have an outcome, what is to be sent of them: by index where they
            are kept, else in the order in which they ended.
        entry_bytes: How long those are together.
        usage: What all rows have spent so far.
    """

    rows: int
    parallelism: int
    max_errors: int | None = None
    keeps: bool = False
    begun: int = 0
    running: set[int] = field(default_factory=set[int])
    again: deque[int] = field(default_factory=deque[int])
    done: int = 0
    failed: int = 0
    paused_until_s: float = 0.0
    entries: dict[int, bytes] = field(default_factory=dict[int, bytes])
    entry_bytes: int = 0
    usage: Spent = field(default_factory=Spent)

    @property
    def has_stopped(self) -> bool:
        """Whether no more rows are begun, since so many have failed."""
        return self.max_errors is not None and self.failed >= self.max_errors

    @property
    def left(self) -> int:
        """Rows without an outcome."""
        return self.rows - self.done - self.failed

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return not self.running and (self.has_stopped or not self.left) and (self.keeps or not self.entries)


def next_row(batch: Batch, now_s: float, at_hand: int) -> int | None:
    """The row to be begun now, if any; of those below `at_hand`.

    Outcomes that wait to be sent count as rows that run: whoever does not read them stops the batch.
    """
    unsent = 0 if batch.keeps else len(batch.entries)
    if batch.has_stopped or now_s < batch.paused_until_s:
        return None
    if len(batch.running) + unsent >= batch.parallelism:
        return None
    if batch.again:
        return batch.again[0]
    return batch.begun if batch.begun < min(at_hand, batch.rows) else None


def begin(batch: Batch, row: int) -> None:
    """That row runs now."""
    if batch.again and batch.again[0] == row:
        batch.again.popleft()
    else:
        batch.begun += 1
    batch.running.add(row)


def judge(batch: Batch, failure: DSPexError) -> AfterRow:
    """Decide what becomes of a row that has failed. Changes nothing."""
    if failure.code in NO_ROOM and not failure.maybe_executed:
        return AfterRow.AGAIN
    if failure.code == "boot_failed":
        return AfterRow.END
    # What is wrong with the call is wrong with each of its rows. But once a row has succeeded,
    # whatever is wrong is about the other row.
    if isinstance(failure, CallerError) and not batch.done and not is_about_inputs(failure):
        return AfterRow.END
    return AfterRow.KEEP


def put_back(batch: Batch, row: int, failure: DSPexError, now_s: float) -> None:
    """A row that found no room is begun again, when there may be some."""
    batch.running.remove(row)
    batch.again.append(row)
    pause_s = (failure.retry_after_ms or PAUSE_MS) / 1000
    batch.paused_until_s = max(batch.paused_until_s, now_s + pause_s)


def settle(batch: Batch, row: int, entry: bytes | None, meta: Meta, *, is_done: bool) -> None:
    """A row has its outcome.

    Args:
        batch: Its batch.
        row: Its index; it has been running.
        entry: What is to be sent of it; None for nothing.
        meta: Of the reply, for the usage.
        is_done: It has a prediction, and no error.
    """
    batch.running.remove(row)
    batch.done += is_done
    batch.failed += not is_done
    batch.usage.add(meta)
    if entry is not None:
        batch.entries[row] = entry
        batch.entry_bytes += len(entry)


def take_entry(batch: Batch) -> bytes | None:
    """The next entry to be sent by itself, if there is one; it is taken out."""
    if batch.keeps or not batch.entries:
        return None
    entry = batch.entries.pop(next(iter(batch.entries)))
    batch.entry_bytes -= len(entry)
    return entry


def kept_entries(batch: Batch) -> list[bytes]:
    """What is kept for the answer, in the order of the rows."""
    return [batch.entries[row] for row in sorted(batch.entries)]


def summary(batch: Batch) -> dict[str, object]:
    """What the answer says of the whole."""
    return {
        "rows": batch.rows,
        "done": batch.done,
        "failed": batch.failed,
        "left": batch.left,
        "stopped": "max_errors" if batch.left else None,
        "usage": batch.usage.told(),
    }


def usage_of(batch: Batch) -> Meta:
    """What the rows have spent, as a reply's meta says it: what is nothing is left out."""
    return {key: spent for key, spent in cast("Meta", batch.usage.told()).items() if spent}


def is_about_inputs(failure: DSPexError) -> bool:
    """Whether an error names an input, or the inputs."""
    field_path = failure.details.get("field")
    return isinstance(field_path, str) and _names_inputs(field_path)


def of_row(failure: DSPexError, row: int) -> DSPexError:
    """The same error, with the path of that row's inputs where it names one of them."""
    path = failure.details.get("field")
    if not isinstance(path, str) or not _names_inputs(path):
        return failure
    named = f"inputs[{row}]{path.removeprefix('inputs')}"
    told = failure.message
    return error(
        failure.code,
        named + told.removeprefix(path) if told.startswith(path) else told,
        details={**failure.details, "field": named},
        retryable=failure.retryable,
        maybe_executed=failure.maybe_executed,
        retry_after_ms=failure.retry_after_ms,
    )


def _names_inputs(path: str) -> bool:
    return path == "inputs" or path.startswith(("inputs.", "inputs["))
