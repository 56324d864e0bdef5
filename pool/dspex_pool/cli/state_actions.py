"""The actions of `dspex state`: each takes a library and the command line, and returns an exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from dspex_pool.cli import state_views as views
from dspex_pool.cli.exits import CALL_FAILED, OK
from dspex_pool.cli.readable import plain
from dspex_pool.library import Library, Reference, Wanted, read_document
from dspex_pool.library.answers import changes_answer, head_row, history_answer, version_answer
from dspex_pool.library.pages import MAX_PAGE
from dspex_pool.notation import to_json

Action = Callable[[Library, argparse.Namespace], Awaitable[int]]


async def _list(library: Library, given: argparse.Namespace) -> int:
    wanted = Wanted(
        prefix=given.prefix,
        tag=given.tag,
        module=given.module,
        sort=given.sort,
        descending=given.descending,
        limit=min(given.limit or MAX_PAGE, MAX_PAGE),
    )
    rows: list[dict[str, object]] = []
    unreadable: dict[str, None] = {}
    while True:
        page = await library.page(wanted)
        rows += map(head_row, page.heads)
        unreadable |= dict.fromkeys(page.unreadable)
        if page.next is None or (given.limit and len(rows) >= given.limit):
            break
        wanted = replace(wanted, after=page.next)
    rows = rows[: given.limit or None]
    _print_rows(given, rows, views.list_lines(rows))
    for program in unreadable:
        print(plain(f"dspex state: program {program!r} cannot be read"), file=sys.stderr)
    return CALL_FAILED if unreadable else OK


async def _show(library: Library, given: argparse.Namespace) -> int:
    if given.version is None and given.tag is None:
        history = await library.versions(given.program, limit=MAX_PAGE)
        value = head_row(history.head) | history_answer(history)
        _print(given, value, views.program_lines(value))
    else:
        head, version = await library.get(_reference(given))
        value = version_answer(head, version)
        _print(given, value, views.version_lines(value))
    return OK


async def _diff(library: Library, given: argparse.Namespace) -> int:
    rows = changes_answer(await library.diff(given.program, given.before, given.after))
    _print_rows(given, rows, views.change_lines(rows))
    return OK


async def _export(library: Library, given: argparse.Namespace) -> int:
    text = await library.export(_reference(given), all_versions=given.all, sound_only=given.sound_only)
    sys.stdout.buffer.write(text.encode())  # UTF-8, whatever the terminal's encoding
    return OK


async def _import(library: Library, given: argparse.Namespace) -> int:
    document = read_document(given.text)
    program, version = await library.import_(document, given.copy, note=given.note)
    value: dict[str, object] = {"program": program, "version": version}
    _print(given, value, [f"{program}  version {version}"])
    return OK


async def _verify(library: Library, given: argparse.Namespace) -> int:
    return _tell(given, views.report_value(await library.verify(given.program)), repaired=False)


async def _repair(library: Library, given: argparse.Namespace) -> int:
    return _tell(given, views.report_value(await library.repair(given.program)), repaired=True)


def _tell(given: argparse.Namespace, value: dict[str, object], *, repaired: bool) -> int:
    """Print what was found; 0 when nothing is broken any more."""
    _print(given, value, views.report_lines(value, repaired=repaired))
    findings = views.findings_of(value)
    broken = [one for one in findings if one["remedy"] is None] if repaired else findings
    return CALL_FAILED if broken else OK


ACTIONS: Final[Mapping[str, Action]] = {
    "list": _list,
    "show": _show,
    "diff": _diff,
    "export": _export,
    "import": _import,
    "verify": _verify,
    "repair": _repair,
}


def _reference(given: argparse.Namespace) -> Reference:
    return Reference(given.program, given.version, given.tag)


def _print(given: argparse.Namespace, value: dict[str, object], lines: Sequence[str]) -> None:
    print(json.dumps(to_json(value)) if given.json else plain("\n".join(lines)))


def _print_rows(given: argparse.Namespace, rows: Sequence[dict[str, object]], lines: Sequence[str]) -> None:
    """For machines one object a line, so that what reads them need not have them all."""
    text = "\n".join(json.dumps(to_json(row)) for row in rows) if given.json else plain("\n".join(lines))
    if text:
        print(text)
