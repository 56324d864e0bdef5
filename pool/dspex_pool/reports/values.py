"""VALUES: anything that a record may hold, in a page that no script has touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from dspex_pool.notation import to_json

from .markup import Markup, element, joined
from .shapes import is_map, list_of, map_of

MAX_ITEMS: Final = 200
DEEPEST: Final = 12


def value_markup(value: object) -> Markup:
    """Maps as lists of names, texts as they are, the rest as JSON."""
    return _markup(to_json(value), 0)


def _markup(value: object, depth: int) -> Markup:
    if value is None:
        return element("span", "nil", class_="nothing")
    if isinstance(value, str):
        return _text(value)
    if depth < DEEPEST and is_map(value) and value:
        return _map(value, depth)
    if depth < DEEPEST and list_of(value):
        return _list(list_of(value), depth)
    return _text(json.dumps(value, ensure_ascii=False))


def _map(value: object, depth: int) -> Markup:
    entries = list(map_of(value).items())
    shown = [
        joined(element("dt", key), element("dd", _markup(item, depth + 1)))
        for key, item in entries[:MAX_ITEMS]
    ]
    return joined(element("dl", *shown, class_="fields"), _left_out(len(entries)))


def _list(items: Sequence[object], depth: int) -> Markup:
    shown = [element("li", _markup(item, depth + 1)) for item in items[:MAX_ITEMS]]
    return joined(element("ol", *shown, class_="items"), _left_out(len(items)))


def _left_out(count: int) -> Markup | None:
    return element("p", f"and {count - MAX_ITEMS:,} more", class_="dim") if count > MAX_ITEMS else None


def _text(text: str) -> Markup:
    return element("pre", text, class_="verbatim", dir="auto")
