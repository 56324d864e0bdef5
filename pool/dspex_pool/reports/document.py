"""THE DOCUMENT: one HTML file that needs nothing else, and that may load, send and run nothing else.

Its policy allows the one script and the one style that stand in it, by their hashes. What comes from
records is text of elements, or JSON that only the script reads.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from dspex_pool.notation import to_json

from .markup import Markup, data, data_block, element, joined
from .shapes import Record, legible

MAX_ROWS: Final = 10_000
"""In the table of a page; the figures are of all."""

MAX_ROW_CHARACTERS: Final = 64 * 1024 * 1024
"""Of all rows in a page: a browser holds them several times."""

_PAGE: Final = files("dspex_pool.reports").joinpath("page")
_STYLE: Final = _PAGE.joinpath("style.css").read_text("utf-8")
_SCRIPT: Final = '"use strict";\n(() => {{\n{}\n}})();\n'.format(
    "\n".join(_PAGE.joinpath(f"{part}.js").read_text("utf-8") for part in ("texts", "choosing", "table"))
)


def policy_of(script: str, style: str) -> str:
    """A content-security policy under which these two work, and nothing else does."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


POLICY: Final = policy_of(_SCRIPT, _STYLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Of the table.

    Attributes:
        label: Its head.
        kind: `score`, `difference`, `exact` (six digits), `number`, `text` or `preview`.
        at: Where in a row its value is.
    """

    label: str
    kind: str
    at: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A filter by one of the values that are there; `none` is said of rows without one."""

    label: str
    at: Sequence[str]
    none: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A part of what an opened row shows.

    Attributes:
        cells: One value, or several by name, side by side.
        compact: Whether a line is enough for each entry, without those that are nil.
    """

    title: str
    cells: Mapping[str, Sequence[str]]
    compact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the script shows rows.

    Attributes:
        noun: What they are.
        unit: Whether all scores are from 0 to 1, and so can be drawn.
    """

    noun: str
    columns: Sequence[Column]
    choices: Sequence[Choice]
    details: Sequence[Group]
    unit: bool = False


class Rows:
    """The rows of a page, written as they come.

    Attributes:
        total: How many came.
        shown: How many of them are in the page.
    """

    def __init__(self) -> None:
        self.total = 0
        self.shown = 0
        self._characters = 0
        self._is_full = False

    def begin(self) -> str:
        """What stands before the first one."""
        return '<script type="application/json" id="rows">['

    def add(self, rows: Sequence[Record]) -> str:
        """Some more of them, as far as there is room."""
        return "".join(map(self._one, rows))

    def end(self) -> str:
        """What stands after the last one."""
        return "\n]</script>\n"

    @property
    def what_is_missing(self) -> Markup | None:
        """A sentence where not all of them are in the page."""
        if self.shown == self.total:
            return None
        words = f"The table has the first {self.shown:,} of {self.total:,}; the figures are of all of them."
        return element("p", words, class_="dim")

    def _one(self, row: Record) -> str:
        self.total += 1
        if self._is_full:
            return ""
        written = data(to_json(dict(legible(row))))
        if self.shown == MAX_ROWS or self._characters + len(written) > MAX_ROW_CHARACTERS:
            self._is_full = True
            return ""
        self.shown += 1
        self._characters += len(written)
        return f",\n{written}" if self.shown > 1 else f"\n{written}"


def opening(title: str) -> str:
    """The head, and the body's beginning."""
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name_="color-scheme", content="light dark"),
        element("meta", name_="referrer", content="no-referrer"),
        element("title", title),
        element("style", Markup(_STYLE)),
    )
    return f'<!doctype html>\n<html lang="en">\n{element("head", head)}\n<body>\n'


def closing(plan: Plan, *content: str | None) -> str:
    """What people see, and the script."""
    main = element("main", *content)
    return f"{data_block('plan', _planned(plan))}{main}\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"


def browser(title: str, missing: Markup | None, what: str) -> Markup:
    """The section with the table, which the script fills."""
    without = element("noscript", "The table needs scripts; the figures above do not.")
    return section(title, element("p", what, class_="dim"), missing, element("div", without, id="browser"))


def section(title: str, *content: str | None) -> Markup:
    """A part of a page under a heading."""
    return element("section", element("h2", title), *content)


def facts(said: Mapping[str, str | None]) -> Markup:
    """What is known, by name; what is not known is left out."""
    entries = [joined(element("dt", name), element("dd", value)) for name, value in said.items() if value]
    return element("dl", *entries, class_="facts")


def tiles(said: Mapping[str, str | None]) -> Markup:
    """Figures with their names."""
    entries = [
        element("li", element("b", value), element("span", name)) for name, value in said.items() if value
    ]
    return element("ul", *entries, class_="tiles")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> Markup:
    """A table; cells that are markup stay as they are.

    Args:
        head: Names of the columns.
        rows: Their cells.
        numbers: Which columns have numbers, which stand at the right.
    """
    look = ["num" if at in numbers else None for at in range(len(head))]
    top = element("tr", *[element("th", name, scope="col", class_=look[at]) for at, name in enumerate(head)])
    body = [
        element("tr", *[element("td", cell, class_=look[at] or "words") for at, cell in enumerate(row)])
        for row in rows
    ]
    whole = element("table", element("thead", top), element("tbody", *body))
    return element("div", whole, class_="scroll")


def footer(made: str) -> Markup:
    """What made the page, and that it keeps to itself."""
    return element("footer", f"{made} This page loads nothing and sends nothing.")


def _planned(plan: Plan) -> dict[str, object]:
    return {
        "noun": plan.noun,
        "unit": plan.unit,
        "columns": [{"label": c.label, "kind": c.kind, "at": list(c.at)} for c in plan.columns],
        "choices": [{"label": c.label, "at": list(c.at), "none": c.none} for c in plan.choices],
        "details": [
            {
                "title": g.title,
                "cells": [{"name": name, "at": list(at)} for name, at in g.cells.items()],
                "compact": g.compact,
            }
            for g in plan.details
        ],
    }
