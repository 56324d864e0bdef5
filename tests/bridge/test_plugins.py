"""Plug-ins: what the host may add to a worker when it starts the server."""

from __future__ import annotations

import sys
import types

import dspy
import pytest

from dspex_bridge.modules.catalog import Catalog, ModuleClass
from dspex_bridge.plugins import load_plugins
from dspex_bridge.rows import Nothing, Operation

ROW = Operation(method="test.none", parameters=Nothing, run=print, doc="Nothing.")
MINE = ModuleClass(name="Mine", make=dspy.Predict)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module that can be imported by its name."""
    module = types.ModuleType("my_plugin")
    monkeypatch.setitem(sys.modules, "my_plugin", module)
    return module


def test_a_plugin_adds_operations_and_modules(plugin: types.ModuleType) -> None:
    """Both, or one of them."""
    plugin.MODULES = [MINE]  # type: ignore[attr-defined]
    assert ({}, [MINE]) == (load_plugins("my_plugin").operations, load_plugins("my_plugin").modules)
    plugin.OPERATIONS = [ROW]  # type: ignore[attr-defined]
    assert {"test.none": ROW} == load_plugins("my_plugin,").operations


@pytest.mark.parametrize(
    ("name", "value"), [("OTHER", []), ("OPERATIONS", {}), ("MODULES", [dspy.Predict]), ("MODULES", [])]
)
def test_a_plugin_with_nothing_to_add_is_refused(plugin: types.ModuleType, name: str, value: object) -> None:
    """A misspelt list would be missed at the first call only."""
    setattr(plugin, name, value)
    with pytest.raises(TypeError, match="my_plugin"):
        load_plugins("my_plugin")


@pytest.mark.parametrize("name", ["Predict", "ReAct", "Mine"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    """Specs that are stored would mean something else."""
    with pytest.raises(TypeError, match=name):
        Catalog([MINE, ModuleClass(name=name, make=dspy.Predict)])


def test_a_module_of_a_plugin_is_described() -> None:
    """As DSPy's own are."""
    rows = {row["name"]: row for row in Catalog([MINE]).describe()}
    assert rows["Mine"]["available"]
    assert rows["Predict"]["available"]
    assert rows["Flex"]["available"]
