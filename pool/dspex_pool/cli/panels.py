"""What `dspex top` shows, laid out by rich for a width and a height. Pure: nothing is printed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from . import tables
from .tables import Row, Table

WIDE: Final = 110
"""Columns of a terminal from which a client's tenant has room."""
_HEADING: Final = "bold"
_NOTICE: Final = "bold reverse"
_STATES: Final = {"starting": "cyan", "ready": "green", "busy": "green", "draining": "yellow"}
# Lines that are always there: three of figures, two tables of headings, lanes and latencies,
# three of counts, and the empty lines between.
_FIXED_LINES: Final = 16
_JOBS_LINES: Final = 2
"""Of the table of jobs, where there is one: its headings, and the empty line after it."""


def view(snapshot: Row, width: int, height: int | None = None, notice: str = "") -> RenderableType:
    """One view of a server.

    Args:
        snapshot: Its answer to `system.info`.
        width: Columns of the terminal.
        height: Its lines; None: as many as it takes.
        notice: What the person must know about the figures: that they are old.
    """
    workers, tenants = tables.workers(snapshot), tables.tenants(snapshot)
    jobs, ended = tables.jobs(snapshot), tables.jobs_line(snapshot)
    clients = tables.clients(snapshot)
    if width < WIDE:
        clients = tables.without(clients, "tenant")
    if height is not None:
        people = max(len(tenants.rows), len(clients.rows))
        room = height - _FIXED_LINES - (1 if ended else 0)
        if jobs.rows:
            jobs = shorten(jobs, max(1, (room - _JOBS_LINES) // 4))
            room -= _JOBS_LINES + len(jobs.rows)
        for_workers, for_people = share_lines(len(workers.rows), people, room)
        workers = shorten(workers, for_workers)
        tenants, clients = shorten(tenants, for_people), shorten(clients, for_people)
    return Group(
        *_head(snapshot, notice),
        Text(),
        beside(grid(tables.lanes(snapshot)), grid(tables.latencies(snapshot))),
        Text(),
        grid(workers),
        Text(),
        *((grid(jobs), Text()) if jobs.rows else ()),
        beside(grid(tenants, width // 5), grid(clients)),
        Text(),
        *_foot(snapshot, ended, no_wrap=height is not None),
    )


def share_lines(first: int, second: int, room: int) -> tuple[int, int]:
    """Lines for two tables: what each needs, or else half, or what the other leaves.

    Each gets one at least; a terminal that is too low for that is cut at its end.
    """
    half = room // 2
    if first + second <= room:
        return first, second
    if second <= half:
        return max(1, room - second), max(1, second)
    if first <= room - half:
        return max(1, first), max(1, room - first)
    return max(1, room - half), max(1, half)


def shorten(table: Table, lines: int) -> Table:
    """A table of at most that many rows; the last one tells how many are missing."""
    if len(table.rows) <= lines:
        return table
    missing = len(table.rows) - lines + 1
    blank = [""] * len(table.columns)
    widest = next((at for at, column in enumerate(table.columns) if column.is_text), 0)
    blank[widest] = f"+{missing} more"
    return Table(columns=table.columns, rows=(*table.rows[: lines - 1], tuple(blank)))


def grid(table: Table, name_width: int | None = None) -> Grid:
    """A table without lines. What has no room ends in an ellipsis, names before figures.

    Args:
        table: What it shows.
        name_width: The most that a column of names may take.
    """
    laid = Grid(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style=_HEADING)
    for column in table.columns:
        laid.add_column(
            _cell(column.title, ""),
            justify="left" if column.is_text else "right",
            no_wrap=not column.is_name,  # rich narrows the others first
            overflow="ellipsis",
            min_width=None if column.is_text else max(column.least, len(column.title)),
            max_width=name_width if column.is_name else None,
        )
    for row in table.rows:
        laid.add_row(*(_cell(cell, _STATES.get(cell, "")) for cell in row))
    return laid


def _cell(text: str, style: str) -> Text:
    # As Text: a name in a string of rich's would be read as markup.
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def beside(left: Grid, right: Grid) -> Grid:
    """Two tables side by side; the right one has what the left one leaves."""
    both = Grid.grid(expand=True, padding=(0, 2, 0, 0), pad_edge=False)
    both.add_column()
    both.add_column(ratio=1)
    both.add_row(left, right)
    return both


def _head(snapshot: Row, notice: str) -> Sequence[RenderableType]:
    first = Text(tables.server_line(snapshot), style=_HEADING, no_wrap=True, overflow="ellipsis")
    if snapshot.get("draining") is True:
        notice = notice or "draining"
    if notice:
        first = Text.assemble((f" {notice} ", _NOTICE), "  ", first, no_wrap=True, overflow="ellipsis")
    return first, _line("", tables.pool_line(snapshot)), _line("", tables.load_line(snapshot))


def _foot(snapshot: Row, jobs: str, *, no_wrap: bool) -> Sequence[RenderableType]:
    return (
        *((_line("jobs    ", jobs, no_wrap=no_wrap),) if jobs else ()),
        _line("troubles", tables.trouble_line(snapshot), no_wrap=no_wrap),
        _line("recycled", tables.tally_line(snapshot, "recycles"), no_wrap=no_wrap),
        _line("errors  ", tables.tally_line(snapshot, "errors"), no_wrap=no_wrap),
    )


def _line(title: str, text: str, *, no_wrap: bool = True) -> Text:
    start = (f"{title}  ", _HEADING) if title else ""
    return Text.assemble(start, text, no_wrap=no_wrap, overflow="ellipsis")
