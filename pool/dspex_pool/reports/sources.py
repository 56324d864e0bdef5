"""SOURCES: what a report is about, out of the store, a portion of rows at a time.

A portion is decoded when it is called for, which is done apart, so that nobody else is held up: rows
are a worker's business, and may be long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, cast

from dspex_pool.evaluation.lately import Lately
from dspex_pool.evaluation.reader import Found, Reader
from dspex_pool.evaluation.records import Head
from dspex_pool.experiments.methods import run_row
from dspex_pool.experiments.records import Run
from dspex_pool.experiments.shelf import Shelf
from dspex_pool.jobs.answers import event_row
from dspex_pool.jobs.shelf import Shelf as JobShelf
from dspex_pool.store import Entry
from dspex_protocol import decode_value

from .comparing import beside_of
from .experiments import MAX_DRAWN
from .shapes import Record
from .subjects import Subject

PAGE: Final = 500
"""Rows that are read at a time, as far as the reader's own limit of bytes lets them."""

PORTION_BYTES: Final = 128 * 1024
"""Of rows that are worked on at a time, but for a single long one: some ten milliseconds."""

EVENTS: Final = 100
"""Of a job, that are worked on at a time: few of them are long."""

MAX_POINTS: Final = 20_000
"""Values over time of one run that are drawn."""

Portion = Callable[[], list[Record]]


class Source(Protocol):
    """Where a report comes from.

    Attributes:
        subject: What it is about.
    """

    @property
    def subject(self) -> Subject:
        """See above."""
        ...

    def portions(self) -> AsyncIterator[Portion]:
        """The rows, from the first one on, each time that it is called."""
        ...


@dataclass(frozen=True, slots=True)
class RowsOf:
    """The rows of an evaluation as it was when its head was read.

    Attributes:
        head: It.
        facts: What is known of its rows, by index.
    """

    head: Head
    facts: Sequence[Found]

    @classmethod
    async def read(cls, lately: Lately, head: Head) -> RowsOf:
        """Find them."""
        return cls(head, sorted(await lately.facts(head), key=lambda found: found.fact.index))


@dataclass(frozen=True, slots=True)
class EvaluationSource:
    """An evaluation and its rows."""

    subject: Subject
    reader: Reader
    rows: RowsOf

    async def portions(self) -> AsyncIterator[Portion]:
        """Its rows by index."""
        at = 0
        while at < len(self.rows.facts):
            rows = await self.reader.rows(self.rows.head, self.rows.facts[at : at + PAGE])
            at += len(rows)
            for some in _portioned([[row] for row in rows]):
                yield partial(_decoded, some)


@dataclass(frozen=True, slots=True)
class ComparisonSource:
    """A comparison, its rows each beside what the evaluations have of it.

    Attributes:
        scores: Its own rows, by index.
        sides: The rows of the evaluations, which all have the same.
    """

    subject: Subject
    reader: Reader
    scores: Sequence[Record]
    sides: Sequence[RowsOf]

    async def portions(self) -> AsyncIterator[Portion]:
        """Its rows by index."""
        at = 0
        while at < len(self.scores):
            each = [await self.reader.rows(side.head, side.facts[at : at + PAGE]) for side in self.sides]
            rows = [list(sides) for sides in zip(*each, strict=False)]  # as many as all of them brought
            for some in _portioned(rows):
                yield partial(_beside, self.scores[at : at + len(some)], some)
                at += len(some)


@dataclass(frozen=True, slots=True)
class ExperimentSource:
    """An experiment and its runs, the first ones with their values over time."""

    subject: Subject
    shelf: Shelf
    runs: Sequence[Run]

    async def portions(self) -> AsyncIterator[Portion]:
        """Its runs in the order of `experiment.runs`."""
        drawn = 0
        for run in self.runs:
            points: list[list[object]] = []
            if drawn < MAX_DRAWN and any(metric.points > 1 for metric in run.metrics.values()):
                points, _ = await self.shelf.points(run, None, 0, MAX_POINTS)
                drawn += 1
            yield partial(_run_with, run, points)


@dataclass(frozen=True, slots=True)
class JobSource:
    """A job and its events as they were when it was read.

    Attributes:
        job: Its id.
        events: How many there are.
    """

    subject: Subject
    shelf: JobShelf
    job: str
    events: int

    async def portions(self) -> AsyncIterator[Portion]:
        """Its events in order."""
        after = 0
        while after < self.events:
            entries = await self.shelf.events(self.job, after, min(PAGE, self.events - after))
            if not entries:
                return  # it was deleted meanwhile
            after = entries[-1].number
            for at in range(0, len(entries), EVENTS):
                yield partial(_events_in, entries[at : at + EVENTS])


def _portioned(rows: Sequence[list[bytes]]) -> Iterator[list[list[bytes]]]:
    """Rows, each of one piece or of several, in portions."""
    some: list[list[bytes]] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum(map(len, row))
        if size >= PORTION_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _decoded(rows: Sequence[list[bytes]]) -> list[Record]:
    return [cast("Record", decode_value(row)) for (row,) in rows]


def _beside(scores: Sequence[Record], rows: Sequence[list[bytes]]) -> list[Record]:
    return [
        beside_of(of_row, [cast("Record", decode_value(side)) for side in sides])
        for of_row, sides in zip(scores, rows, strict=True)
    ]


def _events_in(entries: Sequence[Entry]) -> list[Record]:
    return [event_row(entry) for entry in entries]


def _run_with(run: Run, points: Sequence[Sequence[object]]) -> list[Record]:
    said: list[Mapping[str, object]] = [
        {"name": name, "step": step, "value": value} for name, step, value, *_ in points
    ]
    return [{**run_row(run), "points": said}]
