"""Coroutines on a real event loop, and what is computed beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from dspex_pool.tasks import LoopTasks


async def test_what_computes_for_long_holds_nobody_up() -> None:
    """It is done in another thread; its result comes, or what it raised."""
    tasks = LoopTasks(asyncio.get_running_loop())
    go_on = threading.Event()
    result = tasks.apart(lambda: go_on.wait(60))
    await asyncio.sleep(0)
    go_on.set()
    assert await result
    with pytest.raises(ZeroDivisionError):
        await tasks.apart(lambda: 1 // 0)


async def test_it_is_done_one_at_a_time() -> None:
    """In the order in which it was asked for, and by one thread."""
    tasks = LoopTasks(asyncio.get_running_loop())
    done: list[tuple[int, str]] = []

    def do(number: int) -> Callable[[], None]:
        return lambda: done.append((number, threading.current_thread().name))

    await asyncio.gather(*(tasks.apart(do(number)) for number in range(20)))
    assert [(number, "heavy") for number in range(20)] == done


async def test_whoever_waits_no_more_is_not_told() -> None:
    """A task that is cancelled in the meantime."""
    tasks = LoopTasks(asyncio.get_running_loop())
    go_on = threading.Event()
    given_up = tasks.apart(lambda: go_on.wait(60))
    given_up.cancel()
    go_on.set()
    assert 7 == await tasks.apart(lambda: 7)
