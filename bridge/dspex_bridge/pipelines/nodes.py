"""The nodes of a pipeline, and what is wired to what, as a spec says them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import dspy

from dspex_protocol.errors import invalid_argument

from ..refusals import missing, refusal, unknown_field

if TYPE_CHECKING:
    from ..modules.options import Part

MAX_NODES: Final = 128
"""In one pipeline, with those of the pipelines in it: each is a module with its classes."""

MAX_NAME_CHARACTERS: Final = 64

Wires: TypeAlias = Mapping[str, Mapping[str, object]]
"""Node to input to what feeds it."""

_SOURCE: Final = "an input's name, node.field, or {value: a constant}"
_OF_PIPELINES: Final = ("plan", "minds_threads", "graph_feeds", "dump_memory", "load_memory")
_RESERVED: Final = frozenset((*dir(dspy.Module()), "forward", "aforward", "self", "metadata", *_OF_PIPELINES))
"""A node is an attribute of its pipeline, and its name a key of DSPy's own JSON."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The modules of a pipeline.

    Attributes:
        parts: By name.
        path: Where they stand in the call, for messages.
    """

    parts: Mapping[str, Part]
    path: str

    @property
    def spec(self) -> dict[str, object]:
        """As it is stored."""
        return {name: part.spec for name, part in self.parts.items()}

    @property
    def functions(self) -> frozenset[str]:
        """Of the host, that they call."""
        return frozenset().union(*(part.functions for part in self.parts.values()))

    @property
    def keeps_state(self) -> bool:
        """Whether a call may change one of them."""
        return any(part.keeps_state for part in self.parts.values())

    @property
    def wants_trace(self) -> bool:
        """Whether one of them reads DSPy's trace of the call."""
        return any(part.wants_trace for part in self.parts.values())


def read_nodes(value: object, path: str, part: Callable[[object, str], Part]) -> Nodes:
    """Build the nodes of a pipeline.

    Args:
        value: A map of name to spec.
        path: Where it stands in the call, for messages.
        part: Builds one.

    Raises:
        CallerError: `invalid_argument` naming the node, and what of its spec.
    """
    if not isinstance(value, dict) or not value:
        raise invalid_argument(path, f"a map of 1 to {MAX_NODES} nodes: name to spec", value)
    built: dict[str, Part] = {}
    count = 0
    for name, spec in value.items():
        _check_name(name, path)
        built[name] = made = part(spec, f"{path}.{name}")
        if made.call_inputs:
            more = ", ".join(sorted(made.call_inputs))
            raise refusal(f"{path}.{name}", "a module that takes its signature's inputs", f"one with {more}")
        count += 1 + count_nodes(made.spec)
        if count > MAX_NODES:
            raise refusal(path, f"at most {MAX_NODES} nodes, with those of pipelines inside", "more")
    return Nodes(built, path)


def count_nodes(spec: Mapping[str, object]) -> int:
    """How many nodes the pipelines in a spec have; it is in normal form."""
    options = spec["options"]
    assert isinstance(options, dict)
    nodes = list(options["nodes"].values()) if spec["module"] == "Pipeline" else []
    parts = options["parts"].values() if spec["module"] == "Host" and "parts" in options else []
    part = options.get("module")
    inside = [*nodes, *parts, *([part] if isinstance(part, dict) else [])]
    return len(nodes) + sum(map(count_nodes, inside))


def read_wires(value: object, path: str) -> Wires:
    """What feeds the inputs of nodes where names do not say it.

    Raises:
        CallerError: `invalid_argument` naming the input.
    """
    if not isinstance(value, dict):
        raise invalid_argument(path, "a map of node to a map of input to source", value)
    return {node: read_sources(wires, f"{path}.{node}") for node, wires in value.items()}


def read_sources(value: object, path: str) -> Mapping[str, object]:
    """A map of field to what feeds it.

    Raises:
        CallerError: `invalid_argument` naming the field.
    """
    if not isinstance(value, dict):
        raise invalid_argument(path, "a map of field to source", value)
    for name, source in value.items():
        _check_source(source, f"{path}.{name}")
    return value


def _check_source(source: object, path: str) -> None:
    if isinstance(source, dict):
        for key in source:
            if key != "value":
                raise unknown_field(path, key, ("value",))
        if not source:
            raise missing(f"{path}.value", "a constant")
    elif not isinstance(source, str) or not all(part.isidentifier() for part in source.split(".", 1)):
        raise invalid_argument(path, _SOURCE, source)


def _check_name(name: str, path: str) -> None:
    if not name.isidentifier() or name.startswith("_") or len(name) > MAX_NAME_CHARACTERS:
        expected = f"names that are identifiers of at most {MAX_NAME_CHARACTERS} characters, not from '_'"
        raise invalid_argument(path, expected, name)
    if name in _RESERVED:
        raise refusal(f"{path}.{name}", "a name that means nothing to dspy.Module", repr(name))
