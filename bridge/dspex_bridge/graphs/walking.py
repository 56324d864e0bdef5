"""What a program is made of, found by walking the module that was built of its spec.

So modules of plug-ins are told as DSPy's own are. What a walk cannot find is what a module hides in
a closure, but for the one place where DSPy does so: the reward of `BestOfN` and `Refine`.

A module whose parts feed one another says so by a method `graph_feeds()`: triples of the part that a
value comes from, the part that it goes to, and the name of its field. The module itself stands for
its inputs where it is the first of a triple, and for its outputs where it is the second.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

import dspy
from dspy.adapters.utils import get_annotation_name
from dspy.primitives.base_module import BaseModule

from ..modules.rewards import HostReward
from ..modules.tools import HostTool
from ..programs.live import LiveProgram
from ..values.outgoing import to_wire
from .parts import Edge, Graph, Kind, Node

PROGRAM: Final = "program"
"""Id of the program's node. Those of its parts are DSPy's names, which begin with `self`."""

REWARD: Final = "reward_fn"
"""The argument, and the attribute, that DSPy's modules have for a reward."""


def graph_of(
    program: LiveProgram,
    models: Mapping[str, str],
    name: str | None = None,
    version: int | None = None,
) -> Graph:
    """A program's graph.

    Args:
        program: Stays as it is.
        models: Models by the names of the configured language models.
        name: Id of a stored program.
        version: Its version.

    Raises:
        TypeError: when a module tells of feeds that cannot be.
    """
    return _Walk(program, models).graph(name, version)


class _Walk:
    """One walk through a program.

    Attributes:
        nodes: By id, in the order in which they were found.
    """

    def __init__(self, program: LiveProgram, models: Mapping[str, str]) -> None:
        self._program = program
        self._models = models
        self.nodes: dict[str, Node] = {}
        self._edges: list[Edge] = []
        self._ids: dict[int, str] = {}
        self._predictors = {id(part): name for name, part in program.module.named_predictors()}

    def graph(self, name: str | None, version: int | None) -> Graph:
        self._add_program(name, version)
        walked: Any = self._program.module.named_sub_modules((BaseModule, dspy.Tool))
        parts: list[tuple[str, Any]] = list(walked)
        for path, part in parts:
            self._add_part(path, part)
        self._edges.append(Edge(PROGRAM, self._ids[id(self._program.module)], "contains"))
        for _, part in parts:
            if isinstance(part, BaseModule):
                self._add_edges(part)
        return Graph(tuple(self.nodes.values()), tuple(dict.fromkeys(self._edges)))

    def _add(self, wanted: str, kind: Kind, name: str, facts: Mapping[str, object]) -> str:
        """A node; DSPy gives one name to two parts where keys of a dict look alike."""
        own, n = wanted, 1
        while own in self.nodes:
            n += 1
            own = f"{wanted}#{n}"
        self.nodes[own] = Node(own, kind, name, facts)
        return own

    def _add_program(self, name: str | None, version: int | None) -> None:
        template = self._program.template
        module = str(template.spec["module"])
        facts = {
            "module": module,
            "program": name,
            "version": version,
            "signature": _signature(template.signature),
        }
        self._add(PROGRAM, "program", name or module, facts)

    def _add_part(self, path: str, part: Any) -> None:
        if isinstance(part, dspy.Tool):
            self._ids[id(part)] = self._add(path, "tool", str(part.name), _tool(part))
            return
        facts: dict[str, object] = {"class": type(part).__name__, "path": path}
        kind: Kind = "module"
        if isinstance(part, dspy.Predict):
            kind = "predictor"
            facts |= self._predictor(part)
        self._ids[id(part)] = self._add(path, kind, path.rpartition(".")[2], facts)

    def _predictor(self, part: Any) -> dict[str, object]:
        name = self._predictors.get(id(part))
        return {
            "predictor": name,
            "signature": _signature(part.signature),
            "demos": len(part.demos),
            "lm": None if name is None else self._program.lms.get(name),
        }

    # What is between them

    def _add_edges(self, module: Any) -> None:
        own = self._ids[id(module)]
        for member in self._members(module):
            is_tool = isinstance(member, dspy.Tool)
            self._edges.append(Edge(own, self._ids[id(member)], "calls" if is_tool else "contains"))
        reward = vars(module).get(REWARD)
        if callable(reward):
            called = self._add(f"{own}.{REWARD}", "reward", *_reward(reward))
            self._edges.append(Edge(own, called, "calls"))
        lm = self.nodes[own].facts.get("lm")
        if isinstance(lm, str):
            self._edges.append(Edge(own, self._language_model(lm), "calls"))
        self._edges.extend(self._feeds(module, own))

    def _members(self, module: Any) -> Iterator[Any]:
        """The parts that a module holds itself, also in lists and dicts."""
        waiting = deque(vars(module).values())
        seen: set[int] = set()
        while waiting:
            item: Any = waiting.popleft()
            if id(item) in self._ids:
                yield item
            elif isinstance(item, list | tuple | dict) and id(item) not in seen:
                seen.add(id(item))
                waiting.extend(item.values() if isinstance(item, dict) else item)

    def _language_model(self, name: str) -> str:
        own = f"lm:{name}"
        if own not in self.nodes:
            self.nodes[own] = Node(own, "lm", name, {"model": self._models.get(name)})
        return own

    def _feeds(self, module: Any, own: str) -> Iterator[Edge]:
        told = getattr(module, "graph_feeds", None)
        if told is None:
            return
        for source, target, field in told():
            ends = [own if end is module else self._ids.get(id(end)) for end in (source, target)]
            if ends[0] is None or ends[1] is None or not isinstance(field, str):
                raise TypeError(f"{type(module).__name__}.graph_feeds tells of what is no part of it")
            yield Edge(ends[0], ends[1], "feeds", field)


