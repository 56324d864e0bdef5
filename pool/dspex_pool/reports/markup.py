"""MARKUP: HTML made of elements. What is not made here is text, and is escaped where it is put in.

There is no way to put an address into a page: no element that is made from data has a link, a
picture or a form.
"""

from __future__ import annotations

import html
import json
from typing import Final

from .marks import marked

MAX_CHARACTERS: Final = 10_000
"""Of one text that stands in a page by itself; rows have theirs whole, and the script shows a part."""
MAX_ATTRIBUTE_CHARACTERS: Final = 1_000
VOID: Final = frozenset(("br", "circle", "input", "line", "meta", "path", "polyline", "rect"))


class Markup(str):
    """HTML that is ready. Any other string is text."""

    __slots__ = ()


def escaped(text: str) -> str:
    """A text as HTML shows it, in an element or in a quoted attribute."""
    return html.escape(marked(text), quote=True)


def element(name: str, *content: str | None, **attributes: str | float | bool | None) -> Markup:
    """An element.

    Args:
        name: Of its tag.
        content: Markup, or texts, which are escaped; None is nothing.
        attributes: By name; `class_` is `class`, other underscores are dashes. None and False are
            left out, True is an attribute without a value.
    """
    start = f"<{name}{''.join(map(_attribute, attributes, attributes.values()))}"
    if name in VOID:
        return Markup(f"{start}/>")  # in a drawing the slash is what ends it
    return Markup(f"{start}>{joined(*content)}</{name}>")


def joined(*content: str | None) -> Markup:
    """Pieces one after another."""
    return Markup("".join(map(_piece, content)))


def cut(text: str, limit: int) -> str:
    """A text, or the beginning of a long one."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def data_block(name: str, value: object) -> Markup:
    """Data for the page's own script, which nothing runs and nothing ends but its own end."""
    return Markup(f'<script type="application/json" id="{name}">{data(value)}</script>\n')


def data(value: object) -> str:
    """JSON that may stand in a page: ASCII, and without the three characters that HTML reads."""
    written = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return embedded(written)


def embedded(written: str) -> str:
    """JSON, in which these stand in strings only, so that their escapes mean the same."""
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _piece(content: str | None) -> str:
    if content is None:
        return ""
    return content if isinstance(content, Markup) else escaped(cut(content, MAX_CHARACTERS))


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {written}"
    text = value if isinstance(value, str) else format(value, "g")
    return f' {written}="{escaped(cut(text, MAX_ATTRIBUTE_CHARACTERS))}"'
