"""FOLLOWING: events of a job to a client, from any number on, each once and in order, until it ends.

What happens in this server is told at once; what other servers do is looked for in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Final

from dspex_pool.ports import Promise, Tasks
from dspex_protocol import ITEM, encode, encode_value, error

from .answers import describe, event_row
from .news import News
from .shelf import Shelf

if TYPE_CHECKING:
    from dspex_pool.calls import Call

METHOD: Final = "job.follow"
LOOK_S: Final = 1.0
"""Between two looks for what another server has done."""
PAGE: Final = 100
PROGRESS_EVERY_S: Final = 0.25
"""Figures change with each request; nobody reads faster."""


MAX_FOLLOWERS: Final = 1024
"""They take no place in a worker, so nothing else would bound them."""


class FollowPause:
    """A follower that is woken at a time."""

    __slots__ = ("at_s", "follower")

    def __init__(self, follower: Follower, at_s: float) -> None:
        self.follower = follower
        self.at_s = at_s


class Following:
    """All that follow.

    Args:
        shelf: Where the events are.
        news: What happens here.
        tasks: Makes what they wait for.
        clock: The time, in seconds.
        remind: Has `look_again` called with that thing at a time.
        flush: Writes what was sent.
    """

    def __init__(
        self,
        shelf: Shelf,
        news: News,
        tasks: Tasks,
        *,
        clock: Callable[[], float],
        remind: Callable[[object, float], None],
        flush: Callable[[], None],
    ) -> None:
        self._shelf = shelf
        self._news = news
        self._tasks = tasks
        self._clock = clock
        self._remind = remind
        self._flush = flush
        self._open: dict[Call, Follower] = {}
        self._is_closing = False

    async def follow(self, call: Call, job: str, after: int) -> object:
        """Tell a client of a job until that has ended; then what `job.get` says.

        Raises:
            DSPexError: `unknown_job`, `cancelled` when the call has ended, `draining`.
        """
        if len(self._open) >= MAX_FOLLOWERS:
            raise error("overloaded", f"{MAX_FOLLOWERS} calls follow jobs already", retry_after_ms=1000)
        follower = Follower(call, self._tasks)
        self._open[call] = follower
        self._news.follow(job, follower.wake)
        try:
            return await self._tell(follower, job, after)
        finally:
            self._news.leave(job, follower.wake)
            del self._open[call]

    async def _tell(self, follower: Follower, job: str, after: int) -> object:
        while True:
            # Before the store is read: what happens meanwhile is then looked at again.
            follower.listen()
            found = await self._shelf.get(job)
            after = await self._tell_events(follower, job, after, found.job.events)
            self._check(follower)
            if after >= found.job.events or not follower.wants_items:
                if found.job.is_ended:
                    return describe(found.job)
                self._tell_progress(follower, self._news.progress.get(job, found.job.progress))
            elif follower.credit > 0:
                continue  # there are more events
            self._wake_at(follower, self._clock() + LOOK_S)
            await follower.news()

    def _wake_at(self, follower: Follower, at_s: float) -> None:
        """At that time, unless it is woken earlier anyway."""
        if at_s < follower.woken_s:
            follower.woken_s = at_s
            self._remind(FollowPause(follower, at_s), at_s)

    def look_again(self, pause: FollowPause) -> None:
        """A follower's time has come."""
        if pause.follower.woken_s == pause.at_s:
            pause.follower.woken_s = inf
        pause.follower.wake()

    async def _tell_events(self, follower: Follower, job: str, after: int, last: int) -> int:
        """Those that there is credit for; the number of the last one told."""
        while follower.wants_items and follower.credit > 0 and after < last:
            entries = await self._shelf.events(job, after, min(PAGE, follower.credit))
            if not entries:
                break
            for entry in entries:
                self._check(follower)
                if follower.credit <= 0:
                    break
                follower.send({"event": event_row(entry)})
                after = entry.number
            self._flush()
        return after

    def _tell_progress(self, follower: Follower, progress: Mapping[str, object]) -> None:
        if not follower.wants_items or follower.credit <= 0 or not progress or progress == follower.told:
            return
        now_s = self._clock()
        if now_s < follower.told_s + PROGRESS_EVERY_S:
            self._wake_at(follower, follower.told_s + PROGRESS_EVERY_S)
            return
        follower.told, follower.told_s = dict(progress), now_s
        follower.send({"progress": dict(progress)})
        self._flush()

    def _check(self, follower: Follower) -> None:
        if follower.call.caller is None:
            raise error("cancelled", "the call has ended")
        if self._is_closing:
            raise error("draining", "the server is ending; follow the job at another one, or later")

    def wake(self, call: Call) -> None:
        """A follower has more credit, or has ended."""
        follower = self._open.get(call)
        if follower is not None:
            follower.wake()

    def close(self) -> None:
        """The server ends: nobody waits for jobs any more, which may take hours."""
        self._is_closing = True
        for follower in list(self._open.values()):
            follower.wake()


class Follower:
    """One call that follows a job.

    Args:
        call: It.
        tasks: Makes what it waits for.

    Attributes:
        call: As given.
        wants_items: It asked for a stream.
        told: The figures that it was told last.
        told_s: When.
        woken_s: When it is woken, whatever happens.
    """

    def __init__(self, call: Call, tasks: Tasks) -> None:
        self.call = call
        self.wants_items = bool(call.meta.get("credit"))
        self.told: Mapping[str, object] = {}
        self.told_s = -inf
        self.woken_s = inf
        self._tasks = tasks
        self._news: Promise[None] = tasks.promise()

    @property
    def credit(self) -> int:
        """Items that it takes now; none while it does not read."""
        caller = self.call.caller
        return 0 if caller is None or caller.is_clogged else self.call.credit

    def listen(self) -> None:
        """What comes from now on is news."""
        if self._news.done():
            self._news = self._tasks.promise()

    async def news(self) -> None:
        """Wait for some."""
        await self._news

    def wake(self) -> None:
        """There is some."""
        if not self._news.done():
            self._news.set_result(None)

    def send(self, item: Mapping[str, object]) -> None:
        """Send an item that there is credit for."""
        call = self.call
        assert call.caller is not None
        frame = encode(ITEM, call.id, None, {"seq": call.next_seq}, encode_value(dict(item)))
        call.next_seq += 1
        call.credit -= 1
        call.caller.link.send(frame)
