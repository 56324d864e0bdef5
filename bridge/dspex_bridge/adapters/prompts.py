"""What a program would say to its language model: the messages of each predictor, and nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy
from pydantic_core import PydanticUndefined

from ..programs.live import LiveProgram
from ..signatures.signatures import check_given


def prompts_of(
    program: LiveProgram, adapter: dspy.Adapter, inputs: dict[str, object]
) -> list[dict[str, object]]:
    """The messages that an adapter would send, to a model without native features.

    Args:
        program: Whose predictors they are, with what these have learned.
        adapter: What writes them.
        inputs: Of the program's signature, any of them; what is missing is told as `{name}`,
            and so is what a predictor gets from the program itself.

    Returns:
        `{predictor, messages}` of each predictor, in DSPy's order.

    Raises:
        CallerError: `invalid_argument` for an unknown or unfitting input.
    """
    given = check_given(program.signature, inputs)
    tools = _tools_of(program.module)
    predictors: dict[str, Any] = dict(program.module.named_predictors())
    return [
        {"predictor": name, "messages": _messages_of(predictor, adapter, given, tools)}
        for name, predictor in predictors.items()
    ]


def _messages_of(
    predictor: Any, adapter: Any, given: Mapping[str, object], tools: list[dspy.Tool]
) -> list[dict[str, Any]]:
    inputs = _filled(predictor.signature, given, tools)
    messages: list[dict[str, Any]] = adapter.format(predictor.signature, list(predictor.demos), inputs)
    return messages


def _filled(signature: Any, given: Mapping[str, object], tools: list[dspy.Tool]) -> dict[str, object]:
    filled: dict[str, object] = {}
    for name, field in signature.input_fields.items():
        if name in given:
            filled[name] = given[name]
        elif field.default is not PydanticUndefined:
            filled[name] = field.default
        elif field.annotation == list[dspy.Tool] and tools:
            filled[name] = tools
        elif field.annotation is not dspy.History:  # a conversation that has not begun says nothing
            filled[name] = f"{{{name}}}"
    return filled


def _tools_of(module: Any) -> list[dspy.Tool]:
    """Those of an agent, which hands them to its predictor."""
    tools = getattr(module, "tools", None)
    return [tool for tool in tools.values() if isinstance(tool, dspy.Tool)] if isinstance(tools, dict) else []
