"""The words in a drawing: of each part a title, what it is, and a few lines.

Whatever a name holds, no line has a control character or another line in it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from .parts import Graph, Node

MAX_FIELDS: Final = 6
"""Fields or arguments that a box lists; the data has them all."""

MAX_LINE_CHARACTERS: Final = 48
MAX_HINT_CHARACTERS: Final = 1_000
_JOINERS: Final = frozenset("\u200c\u200d")
"""Of formatting characters only these shape words; others turn text round or hide it."""


@dataclass(frozen=True, slots=True)
class Label:
    """What stands in a box.

    Attributes:
        title: Its first line.
        role: What the part is.
        lines: More of it.
        hint: What is too long for a box: the instructions, or a description.
    """

    title: str
    role: str
    lines: tuple[str, ...]
    hint: str = ""


def plain(text: object, limit: int = MAX_LINE_CHARACTERS) -> str:
    """A text in one line, without what is no text, and cut where it is long."""
    line = " ".join("".join(map(_shown, str(text)[: 4 * limit])).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _shown(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if not category.startswith("C") or character in _JOINERS:
        return character
    return "" if category == "Cf" else "\ufffd"


def label_of(node: Node) -> Label:
    """The words for a part."""
    facts = cast("Mapping[str, Any]", node.facts)
    match node.kind:
        case "program":
            version = "" if facts["version"] is None else f" version {facts['version']}"
            return _label(node, f"program{version}", _signature_lines(facts["signature"]))
        case "module":
            return _label(node, str(facts["class"]), ())
        case "predictor":
            demos = (f"{facts['demos']} demos",) if facts["demos"] else ()
            lines = (*_signature_lines(facts["signature"]), *demos)
            return _label(node, str(facts["class"]), lines, facts["signature"]["instructions"])
        case "tool":
            args = _some([f"{name}: {_kind_of(schema)}" for name, schema in facts["args"].items()])
            return _label(node, "tool", (*args, *_function_line(facts)), facts["description"])
        case "reward":
            return _label(node, "reward", _function_line(facts), facts["description"])
        case "lm":
            return _label(node, "language model", (facts["model"],) if facts["model"] else ())


def _label(node: Node, role: str, lines: Iterable[str], hint: object = "") -> Label:
    words = plain(hint, MAX_HINT_CHARACTERS)
    return Label(plain(node.name) or "\ufffd", plain(role), tuple(map(plain, lines)), words)


def _signature_lines(signature: Mapping[str, Any]) -> list[str]:
    return [
        f"{arrow} {line}"
        for side, arrow in (("inputs", "→"), ("outputs", "←"))
        for line in _some([f"{field['name']}: {field['type']}" for field in signature[side]])
    ]


def _some(lines: list[str]) -> list[str]:
    if len(lines) <= MAX_FIELDS:
        return lines
    return [*lines[: MAX_FIELDS - 1], f"and {len(lines) - MAX_FIELDS + 1} more"]


def _kind_of(schema: object) -> str:
    kind = cast("Mapping[str, object]", schema).get("type") if isinstance(schema, dict) else None
    return kind if isinstance(kind, str) else "any"


def _function_line(facts: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"host function {facts['function']}",) if facts["function"] else ()


def title_of(graph: Graph) -> str:
    """What a drawing is called."""
    return f"The program {plain(graph.nodes[0].name)}"


def summary_of(graph: Graph) -> str:
    """What a drawing shows, for those who hear it."""
    names: dict[str, list[str]] = {}
    for node in graph.nodes[1:]:
        names.setdefault(node.kind, []).append(plain(node.name))
    told = "; ".join(f"{_PLURAL[kind]}: {', '.join(_some(some))}" for kind, some in names.items())
    return f"It is made of {told}."


_PLURAL: Final[Mapping[str, str]] = {
    "module": "modules",
    "predictor": "predictors",
    "tool": "tools",
    "reward": "rewards",
    "lm": "language models",
}
