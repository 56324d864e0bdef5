"""DSPy's CodeAct, whose tools are functions of the host."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import dspy


class CodeAct(dspy.CodeAct):
    """Writes code that calls tools, and runs it, until it knows the answer.

    DSPy's own takes plain functions and runs their source in the sandbox. A function of the host has
    no source there; it is called from within the sandbox as RLM's tools are.
    """

    def __init__(
        self,
        signature: Any,
        tools: list[dspy.Tool],
        max_iters: int = 5,
        interpreter_factory: Any = dspy.PythonInterpreter,
    ) -> None:
        super().__init__(signature, [_as_function(tool) for tool in tools], max_iters, interpreter_factory)
        # DSPy's loop over `tools` is what runs their source.
        self.host_tools: dict[str, dspy.Tool] = {str(tool.name): tool for tool in tools}
        self.tools: dict[str, dspy.Tool] = {}

    def forward(self, interpreter: Any = None, /, **kwargs: Any) -> Any:
        """As DSPy's, in an interpreter that knows the tools."""
        with self._interpreter_context(interpreter) as own:
            own.tools.update({name: _entry(tool) for name, tool in self.host_tools.items()})
            return super().forward(own, **kwargs)


def _as_function(tool: dspy.Tool) -> dspy.Tool:
    """The same tool for DSPy's constructor, which takes functions only and tells of them to the model."""
    return dspy.Tool(_entry(tool), name=tool.name, desc=tool.desc, args=tool.args, arg_types=tool.arg_types)


def _entry(tool: dspy.Tool) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        return tool(**arguments)

    call.__signature__ = inspect.signature(tool.func)  # type: ignore[attr-defined]
    return call
