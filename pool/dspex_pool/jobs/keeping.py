"""KEEPING: what happens to a job, committed by its owner, one commit after another.

What comes while a commit is under way goes with the next one. Each says which revision of the record
it goes on from and which lease it relies on, so that nothing is written twice, and nothing by somebody
who was the owner once. A store that gives no answer is asked again until it does: the job waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from dspex_pool.ports import Promise, Stored, Timers
from dspex_pool.store import (
    Append,
    Change,
    Conflict,
    Delete,
    Fence,
    Fenced,
    Held,
    Lease,
    Put,
    StoreError,
)
from dspex_protocol import DSPexError

from . import records
from .pausing import pause
from .records import JOB, Job
from .steps import Made

if TYPE_CHECKING:
    from dspex_pool.logs import Log

LEASE_S: Final = 15.0
"""After a server's death its jobs go on elsewhere after so long at most."""
AGAIN_S: Final = 0.5
"""Between two tries of a store that gives no answer."""
AWAY: Final = frozenset(("store_unavailable", "store_full", "store_read_only"))
"""What others say of such a store, or of one that takes no writes for now; it is asked again likewise."""
MAX_CHANGES: Final = 500
"""Of one commit; a step makes a few."""
MAX_BYTES: Final = 4 << 20
"""Of one commit, unless one step alone has more."""
MAX_DISPUTES: Final = 3
"""A commit that is refused although the job is ours still would be so for ever."""

Step = Callable[[Job], Made]


class Lost(Exception):
    """The job has another owner, has ended or is gone: nothing of it is ours to write any more."""


class _Waiting(NamedTuple):
    """A step to be committed; None to have the lease renewed."""

    step: Step | None
    kept: Promise[None]


