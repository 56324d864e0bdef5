"""Python modules that the host named at start-up: what they add to a worker.

A plug-in has `OPERATIONS`, a list of `dspex_bridge.rows.Operation`, or `MODULES`, a list of
`dspex_bridge.modules.catalog.ModuleClass` whose names specs may use, or `KINDS`, a list of
`dspex_bridge.jobs.kind.Kind` that jobs may be of, or several of them. This is the one door by which code
comes into a worker, and only the host can open it, when it starts the server.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TypeVar

from .jobs.kind import Kind
from .modules.catalog import ModuleClass
from .rows import Operation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plugged:
    """What all plug-ins add."""

    operations: dict[str, Operation] = field(default_factory=dict[str, Operation])
    modules: list[ModuleClass] = field(default_factory=list[ModuleClass])
    kinds: dict[str, Kind] = field(default_factory=dict[str, Kind])


def load_plugins(names: str) -> Plugged:
    """Import plug-ins.

    Args:
        names: Of Python modules, with commas between.

    Raises:
        TypeError: when one has none of the three lists, or something else in the place of one.
    """
    plugged = Plugged()
    for name in filter(None, names.split(",")):
        module = importlib.import_module(name)
        operations = _rows(module, name, "OPERATIONS", Operation)
        modules = _rows(module, name, "MODULES", ModuleClass)
        kinds = _rows(module, name, "KINDS", Kind)
        if not operations and not modules and not kinds:
            raise TypeError(f"plug-in {name!r} has neither OPERATIONS nor MODULES nor KINDS")
        plugged.operations.update({row.method: row for row in operations})
        plugged.modules.extend(modules)
        plugged.kinds.update({row.name: row for row in kinds})
    return plugged


def _rows(module: object, plugin: str, name: str, kind: type[T]) -> list[T]:
    rows: object = getattr(module, name, [])
    if not isinstance(rows, list) or not all(isinstance(row, kind) for row in rows):
        raise TypeError(f"plug-in {plugin!r}: {name} is no list of {kind.__module__}.{kind.__qualname__}")
    return rows
