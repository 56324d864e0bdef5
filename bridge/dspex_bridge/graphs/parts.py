"""A program's parts and what is between them, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["program", "module", "predictor", "tool", "reward", "lm"]
Link: TypeAlias = Literal["contains", "calls", "feeds"]


@dataclass(frozen=True, slots=True)
class Node:
    """A part.

    Attributes:
        id: Unique in its graph; of what DSPy names, DSPy's name.
        kind: What it is.
        name: What people call it.
        facts: What else is known of it, as values of the wire.
    """

    id: str
    kind: Kind
    name: str
    facts: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Edge:
    """What one part has to do with another.

    Attributes:
        source: Id of a node.
        target: Id of a node.
        link: `contains`: it is made of it; `calls`: it may call it; `feeds`: a value goes there.
        label: The field whose value goes there.
    """

    source: str
    target: str
    link: Link
    label: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """All of a program; the first node is the program itself."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def to_wire(self) -> dict[str, object]:
        """As docs/protocol.md section 7.2 tells it."""
        return {
            "nodes": [
                {"id": node.id, "kind": node.kind, "name": node.name, **node.facts} for node in self.nodes
            ],
            "edges": [
                {"from": edge.source, "to": edge.target, "kind": edge.link}
                | ({"label": edge.label} if edge.label else {})
                for edge in self.edges
            ],
        }
