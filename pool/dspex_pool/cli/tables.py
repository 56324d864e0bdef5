"""A server's `system.info` as tables and lines of text. Pure; `panels` and `ps` lay them out."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from .figures import (
    UNKNOWN,
    age_text,
    bytes_text,
    count_text,
    megabytes_text,
    milliseconds_text,
    money_text,
    name_text,
    number_of,
    rate_text,
    score_text,
)

Row = Mapping[str, object]
"""One map of a snapshot: a worker, a client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one column shows of each row.

    Attributes:
        title: Its heading.
        key: What it shows.
        write: How.
        is_text: Whether it is words, which stand at the left; numbers stand at the right.
        is_name: Whether clients choose the words: such a column gives way where there is no room.
        least: Characters that it takes in a live view at least, so that the others stay where
            they are while its figures grow.
    """

    title: str
    key: str
    write: Callable[[object], str]
    is_text: bool = False
    is_name: bool = False
    least: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns and their cells, row by row."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


WORKERS: Final = (
    Column(title="worker", key="worker", write=count_text),
    Column(title="slot", key="slot", write=count_text, least=3),
    Column(title="pid", key="pid", write=name_text),
    Column(title="state", key="state", write=name_text, is_text=True),
    Column(title="calls", key="calls", write=count_text),
    Column(title="served", key="served", write=count_text),
    Column(title="age", key="age_s", write=age_text),
    Column(title="MB", key="memory_bytes", write=megabytes_text),
    Column(title="own MB", key="own_bytes", write=megabytes_text),
    Column(title="progs", key="programs", write=count_text),
    Column(title="retiring", key="retiring", write=name_text, is_text=True),
)
JOBS: Final = (
    Column(title="job", key="job", write=name_text, is_text=True, is_name=True),
    Column(title="kind", key="kind", write=name_text, is_text=True),
    Column(title="state", key="state", write=name_text, is_text=True),
    Column(title="try", key="attempt", write=count_text, least=3),
    Column(title="at", key="at", write=name_text, is_text=True, is_name=True),
    Column(title="done", key="done", write=name_text),
    Column(title="best", key="best_score", write=score_text),
    Column(title="calls", key="lm_calls", write=count_text),
    Column(title="usd", key="usd", write=money_text),
    Column(title="up", key="elapsed_s", write=age_text),
)
LANES: Final = (
    Column(title="lane", key="lane", write=name_text, is_text=True),
    Column(title="running", key="running", write=count_text),
    Column(title="waiting", key="waiting", write=count_text),
    Column(title="oldest", key="oldest_wait_ms", write=milliseconds_text),
)
LATENCIES: Final = (
    Column(title="ms", key="of", write=name_text, is_text=True),
    Column(title="count", key="count", write=count_text),
    Column(title="p50", key="p50_ms", write=milliseconds_text),
    Column(title="p90", key="p90_ms", write=milliseconds_text),
    Column(title="p99", key="p99_ms", write=milliseconds_text),
    Column(title="max", key="max_ms", write=milliseconds_text),
)
TENANTS: Final = (
    Column(title="tenant", key="tenant", write=name_text, is_text=True, is_name=True),
    Column(title="weight", key="weight", write=count_text),
    Column(title="running", key="running", write=count_text),
    Column(title="waiting", key="waiting", write=count_text),
)
CLIENTS: Final = (
    Column(title="client", key="client", write=count_text),
    Column(title="name", key="name", write=name_text, is_text=True, is_name=True),
    Column(title="tenant", key="tenant", write=name_text, is_text=True, is_name=True),
    Column(title="by", key="transport", write=name_text, is_text=True),
    Column(title="pid", key="peer_pid", write=name_text),
    Column(title="calls", key="open_calls", write=count_text),
)


def table_of(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Rows written out."""
    cells = (tuple(column.write(row.get(column.key)) for column in columns) for row in rows)
    return Table(columns=tuple(columns), rows=tuple(cells))


def workers(snapshot: Row) -> Table:
    """The workers, oldest first."""
    found = sorted(rows_of(snapshot, "workers"), key=lambda row: number_of(row.get("worker")) or 0)
    return table_of(WORKERS, found)


def jobs(snapshot: Row) -> Table:
    """The jobs that run here."""
    return table_of(JOBS, [_job(row) for row in rows_of(snapshot, "jobs")])


def _job(row: Row) -> Row:
    progress, spent = map_of(row, "progress"), map_of(row, "spent")
    waits = progress.get("waiting_for")
    score = row.get("best_score")
    return {
        **row,
        "at": progress.get("phase") if waits is None else f"for {name_text(waits)}",
        "done": _share(progress),
        "best_score": progress.get("best_score") if score is None else score,
        "lm_calls": spent.get("lm_calls"),
        "usd": spent.get("cost_usd"),
    }


def _share(progress: Row) -> str:
    """Of how much: `120/400`."""
    done, total = count_text(progress.get("done")), count_text(progress.get("total"))
    return done if total == UNKNOWN else f"{done}/{total}"


