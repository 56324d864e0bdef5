"""From a pipeline's nodes and wires to the order in which they run, checked. Pure.

What feeds an input is what the wires say, and else the one thing of the same name: an input of
the pipeline, or an output of another node. Whatever is not so is refused here, when a program is
made, and not when a call has paid for half of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import dspy

from ..modules.options import Part
from ..modules.running import runs_async
from ..refusals import missing, refusal, unknown_field
from ..signatures.signatures import FieldCheck, check_input, field_check, normal_of
from .fitting import Field, fits, in_words, may_be_absent, needs_check
from .nodes import Nodes, Wires

MAX_TOLD: Final = 32
"""Names that an error lists."""


class Source(NamedTuple):
    """A field that may feed others; `node` is None for an input of the pipeline."""

    node: str | None
    name: str

    def __str__(self) -> str:
        return self.name if self.node is None else f"{self.node}.{self.name}"


@dataclass(frozen=True, slots=True)
class Feed:
    """What one field gets.

    Attributes:
        field: Its name.
        source: Where the value comes from; None for a constant.
        constant: That.
        check: What the value must pass, where its type does not say that it fits.
    """

    field: str
    source: Source | None
    constant: Any = None
    check: FieldCheck | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A node that runs.

    Attributes:
        name: Of the node, which is an attribute of the pipeline.
        feeds: Its inputs.
        needs: The nodes that must have ended.
        gives: The fields that others take of it.
        signature: Its own.
        is_async: It runs on the event loop; else it takes a thread.
    """

    name: str
    feeds: tuple[Feed, ...]
    needs: frozenset[str]
    gives: tuple[str, ...]
    signature: type[dspy.Signature]
    is_async: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline that has been checked. It never changes, and copies of its pipeline share it.

    Attributes:
        steps: Each after all that it needs; among equals by name.
        outputs: What the prediction has.
        signature: Of the pipeline.
    """

    steps: tuple[Step, ...]
    outputs: tuple[Feed, ...]
    signature: type[dspy.Signature]

    def __deepcopy__(self, memo: object) -> Plan:
        return self


def plan(signature: type[dspy.Signature], nodes: Nodes, wires: Wires, outputs: Mapping[str, object]) -> Plan:
    """Check a pipeline and put its nodes into an order.

    Args:
        signature: Of the whole.
        nodes: Its modules.
        wires: What feeds their inputs, where that is not what has the same name.
        outputs: Likewise of its outputs.

    Raises:
        CallerError: `invalid_argument` naming the node and the field, with what there is.
    """
    return _Planner(signature, nodes).plan(wires, outputs)


class _Fed(NamedTuple):
    """What is to be fed: the inputs of a node, or the outputs of the pipeline, where `node` is None."""

    node: str | None
    fields: Mapping[str, Field]
    signature: type[dspy.Signature]
    path: str


class _Planner:
    def __init__(self, signature: type[dspy.Signature], nodes: Nodes) -> None:
        self._signature = signature
        self._parts = nodes.parts
        self._path = nodes.path.removesuffix(".nodes")
        self._inputs = _fields(signature, "inputs")
        self._named: dict[str, list[Source]] = {name: [Source(None, name)] for name in self._inputs}
        for node, part in self._parts.items():
            for name in part.outputs:
                self._named.setdefault(name, []).append(Source(node, name))

    def plan(self, wires: Wires, outputs: Mapping[str, object]) -> Plan:
        for name in wires:
            if name not in self._parts:
                nodes = f"one of the nodes {_listed(self._parts)}"
                raise refusal(f"{self._path}.wires.{name}", nodes, "an unknown one")
        feeds = {
            name: self._feeds(self._node(name, part), wires.get(name, {}))
            for name, part in self._parts.items()
        }
        fields = _fields(self._signature, "outputs")
        results = self._feeds(_Fed(None, fields, self._signature, f"{self._path}.outputs"), outputs)
        needs = {name: _nodes_of(own) for name, own in feeds.items()}
        order = self._in_order(needs)
        taken = {feed.source for own in (*feeds.values(), results) for feed in own if feed.source}
        self._refuse_unused(_nodes_of(results), needs, taken)
        steps = (self._step(name, feeds[name], needs[name], taken) for name in order)
        return Plan(tuple(steps), results, self._signature)

    def _node(self, name: str, part: Part) -> _Fed:
        fields = _fields(part.signature, "inputs")
        return _Fed(name, fields, part.signature, f"{self._path}.wires.{name}")

    def _step(self, name: str, feeds: tuple[Feed, ...], needs: frozenset[str], taken: set[Source]) -> Step:
        part = self._parts[name]
        gives = tuple(field for field in part.outputs if Source(name, field) in taken)
        return Step(name, feeds, needs, gives, part.signature, runs_async(part.module))

    # What feeds what

    def _feeds(self, fed: _Fed, wires: Mapping[str, object]) -> tuple[Feed, ...]:
        for name in wires:
            if name not in fed.fields:
                raise unknown_field(fed.path, name, fed.fields)
        feeds = (
            self._wired(fed, name, wires[name]) if name in wires else self._by_name(fed, name)
            for name in fed.fields
        )
        return tuple(feed for feed in feeds if feed is not None)

    def _wired(self, fed: _Fed, name: str, wire: object) -> Feed:
        path = f"{fed.path}.{name}"
        if fed.node is None and (isinstance(wire, dict) or "." not in str(wire)):
            raise refusal(path, self._choice(fed), "what is no output of a node")
        if isinstance(wire, dict):
            return Feed(name, None, check_input(fed.signature, name, wire["value"], f"{path}.value"))
        node, dot, field = str(wire).rpartition(".")
        source = Source(node if dot else None, field)
        self._field(source, fed, path)
        return self._feed(fed, name, source)

    def _by_name(self, fed: _Fed, name: str) -> Feed | None:
        found = [source for source in self._named.get(name, ()) if _may_feed(source, fed)]
        path = f"{fed.path}.{name}"
        if len(found) > 1:
            raise refusal(
                path, f"one of {_listed(found)}, which all have that name", "nothing: it is missing"
            )
        if found:
            return self._feed(fed, name, found[0])
        if fed.node is not None and may_be_absent(fed.fields[name]):
            return None
        raise missing(path, self._choice(fed))

    def _feed(self, fed: _Fed, name: str, source: Source) -> Feed:
        wanted, path = fed.fields[name], f"{fed.path}.{name}"
        given = self._field(source, fed, path)
        if not fits(given, wanted):
            raise refusal(path, f"a source of the type {in_words(wanted)}", f"{source}, of {in_words(given)}")
        return Feed(name, source, check=field_check(fed.signature, name) if needs_check(wanted) else None)

    def _field(self, source: Source, fed: _Fed, path: str) -> Field:
        if source.node is not None and source.node not in self._parts:
            nodes = _listed(self._parts)
            raise refusal(path, f"a field of one of the nodes {nodes}", f"one of the node {source.node!r}")
        fields = self._inputs if source.node is None else self._parts[source.node].outputs
        field = fields.get(source.name)
        if field is None:
            what = (
                self._choice(fed)
                if source.node is None
                else f"one of the fields {_listed(fields)} of {source.node}"
            )
            raise refusal(path, what, f"the unknown {str(source)!r}")
        return field

    def _sources(self, fed: _Fed) -> Iterable[Source]:
        return (source for named in self._named.values() for source in named if _may_feed(source, fed))

    def _choice(self, fed: _Fed) -> str:
        return f"one of {_listed(self._sources(fed))}"

    # The order

    def _in_order(self, needs: Mapping[str, frozenset[str]]) -> list[str]:
        order: dict[str, None] = {}
        left = sorted(needs)
        while left:
            ready = next((name for name in left if needs[name] <= order.keys()), None)
            if ready is None:
                cycle = _cycle(needs, left)
                raise refusal(f"{self._path}.nodes", "nodes without a cycle", " -> ".join(cycle))
            order[ready] = None
            left.remove(ready)
        return list(order)

    def _refuse_unused(
        self, results: frozenset[str], needs: Mapping[str, frozenset[str]], taken: set[Source]
    ) -> None:
        used = set[str]()
        reached = set(results)
        while reached:
            used |= reached
            reached = {need for name in reached for need in needs[name]} - used
        for name in needs:
            if name not in used:
                expected = "a node that an output depends on, by way of others or not"
                raise refusal(f"{self._path}.nodes.{name}", expected, "one of which nothing is used")
        feeding = [name for name in self._inputs if Source(None, name) in taken]
        for name in self._inputs:
            if name not in feeding:
                raise refusal(
                    f"{self._path.removesuffix('.options')}.signature",
                    f"inputs that feed a node, which are {_listed(feeding)}",
                    f"also {name!r}",
                )


def _fields(signature: type[dspy.Signature], side: str) -> dict[str, Field]:
    normal: Any = normal_of(signature)
    return {field["name"]: field for field in normal[side]}


def _may_feed(source: Source, fed: _Fed) -> bool:
    """Whether a name alone may make it so: no node feeds itself, and outputs come from nodes."""
    return source.node != fed.node


def _nodes_of(feeds: Iterable[Feed]) -> frozenset[str]:
    return frozenset(feed.source.node for feed in feeds if feed.source is not None and feed.source.node)


def _cycle(needs: Mapping[str, frozenset[str]], left: list[str]) -> list[str]:
    """A cycle among nodes of which each needs another one of them, in the order of what flows."""
    walked = [left[0]]
    while True:
        following = min(need for need in needs[walked[-1]] if need in left)
        if following in walked:
            return [following, *reversed(walked[walked.index(following) :])]
        walked.append(following)


def _listed(names: Iterable[object]) -> str:
    told = [str(name) for name in names]
    more = f" and {len(told) - MAX_TOLD} more" if len(told) > MAX_TOLD else ""
    return (", ".join(told[:MAX_TOLD]) or "none") + more
