"""HEARTBEAT: keeps a job owned while it runs, and looks whether somebody wants it to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dspex_pool.ports import Promise, Stored, Timer, Timers
from dspex_pool.store import StoreError

from . import records, steps
from .keeping import Keeper, Lost
from .news import News

HEARTBEAT_S: Final = 5.0
"""A third of the lease: two of them may fail."""


class Heartbeat:
    """One of them; it beats until it is stopped.

    Args:
        keeper: The job.
        stored: The store.
        timers: When to beat.
        news: Has the latest figures.
        on_cancel: Is called when somebody wants it to end.
        on_late: Is called when its time is over.
    """

    def __init__(
        self,
        keeper: Keeper,
        stored: Stored,
        timers: Timers,
        news: News,
        *,
        on_cancel: Callable[[], None],
        on_late: Callable[[], None],
    ) -> None:
        self._keeper = keeper
        self._store = stored.store
        self._tasks = stored.tasks
        self._timers = timers
        self._news = news
        self._on_cancel = on_cancel
        self._on_late = on_late
        self._is_stopped = False
        self._alarm: Timer | None = None
        self._next: Promise[None] = stored.tasks.promise()

    def start(self) -> None:
        """Begin to beat."""
        self._tasks.start(self._beat())
        deadline_s = self._keeper.job.deadline_s
        if deadline_s is not None:
            # At the latest then it is over, whoever runs it; before that each beat looks.
            self._alarm = self._timers.call_later(deadline_s + 0.001, self._wake)

    def stop(self) -> None:
        """Beat no more."""
        self._is_stopped = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._wake()

    def _is_over(self) -> bool:
        return self._is_stopped

    def _wake(self) -> None:
        if not self._next.done():
            self._next.set_result(None)

    async def _beat(self) -> None:
        while not self._is_over():
            self._next = self._tasks.promise()
            timer = self._timers.call_later(HEARTBEAT_S, self._wake)
            await self._next
            timer.cancel()
            if self._is_over():
                return
            try:
                await self._keeper.renew()
                await self._look()
                await self._write_progress()
            except Lost:
                return
            except StoreError:
                continue  # the next beat looks again

    async def _look(self) -> None:
        job = self._keeper.job
        wish, time_left = await self._store.get(
            [records.key_of(records.CANCEL, job.job), records.key_of(records.DEADLINE, job.job)]
        )
        if self._is_over():
            return
        if wish is not None:
            self._on_cancel()
        elif job.deadline_s is not None and time_left is None:
            self._on_late()

    async def _write_progress(self) -> None:
        progress = self._news.progress.get(self._keeper.job.job)
        if progress is not None and dict(progress) != self._keeper.job.progress:
            await self._keeper.commit(lambda job: steps.progressed(job, progress))
