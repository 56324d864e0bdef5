"""Running a module, wherever it can run."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import dspy


def runs_async(module: dspy.Module) -> bool:
    """Whether a module and all in it have an async form; else it must run in a thread."""
    return all(hasattr(part, "aforward") for _, part in module.named_sub_modules()) and not runs_code(module)


def runs_code(module: dspy.Module) -> bool:
    """Whether a module or one in it runs code; what DSPy calls their async form waits for that code."""
    return any(hasattr(part, "_interpreter_factory") for _, part in module.named_sub_modules())


async def run_module(
    module: dspy.Module,
    inputs: Mapping[str, object],
    threads: ThreadPoolExecutor | None = None,
    *,
    is_async: bool | None = None,
) -> dspy.Prediction:
    """Call a module: on the event loop where it has an async form, else in a thread.

    The thread gets a copy of this call's context, so that `dspy.context` and the usage
    of the call hold there too. A thread cannot be stopped: cancelling leaves it running.

    Args:
        module: Called with keywords.
        inputs: These.
        threads: Where it may run; by default the loop's own.
        is_async: What `runs_async` says, where that is known.
    """
    if runs_async(module) if is_async is None else is_async:
        return await module.acall(**inputs)
    work = functools.partial(copy_context().run, module, **inputs)
    return await asyncio.get_running_loop().run_in_executor(threads, work)
