"""What the library knows, as plain values for a REPLY: docs/protocol.md section 7.2."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import cast

from dspex_protocol import decode_value

from .differences import Difference
from .histories import History, Row
from .pages import Page
from .records import Head, Version, lineage_map


def version_answer(head: Head, version: Version) -> dict[str, object]:
    """`program.get`."""
    content = cast("Mapping[str, object]", decode_value(version.content))
    return {
        "program": version.program,
        "version": version.version,
        "newest": head.newest,
        "spec": content.get("spec"),
        "state": content.get("state"),
        "lineage": lineage_map(version.lineage),
        "tags": head.tags_of(version.version),
        "dspy": version.dspy,
        "schema": version.schema,
        "created": moment(version.created_ms),
        "checksum": version.checksum,
    }


def page_answer(page: Page) -> dict[str, object]:
    """`program.list`. `unreadable` is there only where it is not empty."""
    answer: dict[str, object] = {"programs": [head_row(head) for head in page.heads], "next": page.next}
    return answer | ({"unreadable": page.unreadable} if page.unreadable else {})


def head_row(head: Head) -> dict[str, object]:
    """A program in a list."""
    return {
        "program": head.program,
        "version": head.newest,
        "module": head.module,
        "tags": dict(sorted(head.tags.items())),
        "created": moment(head.created_ms),
        "updated": moment(head.updated_ms),
    }


def history_answer(history: History) -> dict[str, object]:
    """`program.versions`."""
    return {"versions": [version_row(history.head, row) for row in history.rows], "next": history.next}


def version_row(head: Head, row: Row) -> dict[str, object]:
    """A version in a list; of one that cannot be read all is nil but `version`, `tags`, `problem`."""
    answer: dict[str, object] = {
        "version": row.version,
        "lineage": None if row.lineage is None else lineage_map(row.lineage),
        "tags": head.tags_of(row.version),
        "created": None if row.created_ms is None else moment(row.created_ms),
        "checksum": row.checksum,
        "dspy": row.dspy,
        "schema": row.schema,
    }
    return answer | ({} if row.problem is None else {"problem": row.problem})


def changes_answer(changes: Iterable[Difference]) -> list[dict[str, object]]:
    """The rows of `program.diff`."""
    rows: list[dict[str, object]] = []
    for one in changes:
        row: dict[str, object] = {"path": one.path, "change": one.change}
        if one.change != "added":
            row["before"] = one.before
        if one.change != "removed":
            row["after"] = one.after
        rows.append(row)
    return rows


def moment(wall_ms: int) -> dt.datetime:
    """A moment of the wall clock, for people."""
    return dt.datetime.fromtimestamp(0, tz=dt.UTC) + dt.timedelta(milliseconds=wall_ms)
