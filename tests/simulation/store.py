"""The store as one server sees it: late, sometimes down, and not always telling what it did.

Behind it is the store in memory, which all servers of a world share, and the ledger, which hears
what that has really done.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dspex_pool.library.records import PROGRAM, SEPARATOR, VERSION
from dspex_pool.library.writes import WRITE
from dspex_pool.session_records import COLLECTION as SESSION
from dspex_pool.store import (
    Change,
    Conflict,
    Delete,
    Entry,
    Fence,
    Fenced,
    Full,
    Held,
    Key,
    Lease,
    Put,
    ReadOnly,
    Record,
    StoreError,
    Unavailable,
)
from dspex_pool.store.opening import TIMEOUT_S

from .faults import STORE

if TYPE_CHECKING:
    from dspex_pool.store.memory import MemoryStore

    from .ledger import Ledger
    from .records import CallRecord
    from .tasks import SimTasks
    from .world import World

T = TypeVar("T")

PROGRAMS: Final = "programs"
SESSIONS: Final = "sessions"
"""The names of lists."""

SLOW_S: Final = 0.1
"""Who waits so long for the store may do without it."""
SLOWEST_S: Final = 2.0
TROUBLES_KEPT: Final = 200


def names_of(keys: Iterable[Key]) -> frozenset[str]:
    """What those records are about, in words that calls have too."""
    return frozenset(map(_name_of, keys))


def _name_of(key: Key) -> str:
    if key.collection == VERSION:
        return f"{PROGRAM}/{key.id.partition(SEPARATOR)[0]}"
    return f"{key.collection}/{key.id}"


def names_of_call(call: CallRecord, script: Mapping[str, object]) -> frozenset[str]:
    """The same for a call."""
    names: set[str] = set()
    if call.program:
        names.add(f"{PROGRAM}/{call.program}")
    if call.session:
        names.add(f"{SESSION}/{call.session}")
    if call.method == "session.fork":
        names.add(f"{SESSION}/{script['session']}")
    if call.write is not None and call.write.id is not None:
        names.add(f"{WRITE}/{call.write.id}")
    names |= {"program.list": {PROGRAMS}, "session.list": {SESSIONS}}.get(call.method, set())
    return frozenset(names)


@dataclass(eq=False, slots=True)
class Operation:
    """One thing that the store is asked for.

    Attributes:
        names: What it is about.
        began_s: When.
        ended_s: When it was answered; None while it is not.
        code: How it failed, as clients hear of it.
        is_aside: No call depends on how it ends, though one may wait for that.
    """

    names: frozenset[str]
    began_s: float
    ended_s: float | None = None
    code: str = ""
    is_aside: bool = False


class SimStore:
    """One server's way to the store; `dspex_pool.store.Store`."""

    name = "simulation"

    def __init__(self, world: World, memory: MemoryStore, ledger: Ledger, tasks: SimTasks) -> None:
        self._world = world
        self._memory = memory
        self._ledger = ledger
        self._tasks = tasks
        self._open: list[Operation] = []
        self._troubles: list[Operation] = []
        self._last_s: dict[str, float] = {}

    # What the checker asks

    def busy_until_s(self, names: frozenset[str] | None) -> float:
        """Until when it was asked about one of those, or about anything."""
        if any(names is None or operation.names & names for operation in self._open):
            return self._world.now_s
        if names is None:
            return max(self._last_s.values(), default=0.0)
        return max((self._last_s.get(name, 0.0) for name in names), default=0.0)

    def has_failed(self, names: frozenset[str] | None, code: str, since_s: float) -> bool:
        """Whether it has failed so since then, about one of those, or about anything."""
        return any(
            one.code == code and (names is None or one.names & names) and (one.ended_s or 0) >= since_s
            for one in self._troubles
            if not one.is_aside
        )

    def was_in_trouble(self, since_s: float) -> bool:
        """Whether it has failed or been slow since then: that of one program speaks for all."""
        now_s = self._world.now_s
        return any(one.ended_s is not None and one.ended_s >= since_s for one in self._troubles) or any(
            now_s - one.began_s >= SLOW_S for one in self._open
        )

    # As a store

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """See `Store.get`."""
        return await self._ask(names_of(keys), lambda operation: self._memory.get(keys))

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
        name = {PROGRAM: PROGRAMS, SESSION: SESSIONS}.get(
            collection, f"{PROGRAM}/{prefix.partition(SEPARATOR)[0]}"
        )
        return await self._ask(
            frozenset((name,)),
            lambda operation: self._memory.scan(
                collection, prefix=prefix, after=after, limit=limit, newest_first=newest_first
            ),
        )

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """See `Store.commit`."""
        keys = [change.key for change in changes if isinstance(change, Put | Delete)]

        async def work(operation: Operation) -> list[int]:
            revisions = await self._memory.commit(changes, fences)
            self._world.trace("commit", *sorted(operation.names), revisions)
            self._ledger.committed(self._world, changes, self._world.outside_s)
            return revisions

        return await self._ask(names_of(keys), work, writes=True)

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        """See `Store.lease`."""

        async def work(operation: Operation) -> Lease:
            lease = await self._memory.lease(name, owner, ttl_s)
            self._world.trace("lease", name, lease.epoch)
            self._ledger.leased(self._world, lease, self._world.outside_s)
            return lease

        return await self._ask(frozenset((name,)), work, writes=True)

    async def release(self, lease: Lease) -> None:
        """See `Store.release`."""

        async def work(operation: Operation) -> None:
            await self._memory.release(lease)
            self._world.trace("release", lease.name, lease.epoch)
            self._ledger.released(lease, self._world.outside_s)

        await self._ask(frozenset((lease.name,)), work, writes=True, is_aside=True)

    async def entries(self, journal: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Store.entries`."""
        return await self._ask(
            frozenset(), lambda operation: self._memory.entries(journal, after=after, limit=limit)
        )

    async def expire(self, limit: int = 1000) -> int:
        """See `Store.expire`."""
        return await self._ask(frozenset(), lambda operation: self._memory.expire(limit))

    # How it goes

    async def _ask(
        self,
        names: frozenset[str],
        work: Callable[[Operation], Coroutine[Any, Any, T]],
        *,
        writes: bool = False,
        is_aside: bool = False,
    ) -> T:
        operation = Operation(names, self._world.now_s, is_aside=is_aside)
        self._open.append(operation)
        try:
            return await self._carry_out(operation, work, writes=writes)
        except (Unavailable, ReadOnly, Full) as failure:
            operation.code = _CODES[type(failure)]
            self._world.trace("store", operation.code, *sorted(names), str(failure))
            raise
        finally:
            self._end(operation)

    def _end(self, operation: Operation) -> None:
        operation.ended_s = now_s = self._world.now_s
        self._open.remove(operation)
        for name in operation.names:
            self._last_s[name] = now_s
        if operation.code or now_s - operation.began_s >= SLOW_S:
            self._troubles.append(operation)
            del self._troubles[:-TROUBLES_KEPT]

    async def _carry_out(
        self, operation: Operation, work: Callable[[Operation], Coroutine[Any, Any, T]], *, writes: bool
    ) -> T:
        world, random = self._world, self._world.random
        fault = world.faults.draw(random, STORE)
        takes_s = self._draw_time(fault)
        before_s = takes_s * random.choice((0.0, 0.5, 1.0))
        if before_s > TIMEOUT_S:
            if writes and random.random() < 0.5:  # it comes to it when nobody waits for it any more
                world.loop.call_later(before_s, _land, work, operation)
            await self._tasks.sleep(TIMEOUT_S)
            raise Unavailable("no answer in time", maybe_applied=writes)
        await self._tasks.sleep(before_s)
        await self._fail_before(fault, TIMEOUT_S - before_s, writes=writes)
        try:
            result = await work(operation)
        except StoreError:  # of those that the store itself has: whatever is wrong, it is told in time
            await self._tasks.sleep(min(takes_s, TIMEOUT_S) - before_s)
            raise
        after_s = takes_s - before_s
        if fault == "store_loses_answer" or takes_s > TIMEOUT_S:
            await self._tasks.sleep(min(after_s, TIMEOUT_S - before_s))
            raise Unavailable("its answer was lost", maybe_applied=writes)
        await self._tasks.sleep(after_s)
        return result

    def _draw_time(self, fault: str) -> float:
        random = self._world.random
        if fault == "store_is_slow":
            return random.choice((0.05, 0.15, 0.5, SLOWEST_S)) * random.random()
        return 0.0001 + 0.0029 * random.random()

    async def _fail_before(self, fault: str, left_s: float, *, writes: bool) -> None:
        """Fail, where the store does before it has done anything."""
        weather = self._world.store_weather
        if weather.is_down:
            if weather.hangs:
                await self._tasks.sleep(left_s)
                raise Unavailable("it says nothing", maybe_applied=writes)
            raise Unavailable("it cannot be reached")
        if fault == "store_loses_request":
            await self._tasks.sleep(left_s if self._world.random.random() < 0.3 else 0.0)
            raise Unavailable("the connection broke", maybe_applied=writes)
        if writes and weather.refusal is not None:
            raise weather.refusal("it takes no writes")


_CODES: Final = {Unavailable: "store_unavailable", ReadOnly: "store_read_only", Full: "store_full"}


def _land(work: Callable[[Operation], Coroutine[Any, Any, object]], operation: Operation) -> None:
    """Do what somebody has asked for long ago. The store in memory never waits."""
    with suppress(Conflict, Fenced, Held):
        try:
            work(operation).send(None)
        except StopIteration:
            return
        raise AssertionError("the store in memory waits")
