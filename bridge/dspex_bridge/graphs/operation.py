"""`program.graph`: what a program is made of, as data or as a drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from dspex_protocol import invalid_argument
from dspex_protocol.records import Doc

from ..graphs import Graph, graph_of, to_mermaid, to_svg
from ..host_functions import HostFunctions
from ..programs.builder import Builder
from ..programs.live import LiveProgram
from ..programs.records import Spec
from ..refusals import refusal
from ..rows import Worker
from ..worker.calls import RunningCall

MAX_DRAWN: Final = 500
"""Parts of a drawing: nobody could read more, and the worker's other calls wait while it is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeGraph:
    """A program to be looked into."""

    spec: Annotated[Spec, Doc("the program, where meta names none")] | None = None
    state: Annotated[object, Doc("with a spec: map of predictor to the parts that are another way")] = None
    format: Annotated[
        Literal["data", "mermaid", "svg"], Doc("nodes and edges, or a text that draws them")
    ] = "data"


class AnyFunctions(HostFunctions):
    """Functions of whatever name: a program that is looked at calls none."""

    def require(self, name: str, path: str, prefix: str = "") -> None:
        """There is every one."""


async def describe_graph(worker: Worker, call: RunningCall, what: DescribeGraph) -> object:
    """Tell of a program what it is made of; whether the host offers its functions does not matter."""
    program = _program_of(worker, call, what)
    models = {name: config.model for name, config in worker.lms.configs.items()}
    name, version = call.meta.get("program"), call.meta.get("version")
    graph = graph_of(
        program,
        models,
        name if isinstance(name, str) else None,
        version if isinstance(version, int) else None,
    )
    if what.format == "data":
        return graph.to_wire()
    _check_size(graph)
    return {"text": to_mermaid(graph) if what.format == "mermaid" else to_svg(graph)}


def _program_of(worker: Worker, call: RunningCall, what: DescribeGraph) -> LiveProgram:
    builder = Builder(worker.programs.builder.catalog, AnyFunctions())
    if call.program is None:
        if what.spec is None:
            raise invalid_argument("spec", "a spec, since meta names no stored program", None)
        return builder.build(what.spec, what.state)
    for field in ("spec", "state"):
        if getattr(what, field) is not None:
            given = getattr(what, field)
            raise invalid_argument(field, f"no {field}, since meta names a stored program", given)
    return call.program.seen_by(builder)


def _check_size(graph: Graph) -> None:
    if len(graph.nodes) > MAX_DRAWN:
        raise refusal(
            "format", f"data, for a program of more than {MAX_DRAWN} parts", f"one of {len(graph.nodes)}"
        )
