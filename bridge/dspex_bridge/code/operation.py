"""`code.check`: whether this server runs code that a model writes."""

from __future__ import annotations

import asyncio
from typing import Final

from dspex_protocol.errors import DSPexError

from ..rows import Nothing, Operation, Worker
from ..worker.calls import RunningCall


async def check_code(worker: Worker, call: RunningCall, what: Nothing) -> object:
    """What code would run in, or why it would not. It looks, and starts no interpreter."""
    look = worker.interpreters.sandbox
    try:
        sandbox = await asyncio.get_running_loop().run_in_executor(worker.threads, look)
    except DSPexError as refused:
        return {"can_run": False, "sandbox": None, **refused.details}
    return {"can_run": True, "sandbox": None if sandbox is None else sandbox.kind}


CHECK_CODE: Final = Operation(
    method="code.check",
    parameters=Nothing,
    run=check_code,
    doc="Whether code that a model writes can be run, and within what.",
)
