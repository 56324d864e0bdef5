"""A thread that does jobs in the order they came, as many at once as wait.

The event loop puts jobs in and hears of all that were done together in one call. A job is begun
or given up, whichever comes first: what nobody waits for any more is never begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, Final, Protocol

from .failures import Unavailable
from .sqlite_tables import Tables

MAX_JOBS: Final = 256
"""Together in one transaction: more would keep the first from its answer."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""… and their bodies; the one that passes it is the last."""

MAX_WAITING: Final = 10_000
"""Jobs that wait. When the disk does not answer they are given up after the time limit, and
stay in line until it does."""

Work = Callable[[Tables], object]


class Job:
    """Something to do, and who hears of it.

    Args:
        work: What; None ends the thread.
        future: Gets the answer, or the exception as if it were one. So an exception that nobody
            takes, since the caller was cancelled, is no news for the event loop's log.
        cost_bytes: What it writes.
    """

    __slots__ = ("_once", "cost_bytes", "future", "work")

    def __init__(self, work: Work | None, future: asyncio.Future[Any], cost_bytes: int = 0) -> None:
        self.work = work
        self.future = future
        self.cost_bytes = cost_bytes
        self._once = threading.Lock()

    @property
    def is_taken(self) -> bool:
        """Whether it is begun or given up."""
        return self._once.locked()

    def begin(self) -> bool:
        """Whether it is to be done now; False when it was given up."""
        return self._once.acquire(blocking=False)

    def give_up(self) -> bool:
        """Whether it will never be done; False when it was begun."""
        if not self._once.acquire(blocking=False):
            return False
        self.work = _nothing  # what it would have written may be large
        return True


Done = tuple[Job, object]
"""A job and its answer, or the exception that it ended with."""


class Inbox:
    """Jobs that wait, seen from the thread.

    Attributes:
        obstacle: What keeps them waiting, for those who give up; "" when nothing is known.
    """

    def __init__(self) -> None:
        self.obstacle = ""
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._waiting: deque[Job] = deque()

    def __len__(self) -> int:
        return self._queue.qsize() + len(self._waiting)

    def put(self, job: Job) -> None:
        """From any thread."""
        self._queue.put(job)

    def wait(self) -> bool:
        """Wait until there is something to do; False when it is to end."""
        while True:
            while self._waiting and self._waiting[0].is_taken:
                self._waiting.popleft()
            if self._waiting:
                return self._waiting[0].work is not None
            self._waiting.append(self._queue.get())

    def take(self) -> list[Job]:
        """Begin what waits, up to the limits."""
        while not self._queue.empty():
            self._waiting.append(self._queue.get())
        jobs: list[Job] = []
        cost_bytes = 0
        while self._waiting and len(jobs) < MAX_JOBS and cost_bytes < MAX_BYTES:
            if self._waiting[0].work is None:
                break
            job = self._waiting.popleft()
            if job.begin():
                jobs.append(job)
                cost_bytes += job.cost_bytes
        return jobs


class Servant(Protocol):
    """Who does the jobs of a lane, in its thread."""

    def serve(self, inbox: Inbox) -> list[Done]:
        """Do what waits, or nothing if now is not the time."""
        ...

    def rest(self) -> None:
        """Everybody has an answer: time for what nobody waits for."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Lane:
    """A thread and its jobs. All methods are for the event loop.

    Args:
        name: Of the thread.
        servant: Who does the jobs.
    """

    def __init__(self, name: str, servant: Servant) -> None:
        self._servant = servant
        self._inbox = Inbox()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._last: Job | None = None

    @property
    def is_closed(self) -> bool:
        """Whether it takes nothing more."""
        return self._last is not None

    @property
    def obstacle(self) -> str:
        """What keeps jobs waiting; "" when nothing is known."""
        return self._inbox.obstacle

    def put(self, job: Job) -> None:
        """Have a job done.

        Raises:
            Unavailable: when too many wait, or it is closed.
        """
        if self._last is not None:
            raise Unavailable("the store is closed")
        if len(self._inbox) >= MAX_WAITING:
            raise Unavailable(f"{MAX_WAITING} operations wait for the disk")
        if not self._thread.ident:
            try:
                self._thread.start()
            except RuntimeError as failure:
                raise Unavailable(f"the store has no thread: {failure}") from failure
        self._inbox.put(job)

    async def close(self, end_s: float) -> None:
        """Do what waits, then end. What takes longer than until then ends by itself."""
        loop = asyncio.get_running_loop()
        if self._last is None and self._thread.ident:
            self._last = Job(None, loop.create_future())
            self._inbox.put(self._last)
            await asyncio.wait([self._last.future], timeout=max(0.0, end_s - loop.time()))

    def _run(self) -> None:
        while self._inbox.wait():
            _deliver(self._serve())
            self._servant.rest()
        self._servant.close()
        assert self._last is not None
        _deliver([(self._last, None)])

    def _serve(self) -> list[Done]:
        """Do what waits. A fault of ours is told to those who wait; the thread goes on."""
        try:
            return self._servant.serve(self._inbox)
        except Exception as fault:
            return [(job, fault) for job in self._inbox.take()]


def _deliver(done: Iterable[Done]) -> None:
    """Tell those who wait: one call into their event loop for all of them."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Done]] = defaultdict(list)
    for job, answer in done:
        by_loop[job.future.get_loop()].append((job, answer))
    for loop, theirs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # it has been closed, and nobody waits
            loop.call_soon_threadsafe(_tell, theirs)


def _tell(done: list[Done]) -> None:
    for job, answer in done:
        if not job.future.done():
            job.future.set_result(answer)


def _nothing(tables: Tables) -> None:
    """The work of a job that was given up."""
