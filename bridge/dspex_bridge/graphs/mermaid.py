"""A graph as the text of a Mermaid flowchart.

Mermaid has many ways to take a label for something else: quotes, brackets, `#`, HTML, Markdown in
back quotes, words like `end`. So of a label only letters, digits and spaces stand as they are; every
other character is an entity by its number, which Mermaid makes a character of when it draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from .labels import label_of, plain, summary_of, title_of
from .parts import Edge, Graph, Node

_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "program": ("([", "])"),
    "module": ("[", "]"),
    "predictor": ("[", "]"),
    "tool": ("{{", "}}"),
    "reward": ("[/", "/]"),
    "lm": ("[(", ")]"),
}
_ARROWS: Final[Mapping[str, str]] = {"contains": "---", "calls": "-.->", "feeds": "==>"}


def to_mermaid(graph: Graph) -> str:
    """The flowchart, ending in a newline."""
    names = {node.id: f"n{n}" for n, node in enumerate(graph.nodes)}
    return "\n".join(_lines(graph, names)) + "\n"


def _lines(graph: Graph, names: Mapping[str, str]) -> Iterator[str]:
    yield "flowchart LR"
    yield f"  accTitle: {escaped(title_of(graph))}"
    yield f"  accDescr: {escaped(summary_of(graph))}"
    for node in graph.nodes:
        opening, closing = _SHAPES[node.kind]
        yield f'  {names[node.id]}{opening}"{_text(node)}"{closing}'
    for edge in graph.edges:
        yield f"  {names[edge.source]} {_arrow(edge)} {names[edge.target]}"
    for kind in _SHAPES:
        members = ",".join(names[node.id] for node in graph.nodes if node.kind == kind)
        if members:
            yield f"  class {members} {kind}"


def _text(node: Node) -> str:
    label = label_of(node)
    return "<br/>".join(escaped(line) for line in (label.title, label.role, *label.lines))


def _arrow(edge: Edge) -> str:
    arrow = _ARROWS[edge.link]
    return f'{arrow}|"{escaped(plain(edge.label))}"|' if edge.label else arrow


def escaped(text: str) -> str:
    """A line that Mermaid can take for nothing but text."""
    return "".join(
        character if character.isalnum() or character == " " else f"#{ord(character)};" for character in text
    )