def _signature(signature: Any) -> dict[str, object]:
    return {
        "name": signature.__name__,
        "instructions": signature.instructions,
        "inputs": _fields(signature.input_fields),
        "outputs": _fields(signature.output_fields),
    }


def _fields(fields: Mapping[str, Any]) -> list[object]:
    return [
        {
            "name": name,
            "type": get_annotation_name(field.annotation),
            "description": _description(name, field.json_schema_extra),
        }
        for name, field in fields.items()
    ]


def _description(name: str, extra: Mapping[str, Any]) -> str:
    """What is said of a field; DSPy has its name in braces where nothing is."""
    said = str(extra.get("desc") or "")
    return "" if said == f"${{{name}}}" else said


def _tool(tool: Any) -> dict[str, object]:
    return {
        "description": tool.desc or "",
        "args": {name: _schema(schema) for name, schema in (tool.args or {}).items()},
        "function": tool.func.function if isinstance(tool.func, HostTool) else None,
    }


def _schema(schema: object) -> object:
    """An argument's schema; one with something of Python in it, as plug-ins may have, is told empty."""
    try:
        return to_wire(schema)
    except Exception:  # whatever it is that has no form on the wire
        return {}


def _reward(function: Any) -> tuple[str, dict[str, object]]:
    """Name and facts of a reward, which DSPy wraps into a function of its own."""
    for inner in (function, *_closed_over(function)):
        if isinstance(inner, HostReward):
            return inner.function, {"description": inner.told, "function": inner.function}
    inner = next(iter(_closed_over(function)), function)
    return str(getattr(inner, "__name__", type(inner).__name__)), {"description": "", "function": None}


def _closed_over(function: Any) -> list[Any]:
    """What a function refers to from around it."""
    cells = getattr(function, "__closure__", None) or ()
    found: list[Any] = []
    for cell in cells:
        with contextlib.suppress(ValueError):  # an empty one
            found.append(cell.cell_contents)
    return [value for value in found if callable(value)]
