"""`dataset.read`: rows from wherever they come, checked and cut into parts; asked by the supervisor only."""

from __future__ import annotations

import asyncio
from typing import Final

from ..rows import Operation, Worker
from ..worker.calls import RunningCall
from .reading import ReadRows, read_and_cut


async def read_dataset(worker: Worker, call: RunningCall, what: ReadRows) -> object:
    """In a thread: a hundred thousand rows take seconds, in which other calls of this worker go on."""
    return await asyncio.get_running_loop().run_in_executor(worker.threads, read_and_cut, what)


READ_DATASET: Final = Operation(
    method="dataset.read",
    parameters=ReadRows,
    run=read_dataset,
    doc="Reads, checks and cuts rows for the store.",
)