def jobs_line(snapshot: Row) -> str:
    """What has come of jobs, where there were any."""
    counts = map_of(snapshot, "job_counts")
    words = ("open", "done", "failed", "cancelled", "died", "answers_kept", "answers_replayed")
    return "  ".join(
        f"{word.replace('_', ' ')} {count_text(counts[word])}"
        for word in words
        if number_of(counts.get(word))
    )


def lanes(snapshot: Row) -> Table:
    """What runs and waits, by lane."""
    return table_of(LANES, [{"lane": name, **row} for name, row in _maps_of(snapshot, "lanes")])


def latencies(snapshot: Row) -> Table:
    """How long calls took lately, in milliseconds."""
    return table_of(LATENCIES, [{"of": name, **row} for name, row in _maps_of(snapshot, "latencies")])


def tenants(snapshot: Row) -> Table:
    """Who shares the pool, busiest first, as the server sorts them."""
    return table_of(TENANTS, rows_of(snapshot, "tenants"))


def clients(snapshot: Row) -> Table:
    """Who is connected."""
    return table_of(CLIENTS, rows_of(snapshot, "clients"))


def without(table: Table, *keys: str) -> Table:
    """A table without some of its columns, where there is no room for them."""
    kept = [at for at, column in enumerate(table.columns) if column.key not in keys]
    return Table(
        columns=tuple(table.columns[at] for at in kept),
        rows=tuple(tuple(row[at] for at in kept) for row in table.rows),
    )


# Lines


def server_line(snapshot: Row) -> str:
    """Which server it is."""
    said = [
        name_text(snapshot.get("server")),
        f"pid {name_text(snapshot.get('pid'))}",
        f"up {age_text(snapshot.get('uptime_s'))}",
        name_text(snapshot.get("loop")),
        name_text(snapshot.get("spawning")),
    ]
    return "  ".join(word for word in said if word != UNKNOWN)


def pool_line(snapshot: Row) -> str:
    """How strong the pool is, and how fast."""
    scale = map_of(snapshot, "scale")
    ready = snapshot.get("ready_workers", scale.get("ready"))
    said = [f"workers {count_text(ready)} ready"]
    if number_of(scale.get("starting")):
        said.append(f"{count_text(scale['starting'])} starting")
    if scale:
        least, most = count_text(scale.get("min")), count_text(scale.get("max"))
        said.append(f"target {count_text(scale.get('target'))} of {least} to {most}")
    return ", ".join(said)


def load_line(snapshot: Row) -> str:
    """What there is to do."""
    return "  ".join(
        (
            f"calls/s {rate_text(snapshot.get('calls_per_s'))}",
            f"waiting {count_text(snapshot.get('waiting'))}",
            f"payloads {bytes_text(snapshot.get('open_bytes'))}",
            f"replied {count_text(snapshot.get('replied'))}",
            f"failed {count_text(snapshot.get('failed'))}",
        )
    )


def trouble_line(snapshot: Row) -> str:
    """What went wrong since the server started; what never happened is left out, but for the first."""
    always = (("restarts", "restarts"), ("quarantined", "quarantined"), ("retry_tokens", "retry tokens"))
    rarely = (
        ("stuck", "stuck"),
        ("bloated", "bloated"),
        ("repeated", "repeated"),
        ("deadlines", "too late"),
        ("overloaded", "overloaded"),
        ("shed", "shed"),
    )
    said = [*always, *(one for one in rarely if number_of(snapshot.get(one[0])))]
    return "  ".join(f"{word} {count_text(snapshot.get(key))}" for key, word in said)


def tally_line(snapshot: Row, key: str) -> str:
    """Counts by name, most first: `age 3  memory 1`; `none` where there are none."""
    found = map_of(snapshot, key).items()
    counted = sorted(found, key=lambda item: (-(number_of(item[1]) or 0), str(item[0])))
    return "  ".join(f"{name_text(name)} {count_text(count)}" for name, count in counted) or "none"


# Text


def text_lines(table: Table) -> list[str]:
    """A table as text, each column as wide as its widest cell."""
    rows = [tuple(column.title for column in table.columns), *table.rows]
    widths = [max(cell_width(row[at]) for row in rows) for at in range(len(table.columns))]
    return [" ".join(map(_pad, row, widths, table.columns)).rstrip() for row in rows]


def _pad(cell: str, width: int, column: Column) -> str:
    room = " " * (width - cell_width(cell))
    return cell + room if column.is_text else room + cell


def cell_width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


# Reading


def map_of(snapshot: Row, key: str) -> Row:
    """A map; empty where an older server has none."""
    value = snapshot.get(key)
    return cast("Row", value) if isinstance(value, Mapping) else {}


def rows_of(snapshot: Row, key: str) -> list[Row]:
    """A list of maps, likewise."""
    value = snapshot.get(key)
    found = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Row", row) for row in found if isinstance(row, Mapping)]


def _maps_of(snapshot: Row, key: str) -> list[tuple[str, Row]]:
    found = map_of(snapshot, key).items()
    return [(str(name), cast("Row", row)) for name, row in found if isinstance(row, Mapping)]
