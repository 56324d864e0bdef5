"""Optimizers as jobs against DSPy's own in process: the same questions, and the same program."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.bridge.jobs.job_hop import JobHop
from tests.support.hops import worker_here
from tests.support.optimizing import LMS, OPTIMIZERS, by_dspy, listening, request


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
async def test_it_is_dspys_own(name: str) -> None:
    """To the last demo and word."""
    with listening() as asked:
        async with worker_here(LMS) as (hop, _):
            reply = await JobHop(hop).run(request(name), "optimize")
    with ThreadPoolExecutor(1) as apart:  # the loop's own threads have ended with the worker
        made = await asyncio.get_running_loop().run_in_executor(apart, by_dspy, name)
    assert made.state == reply["result"]["program"]["state"]
    assert made.questions == asked
