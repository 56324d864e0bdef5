"""The case about programs in a worker: what their state costs out, in, and at the change of a version."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import cast

from dspex_pool.client import Client

from .cases import SIM, Figures

ROUNDS = 3


async def worker_state() -> Figures:
    """A program of five predictors with four demos each, in a forked worker; medians of its rounds."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    environment = {"PYTHONPATH": path}
    flags = ("--workers", "1", "--plugins", "bench.five_predictors")
    async with Client.start(lms=SIM, flags=flags, environment=environment) as client:
        rounds = [cast("Figures", await client.call("bench.state", {})) for _ in range(ROUNDS)]
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


CASES: dict[str, Callable[[], Awaitable[Figures]]] = {"worker_state": worker_state}
