"""Running a module, wherever it can run."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import dspy


def runs_async(module: dspy.Module) -> bool:
    """Whether a module and all in it have an async form; else it must run in a thread.

    Not counted is what stands in a module that `minds_threads`: that one sees to it itself.
    """
    parts = [part for _, part in module.named_sub_modules()]
    minding = [part for part in parts if getattr(part, "minds_threads", False)]
    minded = {id(inner) for part in minding for _, inner in part.named_sub_modules() if inner is not part}
    own = [part for part in parts if id(part) not in minded]
    return not any(map(_has_code, own)) and all(hasattr(part, "aforward") for part in own)


def runs_code(module: dspy.Module) -> bool:
    """Whether a module or one in it runs code; what DSPy calls their async form waits for that code."""
    return any(_has_code(part) for _, part in module.named_sub_modules())


def _has_code(part: object) -> bool:
    return hasattr(part, "_interpreter_factory")


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
