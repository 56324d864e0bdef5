"""A coroutine that waits for a while."""

from __future__ import annotations

from dspex_pool.ports import Promise, Tasks, Timers


async def pause(timers: Timers, tasks: Tasks, for_s: float) -> None:
    """Wait so long; on the clock of the supervisor's world."""
    over: Promise[None] = tasks.promise()

    def wake() -> None:
        if not over.done():
            over.set_result(None)

    timer = timers.call_later(for_s, wake)
    try:
        await over
    finally:
        timer.cancel()
