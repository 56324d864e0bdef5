"""What `dspex state` shows people: plain values of the library as lines of text. Pure."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Final, cast

from dspex_pool.cli.figures import UNKNOWN, name_text
from dspex_pool.cli.tables import Column, map_of, rows_of, table_of, text_lines
from dspex_pool.library.checks import Report
from dspex_pool.notation import to_json

MAX_VALUE_CHARACTERS: Final = 200
"""Of one value in a difference; `--json` has them whole."""

Value = Mapping[str, object]


def _pairs_text(value: object) -> str:
    """Tags and their versions, scores: `live=3 beta=4`."""
    pairs = cast("Value", value or {}).items()
    return " ".join(f"{name_text(name)}={name_text(number)}" for name, number in pairs) or UNKNOWN


def _names_text(value: object) -> str:
    return " ".join(map(name_text, cast("Sequence[object]", value or ()))) or UNKNOWN


def moment_text(value: object) -> str:
    """A moment, to the second, in UTC."""
    return value.strftime("%Y-%m-%d %H:%M:%SZ") if isinstance(value, dt.datetime) else UNKNOWN


PROGRAMS: Final = (
    Column(title="program", key="program", write=name_text, is_text=True),
    Column(title="version", key="version", write=name_text),
    Column(title="module", key="module", write=name_text, is_text=True),
    Column(title="updated", key="updated", write=moment_text, is_text=True),
    Column(title="tags", key="tags", write=_pairs_text, is_text=True),
)
VERSIONS: Final = (
    Column(title="version", key="version", write=name_text),
    Column(title="created", key="created", write=moment_text, is_text=True),
    Column(title="by", key="by", write=name_text, is_text=True),
    Column(title="parent", key="parent", write=name_text),
    Column(title="dspy", key="dspy", write=name_text, is_text=True),
    Column(title="checksum", key="short", write=name_text, is_text=True),
    Column(title="tags", key="tags", write=_names_text, is_text=True),
    Column(title="note", key="note", write=name_text, is_text=True),
)


def list_lines(rows: Sequence[Value]) -> list[str]:
    """Programs, one a line."""
    return text_lines(table_of(PROGRAMS, rows)) if rows else []


def program_lines(value: Value) -> list[str]:
    """A program with its versions."""
    lines = [
        f"program  {name_text(value.get('program'))}",
        f"newest   {name_text(value.get('version'))}",
        f"module   {name_text(value.get('module'))}",
        f"tags     {_pairs_text(value.get('tags'))}",
        f"created  {moment_text(value.get('created'))}",
        f"updated  {moment_text(value.get('updated'))}",
        "",
    ]
    rows = [_version_row(row) for row in rows_of(value, "versions")]
    lines += text_lines(table_of(VERSIONS, rows))
    if value.get("next") is not None:
        lines.append(f"and those before version {name_text(value['next'])}")
    return lines


def _version_row(row: Value) -> Value:
    lineage = map_of(row, "lineage")
    return {
        **row,
        "by": row.get("problem") or lineage.get("by"),
        "parent": lineage.get("parent"),
        "note": lineage.get("note"),
        "short": str(row["checksum"])[:12] if row.get("checksum") else None,
    }


def version_lines(value: Value) -> list[str]:
    """A version with its content."""
    lineage = map_of(value, "lineage")
    return [
        f"program   {name_text(value.get('program'))}",
        f"version   {name_text(value.get('version'))} of {name_text(value.get('newest'))}",
        f"tags      {_names_text(value.get('tags'))}",
        f"created   {moment_text(value.get('created'))}",
        f"by        {name_text(lineage.get('by'))}, parent {name_text(lineage.get('parent'))}",
        f"scores    {_pairs_text(lineage.get('scores'))}",
        f"note      {name_text(lineage.get('note'))}",
        f"dspy      {name_text(value.get('dspy'))}, schema {name_text(value.get('schema'))}",
        f"checksum  {name_text(value.get('checksum'))}",
        "",
        f"spec: {_json(value.get('spec'))}",
        f"state: {_json(value.get('state'))}",
    ]


def _json(value: object) -> str:
    return json.dumps(to_json(value), indent=2, ensure_ascii=False)


def change_lines(rows: Sequence[Value]) -> list[str]:
    """What differs; each value on a line of its own."""
    lines: list[str] = []
    for row in rows:
        lines.append(f"{row['change']} {name_text(row['path'])}")
        lines += (
            f"  {sign} {_short(row[key])}" for key, sign in (("before", "-"), ("after", "+")) if key in row
        )
    return lines or ["no difference"]


def _short(value: object) -> str:
    text = json.dumps(to_json(value), ensure_ascii=False)
    left = len(text) - MAX_VALUE_CHARACTERS
    return text if left <= 0 else f"{text[:MAX_VALUE_CHARACTERS]}… and {left} characters more"


def report_value(report: Report) -> dict[str, object]:
    """What a look at the store has found, as plain values."""
    findings: list[object] = [
        {
            "program": one.program,
            "versions": list(one.versions),
            "problem": one.problem.value,
            "text": one.text,
            "remedy": one.remedy,
        }
        for one in report.findings
    ]
    return {"programs": report.programs, "versions": report.versions, "findings": findings}


def findings_of(value: Value) -> Sequence[Value]:
    """The findings of a report."""
    return rows_of(value, "findings")


def report_lines(value: Value, *, repaired: bool) -> list[str]:
    """Each finding, with what was or would be done, and a last line."""
    findings = findings_of(value)
    lines = [_finding_line(one, repaired=repaired) for one in findings]
    looked = f"{value['programs']} programs with {value['versions']} versions"
    lines.append(f"{looked}: nothing is broken" if not findings else f"{looked}: {len(findings)} findings")
    return lines


def _finding_line(finding: Value, *, repaired: bool) -> str:
    remedy = finding["remedy"]
    if remedy is None:
        done = "nothing can be done" if repaired else "a repair cannot help"
    else:
        done = str(remedy) if repaired else f"a repair: {remedy}"
    return f"{name_text(finding['program'])}: {finding['text']} ({done})"
