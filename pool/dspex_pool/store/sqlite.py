"""A store in one file of SQLite, for one machine; processes on it may share the file.

The event loop never waits for the disk: a thread writes, another one reads, and each tells the
loop of all that it has done at once. `docs/store.md` says what is safe when.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from .failures import ReadOnly, Unavailable
from .limits import check_commit, check_entries, check_keys, check_lease, check_scan
from .mounts import read_mounts
from .records import Append, Change, Entry, Fence, Key, Lease, Put, Record
from .sqlite_clock import Clocks
from .sqlite_file import SqliteFile
from .sqlite_grip import Grip
from .sqlite_lane import Job, Lane, Work
from .sqlite_servants import Reader, Writer
from .sqlite_tables import Tables

TIMEOUT_S: Final = 1.0


class SqliteStore:
    """A store in a file.

    Args:
        path: The file; its folder is made where there is none.
        full: Whether a commit is acknowledged only when the disk has it.
        timeout_s: How long an operation may take.
        mounts: Gives the mounts, as in `/proc/self/mounts`.
        clocks: Other clocks than the machine's.
    """

    def __init__(
        self,
        path: Path,
        *,
        full: bool = False,
        timeout_s: float = TIMEOUT_S,
        mounts: Callable[[], str] = read_mounts,
        clocks: Clocks | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        path = path.absolute()
        self._file = SqliteFile(
            path, full=full, timeout_s=timeout_s, mounts=mounts, clocks=clocks or Clocks()
        )
        self._make_lanes()

    @property
    def name(self) -> str:
        """The backend and the file."""
        return f"sqlite:{self._file.path}"

    async def open(self) -> None:
        """See `Store.open`. The file counts as it is found, unless another one was open already."""
        if self._writing.is_closed:
            self._make_lanes()
        self._file.look_again()
        with contextlib.suppress(ReadOnly):  # reads may go on, and those who write will hear of it
            await self._do(self._writing, _look)
        await self._do(self._reading, _look)

    async def close(self) -> None:
        """See `Store.close`."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._timeout_s
        await self._reading.close(end_s)
        await self._writing.close(end_s)  # the last connection to the file empties the log
        self._file.forget_identity()

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """See `Store.get`."""
        check_keys(keys)
        work = partial(Tables.get, keys=tuple(keys))
        return cast("list[Record | None]", await self._do(self._reading, work))

    async def scan(
        self,
        collection: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Record]:
        """See `Store.scan`."""
        check_scan(collection, prefix, after, limit)
        work = partial(
            Tables.scan,
            collection=collection,
            prefix=prefix,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )
        return cast("list[Record]", await self._do(self._reading, work))

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """See `Store.commit`."""
        check_commit(changes, fences)
        work = partial(Tables.commit, changes=tuple(changes), fences=tuple(fences))
        cost_bytes = sum(len(change.body) for change in changes if isinstance(change, Put | Append))
        return cast("list[int]", await self._do(self._writing, work, cost_bytes))

    async def entries(self, journal: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Store.entries`."""
        check_entries(journal, after, limit)
        work = partial(Tables.entries, journal=journal, after=after, limit=limit)
        return cast("list[Entry]", await self._do(self._reading, work))

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        """See `Store.lease`."""
        check_lease(name, owner, ttl_s)
        work = partial(Tables.lease, name=name, owner=owner, ttl_s=ttl_s)
        return cast("Lease", await self._do(self._writing, work))

    async def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        await self._do(self._writing, partial(Tables.release, lease=lease))

    async def expire(self, limit: int = 1000) -> int:
        """See `Store.expire`."""
        return cast("int", await self._do(self._writing, partial(Tables.expire, limit=limit)))

    def _make_lanes(self) -> None:
        file = self._file
        self._writing = Lane("store-write", Writer(file, Grip(file, file.open_to_write)))
        self._reading = Lane("store-read", Reader(file, Grip(file, file.open_to_read)))

    async def _do(self, lane: Lane, work: Work, cost_bytes: int = 0) -> object:
        """Have something done, within the time limit.

        Cancelled, it is done or not done, and nobody hears of it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        job = Job(work, future, cost_bytes)
        lane.put(job)
        timer = loop.call_later(self._timeout_s, self._give_up, lane, job)
        try:
            answer = await future
        finally:
            timer.cancel()
            job.give_up()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _give_up(self, lane: Lane, job: Job) -> None:
        if job.future.done():
            return
        never_begun = job.give_up()
        words = f"{self._file.path}: no answer within {self._timeout_s} s"
        if lane.obstacle:
            words += f"; {lane.obstacle}"
        maybe_applied = not never_begun and lane is self._writing
        job.future.set_result(Unavailable(words, maybe_applied=maybe_applied))


def _look(tables: Tables) -> None:
    """Nothing; to hear whether there is a connection."""
