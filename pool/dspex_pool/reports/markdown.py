"""MARKDOWN: what a report comes to, for a pull request or a chat; a page has all the rows.

Texts of records cannot break a table, and become no markup, link, picture, mention or formula.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from .marks import in_line, marked

MAX_CELL_CHARACTERS: Final = 200
MAX_BLOCK_CHARACTERS: Final = 4_000
_SPECIAL: Final = re.compile(r"[\\`*_\[\]<>|~&$@#!^]|\{(?=[{%#])")
_STARTS_LINK: Final = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp)(:)|\b(www)(\.)")
_STARTS_BLOCK: Final = re.compile(r"^(\d{0,9})([-+.)](?=\s|$)|[-=](?=[-=\s]*$))")
_FENCES: Final = re.compile("`+")


def inline(text: str, limit: int = MAX_CELL_CHARACTERS) -> str:
    """A text on one line, in which nothing is markup."""
    line = _SPECIAL.sub(r"\\\g<0>", in_line(text, limit))
    line = _STARTS_LINK.sub(lambda found: f"{found[1] or found[3]}\\{found[2] or found[4]}", line)
    return _STARTS_BLOCK.sub(r"\g<1>\\\g<2>", line)


def block(text: str) -> str:
    """A text of several lines, fenced by more backticks than it has in a row."""
    shown = marked(text)
    cut = shown if len(shown) <= MAX_BLOCK_CHARACTERS else f"{shown[:MAX_BLOCK_CHARACTERS]}…"
    longest = max((len(run) for run in _FENCES.findall(cut)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{cut}\n{fence}\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """A table of texts; with a blank line after it."""
    rule = ["---:" if at in numbers else "---" for at in range(len(head))]
    lines = [_line(map(inline, head)), _line(rule), *[_line(map(inline, row)) for row in rows]]
    return "".join(lines) + "\n"


def facts(said: Mapping[str, str | None]) -> str:
    """What is known, by name."""
    return "".join(f"- {inline(name)}: {inline(value)}\n" for name, value in said.items() if value) + "\n"


def heading(level: int, text: str) -> str:
    """A heading."""
    return f"{'#' * level} {inline(text)}\n\n"


def paragraph(text: str) -> str:
    """A paragraph of our own words, in which names of records may stand."""
    return f"{inline(text, 2_000)}\n\n"


def sections(parts: Iterable[str | None]) -> Iterator[str]:
    """Those that are there."""
    return (part for part in parts if part)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
