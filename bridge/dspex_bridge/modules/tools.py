"""Tools of a program: functions of the host that a language model may choose to call.

What DSPy makes of a tool that fails is what a model can work with, an observation; so whatever
goes wrong in the host is raised here as it is, and DSPy's module says it to the model. Cancelling
and the call's deadline are no failures of the tool, and end the call.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import dspy

from dspex_protocol.errors import invalid_argument
from dspex_protocol.records import Doc, Length, Range, read

from ..host_functions import HostFunctions
from ..refusals import missing
from ..values.outgoing import to_wire
from .tool_descriptions import ToolDescription, check_names, check_tool

MAX_TOOLS: Final = 128
"""As many as providers take in one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostToolDescription(ToolDescription):
    """A tool, as it stands in a spec: the host runs it."""

    function: (
        Annotated[str, Length(1, 128), Doc("name of the host function; default: the tool's name")] | None
    ) = None
    timeout_s: Annotated[float, Range(0.001, 86_400), Doc("of one call")] | None = None


class HostTool:
    """A host function in the form that `dspy.Tool` wants: called with keyword arguments."""

    def __init__(self, description: HostToolDescription, functions: HostFunctions) -> None:
        self.function = description.function or description.name
        self._required = description.required
        self._timeout_s = description.timeout_s
        self._functions = functions
        self._args = description.args

    def __deepcopy__(self, memo: dict[int, Any]) -> HostTool:
        return self  # nothing in it changes, and what it calls cannot be copied

    @property
    def __signature__(self) -> inspect.Signature:
        """What code that calls it by position goes by: as in the spec, required ones first.

        Raises:
            ValueError: for an argument that no code can name, such as `class`.
        """
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        required = [inspect.Parameter(name, kind) for name in self._required]
        rest = [
            inspect.Parameter(name, kind, default=schema["default"])
            for name, schema in self._args.items()
            if isinstance(schema, dict) and "default" in schema
        ]
        return inspect.Signature([*required, *rest])

    def __call__(self, **arguments: Any) -> Any:
        """The result, or on the event loop a coroutine that gives it.

        Raises:
            ValueError: for a required argument that the model left out.
            DSPexError: what became of the call.
        """
        lacking = [name for name in self._required if name not in arguments]
        if lacking:
            raise ValueError(f"missing arguments: {', '.join(lacking)}")
        return self._functions.call(self.function, _written(arguments), self._timeout_s)


class Tools(list[Any]):
    """The tools of a program.

    Attributes:
        functions: Of the host, that they call.
    """

    def __init__(self, tools: Iterable[tuple[dspy.Tool, str]]) -> None:
        pairs = list(tools)
        super().__init__(tool for tool, _ in pairs)
        self.functions = frozenset(function for _, function in pairs)


def read_tools(value: object, path: str, functions: HostFunctions) -> Tools:
    """The tools of a spec.

    Args:
        value: An array of descriptions.
        path: Where it stands, for messages.
        functions: The host's; each tool's must be one of them.

    Raises:
        CallerError: `invalid_argument` or `unknown_function` naming the part.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TOOLS:
        raise invalid_argument(path, f"an array of 1 to {MAX_TOOLS} tools", value)
    tools = Tools(_read_tool(member, f"{path}[{n}]", functions) for n, member in enumerate(value))
    check_names([tool.name for tool in tools], path)
    return tools


def _read_tool(value: object, path: str, functions: HostFunctions) -> tuple[dspy.Tool, str]:
    """One tool, and the function that it calls."""
    if isinstance(value, dict) and "name" not in value:
        raise missing(f"{path}.name", "a name")
    description = read(HostToolDescription, value, path)
    check_tool(description, path)
    function = HostTool(description, functions)
    functions.require(function.function, f"{path}.function")
    return _tool(description, function), function.function


def _tool(description: HostToolDescription, function: HostTool) -> dspy.Tool:
    tool = dspy.Tool(
        function,
        name=description.name,
        desc=description.desc,
        args=description.args,
        arg_types=dict.fromkeys(description.args, Any),
    )
    tool.has_kwargs = False  # what `HostTool` takes is not what the host's function takes
    return tool


def _written(arguments: Mapping[str, Any]) -> dict[str, object]:
    return {name: to_wire(value) for name, value in arguments.items()}
