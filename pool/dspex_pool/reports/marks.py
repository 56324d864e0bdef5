r"""MARKS: characters that hide, reorder or steer are shown as what they are, such as `\u2039U+202E\u203a`.

An output may hold a NUL, a terminal's escapes, an override of the direction of writing or half of a
surrogate pair. A report shows such a character by its number instead of letting it work. Joiners
(U+200C, U+200D) shape words and emoji, and stay. `page/texts.js` marks the same ones in the rows.
"""

from __future__ import annotations

import re
from typing import Final

MARKED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed; DEL; C1
    "\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e007f"  # tags: text that no font shows
    "\ud800-\udfff]"  # halves: a Python string may hold one, UTF-8 may not
)


def marked(text: str) -> str:
    """A text as people are to see it. The line ends of Windows are line ends."""
    return MARKED.sub(_mark, text.replace("\r\n", "\n"))


def in_line(text: str, limit: int) -> str:
    """The same on one line, cut where it is longer than `limit` characters."""
    line = " ".join(marked(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _mark(found: re.Match[str]) -> str:
    return f"\u2039U+{ord(found[0]):04X}\u203a"
