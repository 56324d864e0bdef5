"""What a program would ask of its language models: the request of each predictor, and nobody is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import dspy
from pydantic_core import PydanticUndefined

from ..lms.overhearing import Ear, overheard
from ..modules.running import run_module
from ..programs.live import LiveProgram
from ..signatures.signatures import check_given

_UNDER_THEIR_NAMES: Final = ("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format")
"""Of a request; the rest is told as `config`."""

LMOf = Callable[[str], dspy.LM | None]
"""Whom the predictor of that name asks; None for a model without a provider's own means."""


async def prompts_of(
    program: LiveProgram,
    adapter: dspy.Adapter,
    lm_of: LMOf,
    inputs: dict[str, object],
    threads: ThreadPoolExecutor,
) -> list[dict[str, object]]:
    """The requests that predictors would make, in the form of chat completions.

    Args:
        program: Whose predictors they are, with what these have learned.
        adapter: What writes them.
        lm_of: For which models: what these can do decides what is asked for in words.
        inputs: Of the program's signature, any of them; what is missing is told as `{name}`,
            and so is what a predictor gets from the program itself.
        threads: For what may take long, and for programs without an async form.

    Returns:
        `{predictor, messages}` of each predictor, in DSPy's order, with `tools`, `tool_choice`,
        `parallel_tool_calls`, `response_format` and `config` where there are any.

    Raises:
        CallerError: `invalid_argument` for an unknown or unfitting input.
    """
    given = check_given(program.signature, inputs)
    tools = _tools_of(program.module)
    predictors: dict[str, Any] = dict(program.module.named_predictors())
    told: list[dict[str, object]] = []
    # A name in braces fits no type; DSPy's warning would show the inputs.
    with dspy.context(adapter=adapter, disable_history=True, trace=None, warn_on_type_mismatch=False):
        for name, predictor in predictors.items():
            ear = await asyncio.get_running_loop().run_in_executor(threads, Ear, lm_of(name))
            asking = _Asking(program, predictor, threads, _filled(predictor.signature, given, tools))
            told.append({"predictor": name, **_parts(await overheard(ear, asking))})
    return told


class _Asking:
    """A call of one predictor, but for its LM."""

    def __init__(
        self, program: LiveProgram, predictor: Any, threads: ThreadPoolExecutor, inputs: dict[str, object]
    ) -> None:
        self._is_async = program.template.runs_async
        self._predictor = predictor
        self._threads = threads
        self._inputs = inputs

    async def __call__(self, lm: dspy.LM) -> None:
        await run_module(self._predictor, {**self._inputs, "lm": lm}, self._threads, is_async=self._is_async)


def _parts(body: Mapping[str, Any]) -> dict[str, object]:
    parts: dict[str, object] = {name: body[name] for name in _UNDER_THEIR_NAMES if name in body}
    config = {name: value for name, value in body.items() if name not in _UNDER_THEIR_NAMES}
    return parts | ({"config": config} if config else {})


def _filled(signature: Any, given: Mapping[str, object], tools: list[dspy.Tool]) -> dict[str, object]:
    filled: dict[str, object] = {}
    for name, field in signature.input_fields.items():
        if name in given:
            filled[name] = given[name]
        elif field.default is not PydanticUndefined:
            filled[name] = field.default
        elif field.annotation == list[dspy.Tool] and tools:
            filled[name] = tools
        elif field.annotation is dspy.History:
            filled[name] = dspy.History(messages=[])  # one that has not begun says nothing
        else:
            filled[name] = f"{{{name}}}"
    return filled


def _tools_of(module: Any) -> list[dspy.Tool]:
    """Those of an agent, which hands them to its predictor."""
    tools = getattr(module, "tools", None)
    return [tool for tool in tools.values() if isinstance(tool, dspy.Tool)] if isinstance(tools, dict) else []
