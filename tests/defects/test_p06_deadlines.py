"""P6, deadlines are honoured: calls that outlive theirs are found, and workers that outlive their grace."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.servers import has_ready, outcome_code, serving, wait_for

from dspex_pool.client import Client

from .planting import planted

GRACE = ("--grace-s", "0.2")
NOTHING_COMES_DUE = """
    from dspex_pool.deadlines import DeadlineWheel
    DeadlineWheel.add = lambda self, thing, at_s: None
"""
NOBODY_IS_KILLED = """
    from dspex_pool.spawning import ChildProcess
    ChildProcess.kill = lambda self: None
"""


async def outcome_of_stuck(client: Client, patience_s: float) -> str:
    """What a call gets whose worker hangs; `none` when that is nothing."""
    try:
        async with asyncio.timeout(patience_s):
            return await outcome_code(client, "misbehave.loop", {}, deadline_ms=100)
    except TimeoutError:
        return "none"


async def is_replaced(client: Client, patience_s: float) -> bool:
    """Whether a worker is killed and another one ready in its place."""
    try:
        async with asyncio.timeout(patience_s):
            await wait_for(client, lambda now: has_ready(2)(now) and now["worker_deaths"] == 1)
    except TimeoutError:
        return False
    return True


async def stuck(environment: dict[str, str], patience_s: float = 1.0) -> tuple[str, bool]:
    """The outcome of a stuck call, and whether its worker is replaced.

    Args:
        environment: Of the server.
        patience_s: How long to wait for each; many times the deadline and the grace.
    """
    async with serving(*GRACE, environment=environment) as client:
        await wait_for(client, has_ready(2))
        return await outcome_of_stuck(client, patience_s), await is_replaced(client, patience_s)


@pytest.mark.slow
async def test_a_stuck_call_ends_and_its_worker_too() -> None:
    """Without a defect."""
    assert ("deadline", True) == await stuck({}, patience_s=20)


@pytest.mark.slow
async def test_deadlines_that_never_come_due_are_found(tmp_path: Path) -> None:
    """Neither the call ends nor its worker."""
    assert ("none", False) == await stuck(planted(tmp_path, "serve", NOTHING_COMES_DUE))


@pytest.mark.slow
async def test_a_stuck_worker_that_is_spared_is_found(tmp_path: Path) -> None:
    """The caller has its outcome, but the place is lost."""
    assert ("deadline", False) == await stuck(planted(tmp_path, "serve", NOBODY_IS_KILLED))
