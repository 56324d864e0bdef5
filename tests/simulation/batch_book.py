"""Batches as the checker knows them: each row is a call of its own, and comes to its client once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from .records import CallRecord, Violation

if TYPE_CHECKING:
    from .world import World

Script = dict[str, object]


@dataclass(slots=True, eq=False, kw_only=True)
class BatchPage:
    """What is known of one batch besides what is known of any call.

    Attributes:
        rows: Its rows, as calls that nobody makes but the supervisor.
        max_errors: After so many failed rows no more are to be begun.
        keeps: Its rows come with the answer, in order.
        seen: Indexes of the rows that its client has heard of.
        failed: How many of those have an error.
    """

    rows: list[CallRecord]
    max_errors: int | None
    keeps: bool
    seen: set[int] = field(default_factory=set[int])
    failed: int = 0

    def row_within(self, nonce: object) -> CallRecord | None:
        """The row with that nonce."""
        return next((row for row in self.rows if row.nonce == nonce), None)


def page_of(
    world: World, call: CallRecord, scripts: Sequence[Script], max_errors: int | None, *, keeps: bool
) -> BatchPage:
    """What is known of a batch that is about to be made."""
    rows = [
        CallRecord(
            world=world,
            nonce=cast("int", script["nonce"]),
            connection=call.connection,
            id=call.id,
            method="program.predict",
            lane=call.lane,
            deadline_s=call.deadline_s,
            depth=call.depth,
            row_of=call,
        )
        for script in scripts
    ]
    return BatchPage(rows=rows, max_errors=max_errors, keeps=keeps)


def row_of(call: CallRecord, entry: object) -> tuple[int, CallRecord]:
    """The row that an entry is about."""
    index = entry.get("index") if isinstance(entry, dict) else None
    assert call.batch is not None
    if not isinstance(index, int) or not 0 <= index < len(call.batch.rows):
        raise Violation("P2", f"{call} gets {entry!r}, which is no row of it")
    return index, call.batch.rows[index]


def see_entry(call: CallRecord, entry: object) -> None:
    """A client hears what has become of a row.

    Raises:
        Violation: when it has heard that before, or it is another row's.
    """
    page = call.batch
    assert page is not None
    index, row = row_of(call, entry)
    if index in page.seen:
        raise Violation("P1", f"{call} gets row {index} a second time")
    page.seen.add(index)
    said = cast("dict[str, object]", entry)
    prediction = said.get("prediction")
    if "error" in said:
        page.failed += 1
    elif not isinstance(prediction, dict) or prediction.get("nonce") != row.nonce:
        raise Violation("P2", f"{call} gets {prediction!r} as row {index}")


def see_answer(call: CallRecord, value: object) -> None:
    """A client hears that a batch is over: it has heard of every row by then.

    Raises:
        Violation: when a row is missing, or the figures are others.
    """
    page = call.batch
    assert page is not None
    assert isinstance(value, dict)
    results = cast("list[Script]", value.get("results", []))
    if page.keeps != ("results" in value) or [row["index"] for row in results] != sorted(
        cast("int", row["index"]) for row in results
    ):
        raise Violation("P2", f"{call} is answered {value!r}")
    for entry in results:
        see_entry(call, entry)
    rows, seen = len(page.rows), len(page.seen)
    said = tuple(value[key] for key in ("rows", "done", "failed", "left"))
    if said != (rows, seen - page.failed, page.failed, rows - seen):
        raise Violation("P1", f"{call} is told {said}, of {rows} rows {seen} came and {page.failed} failed")
    has_stopped = page.max_errors is not None and page.failed >= page.max_errors
    if seen < rows and not has_stopped:
        raise Violation("P1", f"{call} is over without {rows - seen} of its rows")
