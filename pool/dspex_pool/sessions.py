"""THE SESSIONS: conversations that outlive every process. Turn by turn the store has them.

A turn is a call. It runs in any worker, on the checkpoint of the turn before it; the worker's new
checkpoint is stored before the client gets its answer. So a worker may die at any moment, and
the turn is made again elsewhere; and a server may die, and another goes on.

    enter ──► waits for the turns before it ──► begin ──► worker ──► store ──► outcome
      │                                                                           │
      └── not here yet: lease, then read                      next turn ◄── ended ┘

Two servers must not make a turn of one session at the same time. Who makes turns holds the
session's lease, and each commit says so: whoever lost the lease unawares is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dspex_protocol import DSPexError, error

from . import session_records
from .library.failures import for_others, to_wire_error
from .library.names import Reference
from .live_sessions import LiveSession, Turn
from .ports import Promise, Stored
from .session_leases import SessionLeases
from .session_records import SessionRecord, key_of
from .session_refusals import busy, in_the_middle, moved, unknown
from .store import Conflict, Delete, Fenced, Held, Put, Record, StoreError

if TYPE_CHECKING:
    from .calls import Call

RENEW_S: Final = 5.0
"""A lease is renewed at a third of its time: two tries may fail."""

IDLE_S: Final = 2.0
"""A session without a turn for so long is given back: another server can have it at once."""

SWEEP_S: Final = 1.0
"""Between two looks at what is to be renewed or given back."""

MAX_WANTED: Final = 1024
"""Sessions of which this server knows where they were asked to be, also when it has given them back."""


class SessionSweep:
    """It is time to see which sessions are to be given back."""


class Sessions:
    """All sessions of which this server makes turns.

    Args:
        stored: The store, and what waits for it.
        leases: Those of this server.
        clock: The time, in seconds.
        remind: Has `sweep` called at a time.
        begin: Is called when it is a call's turn: its `wanted` and `turn` are set.
        fail: Is called when a call cannot have its turn.
        forget: Has the workers forget a session.

    Attributes:
        waiting: Calls that wait for their turn.
    """

    def __init__(
        self,
        stored: Stored,
        leases: SessionLeases,
        clock: Callable[[], float],
        *,
        remind: Callable[[SessionSweep, float], None],
        begin: Callable[[Call], None],
        fail: Callable[[Call, DSPexError], None],
        forget: Callable[[str], None],
    ) -> None:
        self._store = stored.store
        self._tasks = stored.tasks
        self._leases = leases
        self._clock = clock
        self._remind = remind
        self._begin = begin
        self._fail = fail
        self._forget = forget
        self.waiting = 0
        self._live: dict[str, LiveSession] = {}
        self._wanted: OrderedDict[str, int] = OrderedDict()
        self._is_sweeping = False

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._live

    def __len__(self) -> int:
        return len(self._live)

    def live(self, session: str) -> LiveSession | None:
        """A session that is here and has been read."""
        found = self._live.get(session)
        return found if found is not None and found.record is not None else None

    # Turns

    def enter(self, call: Call, session_id: str) -> None:
        """A call wants the next turn."""
        session = self._live.get(session_id)
        is_new = session is None
        if session is None:
            session = self._add(session_id)
        call.turn = Turn(session)
        session.waiting[call] = None
        self.waiting += 1
        if is_new:
            self._tasks.start(self._open_for_turns(session))
        else:
            self._next(session)

    def _add(self, session_id: str) -> LiveSession:
        session = self._live[session_id] = LiveSession(
            id=session_id, used_s=self._clock(), wanted_worker=self._wanted.get(session_id)
        )
        if not self._is_sweeping:
            self._is_sweeping = True
            self._remind(SessionSweep(), self._clock() + SWEEP_S)
        return session

    async def _open_for_turns(self, session: LiveSession) -> None:
        with suppress(DSPexError):  # it has been told to all who wait
            await self._open(session)

    async def _open(self, session: LiveSession) -> None:
        """Take up a session, and let those go on who wait for it.

        Raises:
            DSPexError: as `_take_up`.
        """
        try:
            await self._take_up(session)
        except DSPexError as failure:
            self._drop(session, failure)
            raise
        while session.opening:
            session.opening.pop().set_result(None)
        self._next(session)

    async def _take_up(self, session: LiveSession) -> None:
        """Take the lease of a session and read it.

        Raises:
            DSPexError: `session_busy`, `unknown_session`, or what the store says.
        """
        try:
            session.lease = await self._leases.take(session.id)
        except Held as held:
            raise busy(session.id, held.remaining_s) from None
        except StoreError as failure:
            raise to_wire_error(failure) from failure
        session.leased_s = self._clock()
        found = await self._find_for_all(session)
        session.revision = found.revision
        session.record = session_records.read_record(session.id, found.body)

    async def _find_for_all(self, session: LiveSession) -> Record:
        """Read a session, for those who come meanwhile once more: it may have been opened before they came.

        Raises:
            DSPexError: `unknown_session`, or what the store says.
        """
        while True:
            calls, others = dict(session.waiting), list(session.opening)
            found = await self.find(session.id)
            if found is not None:
                return found
            if session.waiting.keys() <= calls.keys() and len(session.opening) == len(others):
                raise unknown(session.id)
            for call in [call for call in session.waiting if call in calls]:
                self._wait_no_more(session, call)
                self._fail(call, unknown(session.id))
            for other in others:
                session.opening.remove(other)
                other.set_exception(unknown(session.id))

    async def find(self, session_id: str) -> Record | None:
        """A session in the store; None when there is none.

        Raises:
            DSPexError: what the store says.
        """
        try:
            (found,) = await self._store.get([key_of(session_id)])
        except StoreError as failure:
            raise to_wire_error(failure) from failure
        return found

    def _next(self, session: LiveSession) -> None:
        """Begin the next turn, if there is one and nothing is before it."""
        if session.record is None or session.running is not None:
            return
        call = self._next_waiting(session)
        if call is not None:
            session.running = call
            assert call.turn is not None
            call.turn.number = session.record.turn + 1
            call.wanted = Reference(session.record.program, session.record.version, None)
            self._begin(call)

    def _next_waiting(self, session: LiveSession) -> Call | None:
        call = next(iter(session.waiting), None)
        if call is not None:
            self._wait_no_more(session, call)
        return call

    def _wait_no_more(self, session: LiveSession, call: Call) -> None:
        del session.waiting[call]
        self.waiting -= 1

    def begin_storing(self, call: Call) -> None:
        """The worker has answered: from now on a turn is kept also if its client gives it up."""
        assert call.turn is not None
        call.committed = call.turn.session.is_storing = True

    async def store_turn(self, call: Call) -> None:
        """Keep the checkpoint, so that the answer may go out.

        Raises:
            DSPexError: when there is none, or it could not be kept, or nobody knows whether it was.
                The session is read again then before its next turn.
        """
        turn = call.turn
        assert turn is not None
        session = turn.session
        try:
            if turn.checkpoint is None:
                raise error("internal", "a worker ended a turn without a checkpoint", maybe_executed=True)
            await self._keep(session, turn, turn.checkpoint)
        finally:
            session.is_storing = False
            if call.caller is None:  # its client has not waited for the store
                self._turn_over(session, call)

    async def _keep(self, session: LiveSession, turn: Turn, checkpoint: bytes) -> None:
        try:
            await self._store_checkpoint(session, turn, checkpoint)
        except DSPexError as failure:
            self._drop(session, failure)
            raise in_the_middle(failure) from failure

    async def _store_checkpoint(self, session: LiveSession, turn: Turn, checkpoint: bytes) -> None:
        assert session.record is not None
        if session.over is not None:
            raise session.over
        record = replace(session.record, turn=turn.number, checkpoint=checkpoint)
        put = Put(
            key=key_of(session.id),
            body=session_records.write(session.id, record),
            expect=session.revision,
            ttl_s=record.ttl_s,
        )
        try:
            (revision,) = await self._commit(session, put)
        except Conflict as conflict:
            # Since the lease is ours it is another life of it that is there, if any.
            raise unknown(session.id) from conflict
        except Fenced:
            raise moved(session.id, IDLE_S) from None
        except StoreError as failure:
            raise to_wire_error(failure) from failure
        session.record, session.revision = record, revision
        turn.is_stored = True

    async def _commit(self, session: LiveSession, change: Put | Delete) -> list[int]:
        """Write a session that is ours."""
        try:
            return await self._store.commit([change], [session.fence])
        except Fenced:
            # Our lease may have been over, and be ours anew since.
            loss = await self._take_again(session)
            if loss is not None:
                raise loss from None
            return await self._store.commit([change], [session.fence])

    def ended(self, call: Call) -> None:
        """A call that wanted a turn has had its outcome."""
        turn = call.turn
        if turn is None:
            return
        if call in turn.session.waiting:
            self._wait_no_more(turn.session, call)
        elif not turn.session.is_storing:
            self._turn_over(turn.session, call)

    def _turn_over(self, session: LiveSession, call: Call) -> None:
        if session.running is not call:
            return  # it was not kept, and its session is dropped
        session.running = None
        session.used_s = self._clock()
        if call.worker is not None:
            session.worker = call.worker.number
        if session.waiting:
            self._tasks.start(self._go_on(session))

    async def _go_on(self, session: LiveSession) -> None:
        """Begin the next turn, but not in the middle of something.

        When the time of a hundred calls is over in the same moment, each would begin when the one
        before has ended, only to end as well.
        """
        self._next(session)

    def _drop(self, session: LiveSession, failure: DSPexError) -> None:
        """It is not ours to go on with: whoever waits is told, and the next call reads it again."""
        if self._live.get(session.id) is not session:
            return  # it was ended before, in the middle of a turn
        session.over = failure
        # Taken again it has another epoch: no write of which nobody knows can come after that.
        self._give_back(session)
        self._forget(session.id)
        while session.opening:
            session.opening.pop().set_exception(for_others(failure))
        while (call := self._next_waiting(session)) is not None:
            self._fail(call, for_others(failure))
        running = session.running
        if running is not None and running.caller is not None and not session.is_storing:
            # It would be made for nothing, and beside the turns that may come next.
            self._fail(running, for_others(failure) if running.worker is None else in_the_middle(failure))

    # Leases

    def sweep(self) -> None:
        """Renew the leases of sessions in use, and give the others back."""
        now_s = self._clock()
        for session in list(self._live.values()):
            if session.is_idle and now_s - session.used_s > IDLE_S:
                self._give_back(session)
            elif session.record is not None and now_s - session.leased_s > RENEW_S:
                session.leased_s = now_s  # not again in the next sweep
                self._tasks.start(self._renew(session))
        self._is_sweeping = bool(self._live)
        if self._is_sweeping:
            self._remind(SessionSweep(), now_s + SWEEP_S)

    def _give_back(self, session: LiveSession) -> None:
        del self._live[session.id]
        if session.lease is not None:
            self._leases.give_back(session.id)

    async def _renew(self, session: LiveSession) -> None:
        try:
            loss = await self._take_again(session)
        except (StoreError, DSPexError):
            return  # the next commit finds out whether it is still ours
        if loss is not None and not session.is_storing:  # else the store says what becomes of that
            self._drop(session, loss)

    async def _take_again(self, session: LiveSession) -> DSPexError | None:
        """Have a session for longer.

        Returns:
            Why it is not ours to go on with: another server has it, has had it, or it is no more.

        Raises:
            StoreError, DSPexError: what the store says.
        """
        assert session.lease is not None
        try:
            lease = await self._leases.take(session.id)
        except Held:
            return moved(session.id, IDLE_S)
        if lease.epoch != session.lease.epoch:
            loss = await self._find_loss(session)
            if loss is not None:
                return loss
        session.lease = lease
        return None

    async def _find_loss(self, session: LiveSession) -> DSPexError | None:
        """What others have made of a session while its lease was over. Now nobody can."""
        assert session.record is not None
        found = await self.find(session.id)
        if found is None:
            return unknown(session.id)
        if session_records.read_record(session.id, found.body).life != session.record.life:
            return unknown(session.id)  # what there is has only its id
        return None if found.revision == session.revision else moved(session.id, IDLE_S)

    def release_all(self) -> list[Coroutine[object, object, None]]:
        """The server ends: what gives every lease back."""
        self._live.clear()
        return self._leases.release_all()

    # What is asked of a session beside its turns

    async def taken_up(self, session_id: str) -> LiveSession:
        """A session that is ours, be it read for this.

        Raises:
            DSPexError: as when a turn is wanted.
        """
        session = self._live.get(session_id)
        if session is None:
            session = self._add(session_id)
            await self._open(session)
        elif session.record is None:
            opened: Promise[None] = self._tasks.promise()
            session.opening.append(opened)
            await opened
        session.used_s = self._clock()
        return session

    async def move(self, session_id: str, worker: int) -> None:
        """Have the next turns of a session in a worker, as long as that has room.

        Args:
            session_id: Which.
            worker: The worker's number.

        Raises:
            DSPexError: as when a turn is wanted.
        """
        session = await self.taken_up(session_id)
        session.wanted_worker = self._wanted[session_id] = worker
        self._wanted.move_to_end(session_id)
        if len(self._wanted) > MAX_WANTED:
            self._wanted.popitem(last=False)

    async def read(self, session_id: str) -> SessionRecord:
        """A session as it was last stored, whoever makes its turns.

        Raises:
            DSPexError: `unknown_session`, or what the store says.
        """
        session = self.live(session_id)
        if session is not None and session.record is not None:
            return session.record
        found = await self.find(session_id)
        if found is None:
            raise unknown(session_id)
        return session_records.read_record(session_id, found.body)

    async def end_former(self, session_id: str) -> None:
        """Drop a session whose time is over, which nobody has noticed here.

        Raises:
            DSPexError: what the store says.
        """
        former = self.live(session_id)
        if former is not None and await self.find(session_id) is None:
            self._drop(former, unknown(session_id))

    async def close(self, session_id: str) -> None:
        """Forget a session.

        Raises:
            DSPexError: as when a turn is wanted.
        """
        session = await self.taken_up(session_id)
        try:
            await self._commit(session, Delete(key=key_of(session_id)))
        except Fenced:
            self._drop(session, moved(session_id, IDLE_S))
            raise moved(session_id, IDLE_S) from None
        except DSPexError as loss:
            self._drop(session, loss)
            raise
        except StoreError as failure:
            # Who is in the middle of a turn goes on: where it is closed all the same that is found out then.
            if session.is_idle and self._live.get(session_id) is session:
                self._give_back(session)
            raise to_wire_error(failure) from failure
        self._wanted.pop(session_id, None)
        self._drop(session, unknown(session_id))