class Keeper:
    """The record of one job, in the hands of its owner.

    Args:
        stored: The store, and what waits for it.
        timers: For another try.
        log: For operators.
        owner: Who has the lease.
        lease: That lease.
        job: As it was read under it.
        revision: Of its record.

    Attributes:
        job: As it is in the store.
        on_lost: Is called once, when it is ours no more.
    """

    def __init__(
        self, stored: Stored, timers: Timers, log: Log, owner: str, lease: Lease, job: Job, revision: int
    ) -> None:
        self._store = stored.store
        self._tasks = stored.tasks
        self._timers = timers
        self._log = log
        self._owner = owner
        self._lease = lease
        self._revision = revision
        self._waiting: deque[_Waiting] = deque()
        self._is_at_work = False
        self._is_lost = False
        self.job = job
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def lease(self) -> Lease:
        """By which it is ours."""
        return self._lease

    async def commit(self, step: Step) -> None:
        """Have something happen; returns when it is kept.

        Raises:
            Lost: when it is not, and never will be by us: it is another's, or has ended.
            DSPexError: what the step raises; nothing has changed then.
        """
        await self._enter(step)

    async def renew(self) -> None:
        """Have the lease for longer.

        Raises:
            Lost: when it is another's.
        """
        await self._enter(None)

    async def _enter(self, step: Step | None) -> None:
        if self._is_lost:
            raise Lost
        kept: Promise[None] = self._tasks.promise()
        self._waiting.append(_Waiting(step, kept))
        if not self._is_at_work:
            self._is_at_work = True
            self._tasks.start(self._work())
        await kept

    async def _work(self) -> None:
        try:
            while self._waiting and not self._is_lost:
                if self._waiting[0].step is None:
                    await self._renew()
                else:
                    await self._commit_some()
        except Lost:
            self._lose()
        except Exception as fault:
            # Here a task ends: those who wait must hear of it, and the job goes on from what is kept.
            self._log.error("job_not_kept", job=self.job.job, reason=type(fault).__name__)
            self._lose()
        finally:
            self._is_at_work = False

    def _lose(self) -> None:
        self._let_go()
        self.on_lost()

    def _let_go(self) -> None:
        self._is_lost = True
        for _, kept in self._waiting:
            if not kept.done():
                kept.set_exception(Lost())
        self._waiting.clear()

    # Commits

    async def _commit_some(self) -> None:
        job, changes, taken = self._fold()
        if job != self.job or changes:
            try:
                await self._write(job, changes)
            except Lost:
                self._waiting.extendleft(reversed(taken))  # they are told with the others
                raise
            self.job = job
        for _, kept in taken:
            if not kept.done():
                kept.set_result(None)
        if self.job.is_ended:
            self._let_go()

    def _fold(self) -> tuple[Job, list[Change], list[_Waiting]]:
        """Steps that go together, one on top of the other."""
        job, changes, taken, size = self.job, list[Change](), list[_Waiting](), 0
        while self._waiting and not job.is_ended and len(changes) < MAX_CHANGES and size < MAX_BYTES:
            step = self._waiting[0].step
            if step is None:
                break
            waiting = self._waiting.popleft()
            try:
                made = step(job)
            except DSPexError as refusal:
                waiting.kept.set_exception(refusal)
                continue
            job = made.job
            changes += made.changes
            taken.append(waiting)
            size += sum(len(change.body) for change in made.changes if isinstance(change, Put | Append))
        return job, _last_of_each_key(changes), taken

    async def _write(self, job: Job, changes: Sequence[Change]) -> None:
        """Make it happen, however long the store is away.

        Raises:
            Lost: when it cannot happen any more.
        """
        key, body = records.key_of(JOB, job.job), records.write_job(job)
        put = Put(key=key, body=body, expect=self._revision)
        disputes = 0
        while True:
            try:
                made = await self._store.commit([put, *changes], [Fence(self._lease.name, self._lease.epoch)])
            except (Conflict, Fenced) as refusal:
                # The first of two tries may have been made after all; or our lease was over, and is ours.
                if await self._is_made(body):
                    return
                disputes += 1
                if disputes == MAX_DISPUTES:
                    self._log.error("job_commit_refused", job=job.job, reason=refusal)
                    raise Lost from refusal
            except StoreError as failure:
                await self._wait_after(failure)
            else:
                self._revision = made[0]
                return

    async def _is_made(self, body: bytes) -> bool:
        """Whether a write has been made that nobody has heard of; the lease is ours then.

        Raises:
            Lost: when somebody else has written.
        """
        while True:
            try:
                self._lease = await self._store.lease(self._lease.name, self._owner, LEASE_S)
                (record,) = await self._store.get([records.key_of(JOB, self.job.job)])
            except Held as other:
                raise Lost from other
            except StoreError as failure:
                await self._wait_after(failure)
                continue
            if record is not None and record.revision == self._revision:
                return False
            if record is None or record.revision != self._revision + 1 or record.body != body:
                raise Lost
            self._revision = record.revision
            return True

    async def _wait_after(self, failure: StoreError) -> None:
        self._log.warning("job_store_failed", job=self.job.job, reason=failure)
        await pause(self._timers, self._tasks, AGAIN_S)

    # The lease

    async def _renew(self) -> None:
        epoch = self._lease.epoch
        try:
            self._lease = await self._store.lease(self._lease.name, self._owner, LEASE_S)
        except Held as other:
            raise Lost from other
        except StoreError as failure:  # the next time may do; until then the fence holds
            self._log.warning("job_not_renewed", job=self.job.job, reason=failure)
        else:
            if self._lease.epoch != epoch:  # it was over: somebody may have run the job meanwhile
                await self._is_made(b"")
        waiting = self._waiting.popleft()
        if not waiting.kept.done():
            waiting.kept.set_result(None)

    async def release(self) -> None:
        """Let others have it at once."""
        self._let_go()
        try:
            await self._store.release(self._lease)
        except StoreError:
            return  # it ends by itself


def _last_of_each_key(changes: Sequence[Change]) -> list[Change]:
    """A commit has one change for a key; the last one is what would be there after all."""
    last = {change.key: at for at, change in enumerate(changes) if isinstance(change, Put | Delete)}
    return [
        change
        for at, change in enumerate(changes)
        if not isinstance(change, Put | Delete) or last[change.key] == at
    ]
