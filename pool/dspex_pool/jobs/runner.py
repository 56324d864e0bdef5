"""THE RUNNER: takes up jobs that nobody runs, as many at once as the settings allow."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dspex_pool.library.failures import told
from dspex_pool.ports import Ports
from dspex_pool.store import Conflict, Fence, Fenced, Held, Lease, Put, Record, Store, StoreError
from dspex_protocol import DSPexError

from . import records, refusals, steps
from .attempt import Stop
from .house import House
from .keeping import LEASE_S, Keeper
from .records import Job
from .running import Run
from .saving import Saving
from .tally import Tally

if TYPE_CHECKING:
    from dspex_pool.calls import Caller
    from dspex_pool.config import Config
    from dspex_pool.host import Host
    from dspex_pool.switchboard import Switchboard

FIRST_LOOK_S: Final = 1.0
"""A server that was started for one call takes up nothing that it would drop at once."""
LOOK_S: Final = 5.0
"""Between two looks for jobs that others have left; those submitted here are begun at once."""
LOOKED_AT: Final = 200
"""Jobs that are read at a time."""


class _Found(NamedTuple):
    """A job as its new owner has read it: its record, that one's revision, and what was asked for.

    Attributes:
        is_unwanted: Somebody wants it to end.
        is_late: Its time is over.
    """

    job: Job
    revision: int
    request: bytes
    is_unwanted: bool
    is_late: bool


class Runner:
    """The jobs of one server.

    Args:
        config: How many at once.
        ports: The world.
        switchboard: Programs, datasets, and the calls of hosts within their functions.
        host: What workers are told of the host.
        next_number: A number for a worker.
        orphans: Has what dead workers left behind swept.
    """

    def __init__(
        self,
        config: Config,
        ports: Ports,
        switchboard: Switchboard,
        host: Host,
        *,
        next_number: Callable[[], int],
        orphans: Callable[[], None],
    ) -> None:
        self._at_once = config.job_workers
        self._timers = ports.timers
        self._tasks = ports.stored.tasks
        self._store: Store = ports.stored.store
        self._wall_ms = ports.stored.wall_ms
        self._stored = ports.stored
        self._log = ports.log
        self._owner = ports.stored.new_id()
        self._ender = ports.stored.new_id()
        self._news = switchboard.stored.news
        self._house = House(
            config=config,
            ports=ports,
            switchboard=switchboard,
            host=host,
            news=self._news,
            saving=Saving(switchboard.library, ports.timers, ports.stored.tasks),
            tally=Tally(),
            next_number=next_number,
            orphans=orphans,
        )
        self._runs: dict[str, Run] = {}
        self._open: int | None = None
        self._is_looking = False
        self._is_to_look_again = False
        self._is_closed = False

    def start(self) -> None:
        """Look for jobs from now on."""
        self._news.cancel = self._cancel
        if self._at_once:
            self._news.submitted = self._look_soon
            self._timers.call_later(FIRST_LOOK_S, self._look_again)

    def close(self) -> None:
        """End all that runs here; it goes on elsewhere, or later."""
        self._is_closed = True
        for run in list(self._runs.values()):
            run.stop(Stop.CLOSED)

    def release_all(self) -> list[Coroutine[Any, Any, None]]:
        """What lets others have them at once."""
        return [run.release() for run in self._runs.values()]

    @property
    def pids(self) -> set[int]:
        """The processes that run jobs."""
        workers = [run.process.worker for run in self._runs.values() if run.process is not None]
        return {worker.process.pid for worker in workers if worker is not None}

    def snapshot(self) -> list[dict[str, object]]:
        """What runs here, as plain values."""
        return [run.snapshot() for run in self._runs.values()]

    def counts(self) -> dict[str, int | None]:
        """How many have not ended, by the last look; and what has come of those that ran here."""
        return {"open": self._open, **self._house.tally.snapshot()}

    def weigh(self, readings: dict[int, int]) -> None:
        """Take readings of memory, by workers' numbers."""
        for run in list(self._runs.values()):
            worker = None if run.process is None else run.process.worker
            if run.process is not None and worker is not None and worker.number in readings:
                run.process.weigh(readings[worker.number])

    def reconfigure(self) -> None:
        """The host offers something else now; told when the client that does has been welcomed."""
        self._timers.call_soon(self._reconfigure)

    def _reconfigure(self) -> None:
        for run in list(self._runs.values()):
            run.reconfigure()
        self._house.switchboard.flush()

    def client_gone(self, caller: Caller) -> None:
        """A client has gone, and with it its answers."""
        for run in list(self._runs.values()):
            run.client_gone(caller)

    # Which jobs

    async def _cancel(self, job: str) -> None:
        """End a job that runs here, or nowhere; of any other its owner sees the wish."""
        run = self._runs.get(job)
        if run is not None:
            run.stop(Stop.CANCELLED)
            return
        with told, suppress(Held):
            # Not as the one who runs jobs: that one may be about to take it up.
            await self._take(job, self._ender, only_to_end=True)

    def _look_again(self) -> None:
        if not self._is_closed:
            self._timers.call_later(LOOK_S, self._look_again)
            self._look_soon()

    def _look_soon(self) -> None:
        self._is_to_look_again = True
        if not self._is_looking and not self._is_closed:
            self._is_looking = True
            self._tasks.start(self._look())

    async def _look(self) -> None:
        try:
            while self._is_to_look_again and not self._is_closed:
                self._is_to_look_again = False
                await self._look_once()
        except StoreError as failure:  # the next look may find more
            self._log.debug("jobs_not_read", reason=failure)
        finally:
            self._is_looking = False

    async def _look_once(self) -> None:
        after, count = "", 0
        while True:
            found = await self._store.scan(records.OPEN, after=after, limit=LOOKED_AT)
            unwanted, late = await self._ending_among(found)
            for record in found:
                job = record.key.id
                if self._is_closed:
                    return
                is_over = job in unwanted or job in late
                if job not in self._runs and (is_over or len(self._runs) < self._at_once):
                    with suppress(Held):
                        await self._take(job, self._owner, only_to_end=is_over)
            count += len(found)
            if len(found) < LOOKED_AT:
                self._open = count
                return
            after = found[-1].key.id

    async def _ending_among(self, found: list[Record]) -> tuple[set[str], set[str]]:
        """Those that nobody wants, and those whose time is over: no room is needed to end them."""
        jobs = [record.key.id for record in found]
        timed = [record.key.id for record in found if _has_deadline(record)]
        keys = [records.key_of(records.CANCEL, job) for job in jobs]
        keys += [records.key_of(records.DEADLINE, job) for job in timed]
        there = await self._store.get(keys) if keys else []
        unwanted = {job for job, record in zip(jobs, there, strict=False) if record is not None}
        late = {job for job, record in zip(timed, there[len(jobs) :], strict=True) if record is None}
        return unwanted, late

    async def _take(self, job: str, owner: str, *, only_to_end: bool) -> None:
        """Make a job ours.

        What was seen of it before that counts no more: it may have ended since, and been resumed.

        Raises:
            Held: when it is another's.
        """
        # Where the store fails in any of this, the lease ends by itself.
        lease = await self._store.lease(records.lease_of(job), owner, LEASE_S)
        found = await self._read(job)
        if found is not None and not self._is_closed:
            if found.is_unwanted or found.is_late:
                await self._end(found, lease)
            elif not only_to_end:
                self._run(found, owner, lease)
                return
        with suppress(StoreError):
            await self._store.release(lease)

    async def _read(self, job: str) -> _Found | None:
        """A job whose lease is ours; None for one that is over, or that nobody here can read."""
        names = (records.JOB, records.REQUEST, records.CANCEL, records.DEADLINE)
        record, request, wish, time_left = await self._store.get(
            [records.key_of(name, job) for name in names]
        )
        if record is None or request is None:
            return None
        try:
            known = records.read_job(job, record.body)
            asked = records.open_record(records.REQUEST, job, request.body)["request"]
        except DSPexError as reason:
            self._log.error("job_unreadable", job=job, reason=reason)
            return None
        if known.is_ended or not isinstance(asked, bytes):
            return None
        is_late = known.deadline_s is not None and time_left is None
        return _Found(known, record.revision, asked, wish is not None, is_late)

    def _run(self, found: _Found, owner: str, lease: Lease) -> None:
        keeper = Keeper(self._stored, self._timers, self._log, owner, lease, found.job, found.revision)
        self._runs[found.job.job] = run = Run(self._house, keeper, found.request, self._ended)
        run.begin()

    async def _end(self, found: _Found, lease: Lease) -> None:
        """End a job that nobody runs.

        Where the store fails in that, whoever wants it hears so, and does not wait as a job that runs
        would: it may be a client, and in time a server that runs jobs sees the wish.
        """
        made = ended_now(found.job, self._wall_ms(), is_late=not found.is_unwanted)
        key = records.key_of(records.JOB, found.job.job)
        put = Put(key=key, body=records.write_job(made.job), expect=found.revision)
        with suppress(Conflict, Fenced):  # it has become another's, or has been ended by us a moment ago
            await self._store.commit([put, *made.changes], [Fence(lease.name, lease.epoch)])
            self._house.tally.ended(made.job.state)
        self._news.changed(found.job.job)

    def _ended(self, run: Run) -> None:
        self._runs.pop(run.job, None)
        self._look_soon()


def ended_now(job: Job, now_ms: int, *, is_late: bool) -> steps.Made:
    """The end of a job that nobody runs."""
    if is_late:
        return steps.failed(job, refusals.late(job.job, job.deadline_s), now_ms)
    return steps.cancelled(job, now_ms)


def _has_deadline(record: Record) -> bool:
    try:
        return records.open_record(records.OPEN, record.key.id, record.body).get("has_deadline") is True
    except DSPexError:
        return False
