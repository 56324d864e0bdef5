"""Calls that need the store: before they run, after they have run, or for all that they do.

admit ──► waits ──► handler (program.create, session.open, …) ────► outcome
      ──► session: waits for its turn ──► program ──► worker ──► checkpoint stored ──► outcome
      ──► program not at hand: fetched ──► worker
      ──► everything else: straight to a worker, and never here
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from dspex_protocol import DSPexError, Envelope, Meta, error, invalid_argument

from .calls import Call
from .datasets.methods import DatasetMethods
from .datasets.reader import Reader as DatasetReader
from .errands import Errand
from .evaluation.methods import EvaluationMethods
from .experiments.chronicle import Chronicle
from .experiments.methods import ExperimentMethods
from .experiments.shelf import Shelf
from .fetching import Fetching, StaleCheck
from .handling import Handling
from .jobs.following import Following
from .jobs.methods import JobMethods
from .jobs.needs import Stock
from .jobs.news import News
from .jobs.shelf import Shelf as JobShelf
from .library.failures import for_others
from .library.library import Library
from .library.shelf import Held
from .outcomes import Outcomes
from .placing import Placing
from .ports import Promise, Stored
from .program_methods import Encoded, Handler, ProgramMethods
from .reports.delivery import Deliveries
from .reports.methods import ReportMethods
from .session_beginnings import SessionBeginnings
from .session_leases import SessionLeases
from .session_methods import SessionMethods
from .sessions import Sessions
from .stored_operations import STORED_METHODS
from .worker import Worker

if TYPE_CHECKING:
    from .clerk.desk import Desk
    from .logs import Log

LONG_READS: Final = frozenset(("evaluation.rows", "evaluation.compare", "evaluation.failures", "report.make"))
"""What reads and computes for so long that it is the clerk's."""

LONG_AT_ONCE: Final = 4
"""Of those: they share one process, and each may hold the facts of a whole evaluation."""

MAX_WAITING: Final = 4096
"""Calls that may wait for the store, for their program or for their turn: as many as may wait for a
worker by default. They take no place there, so nothing else would bound them."""


class StoredCalls:
    """What the switchboard leaves to the store.

    Args:
        stored: The store, and what waits for it.
        library: The programs in it.
        placing: Where calls run.
        outcomes: How they end.
        clock: The time, in seconds.
        log: For operators.
        remind: Has `look_again` or `sweep` called with that thing at a time.
        check_place: Refuses a call of ours as one of a client's.
        begin: Runs a call whose program has been found.
        give_up: Answers a call with an error; whoever is at work on it is stopped.
        flush: Writes what was sent.

    Attributes:
        sessions: Those that this server makes turns of.
        deliveries: Reports that are on their way.
        news: What happens to jobs here.
        following: Clients that follow jobs.
        dataset_rows: Answers `dataset.rows`, also to jobs.
        long_reads: What calls run in that read for long.
        clerk: Answers those; without one they are answered here.
    """

    def __init__(
        self,
        stored: Stored,
        library: Library,
        placing: Placing,
        outcomes: Outcomes,
        *,
        clock: Callable[[], float],
        log: Log,
        remind: Callable[[object, float], None],
        check_place: Callable[[Call, float], None],
        begin: Callable[[Call], None],
        give_up: Callable[[Call, DSPexError], None],
        flush: Callable[[], None],
    ) -> None:
        self._tasks = stored.tasks
        self._library = library
        self._placing = placing
        self._outcomes = outcomes
        self._clock = clock
        self._log = log
        self._check_place = check_place
        self._begin = begin
        self._give_up = give_up
        self._flush = flush
        self._fetching = Fetching(
            library, stored.tasks, clock, remind=remind, found=self._found, failed=self._failed
        )
        leases = SessionLeases(stored)
        self.sessions = Sessions(
            stored,
            leases,
            clock,
            remind=remind,
            begin=self._begin_turn,
            fail=self._failed,
            forget=placing.forget_session,
        )
        beginnings = SessionBeginnings(stored, leases, self.sessions)
        self._handling = Handling(stored.tasks, self._handle)
        self.long_reads = Handling(stored.tasks, self._handle, LONG_AT_ONCE)
        self.clerk: Desk | None = None
        self.deliveries = Deliveries(stored.tasks, self.long_reads, flush)
        evaluations = EvaluationMethods(stored)
        experiments = Shelf(stored.store, new_id=stored.new_id, wall_ms=stored.wall_ms)
        self.news = News()
        shelf = JobShelf(stored.store, wall_ms=stored.wall_ms, new_id=stored.new_id)
        self.following = Following(shelf, self.news, stored.tasks, clock=clock, remind=remind, flush=flush)
        self._handlers: Mapping[str, Handler] = {
            **ProgramMethods(
                library, self._handling, stored, self.ask_worker, forget=placing.forget_program
            ).handlers,
            **SessionMethods(self.sessions, beginnings, library, stored, self._serving).handlers,
            **DatasetMethods(stored, self.ask_worker).handlers,
            **ExperimentMethods(stored).handlers,
            **evaluations.handlers,
            **ReportMethods(
                stored, evaluations, shelf, experiments, Chronicle(stored).runs, self.deliveries.to
            ).handlers,
            **JobMethods(
                stored,
                self._handling,
                self.ask_worker,
                shelf,
                self.following,
                self.news,
                Stock(library, DatasetReader(stored.store)),
            ).handlers,
        }
        self.dataset_rows = self._handlers["dataset.rows"]
        assert self._handlers.keys() == STORED_METHODS.keys()

    @property
    def waiting(self) -> int:
        """Calls that wait for the store, for their program, or for their turn of a session."""
        return len(self._handling) + len(self.long_reads) + len(self._fetching) + self.sessions.waiting

    @property
    def fetching(self) -> int:
        """Those that wait for their program, and then for a worker."""
        return len(self._fetching)

    @property
    def is_full(self) -> bool:
        """Whether no more calls may wait here."""
        return self.waiting >= MAX_WAITING

    def needs(self, call: Call) -> bool:
        """Whether a call may have to wait here before, or instead of, going to a worker."""
        return (
            call.method in STORED_METHODS
            or "session" in call.meta
            or (call.wanted is not None and call.record is None)
        )

    def takes(self, call: Call) -> bool:
        """Whether a call that has been admitted is no worker's yet; then it is seen to here."""
        if call.method in LONG_READS:
            self.long_reads.enter(call)
        elif call.method in STORED_METHODS:
            self._handling.enter(call)
        elif "session" in call.meta:
            self.sessions.enter(call, str(call.meta["session"]))
        elif call.wanted is None:
            return False
        elif call.record is None:
            self._fetching.fetch(call)
        else:
            name_version(call, call.record)
            return False
        return True

    def _serving(self) -> list[int]:
        return sorted(worker.number for worker in self._placing.workers)

    # Methods that the supervisor answers from the store

    async def _handle(self, call: Call) -> None:
        try:
            value = await self._handler_of(call)(call)
            if call.caller is None:
                pass
            elif isinstance(value, Encoded):
                self._outcomes.reply_encoded(call, value.payload)
            else:
                self._outcomes.reply(call, value)
        except DSPexError as failure:
            self._failed(call, failure)
            if failure.code == "store_unavailable":
                for other in [
                    *self._handling.waiting(),
                    *self.long_reads.waiting(),
                ]:  # they would find the same, one second after another
                    self._failed(other, for_others(failure))
        except Exception as fault:
            # Here a task ends: without a word of it the call would stay open until its deadline.
            self._log.error("stored_method_failed", method=call.method, reason=type(fault).__name__)
            self._failed(call, error("internal", f"{call.method} failed: {type(fault).__name__}"))
        self._flush()

    def _handler_of(self, call: Call) -> Handler:
        if self.clerk is not None and call.method in LONG_READS:
            return self.clerk.answer
        return self._handlers[call.method]

    async def ask_worker(
        self, outer: Call, method: str, payload: bytes, record: Held | None = None, meta: Meta | None = None
    ) -> bytes:
        """Have a worker do something for a call that is being handled; as `ask`."""
        with self._handling.aside():
            return await self.ask(outer, method, payload, record, meta)

    async def ask(
        self, outer: Call, method: str, payload: bytes, record: Held | None = None, meta: Meta | None = None
    ) -> bytes:
        """Have a worker do something for a call that the supervisor answers itself.

        Args:
            outer: That call. It waits for one such thing at a time.
            method: What the worker is asked for.
            payload: For the worker.
            record: A stored program that the worker needs for it.
            meta: Further entries.

        Returns:
            The payload of its REPLY.

        Raises:
            DSPexError: its FAIL, or that there is no room; `cancelled` when the outer call has ended.
        """
        _check_open(outer)
        now_s = self._clock()
        answer: Promise[bytes] = self._tasks.promise()
        errand = Errand(outer, method, meta or {}, payload, answer, now_s)
        if record is not None:
            errand.call.record = record
            name_version(errand.call, record)
        self._check_place(errand.call, now_s)
        outer.errand = errand.call
        self._outcomes.open(errand.call)
        self._placing.place(errand.call, is_held=False)
        self._flush()
        try:
            reply = await answer
        finally:
            outer.errand = None
        _check_open(outer)  # else its client was told meanwhile that nothing has happened
        return reply

    # Programs that are fetched

    def _found(self, call: Call) -> None:
        assert call.record is not None
        name_version(call, call.record)
        self._begin(call)
        self._flush()

    def _failed(self, call: Call, failure: DSPexError) -> None:
        if call.caller is not None:  # else it has had its outcome
            self._give_up(call, failure)
            self._flush()

    def look_again(self, check: StaleCheck) -> None:
        """Calls have waited for the newest version long enough."""
        self._fetching.look_again(check)

    # Turns of sessions

    def _begin_turn(self, call: Call) -> None:
        assert call.wanted is not None
        call.record = self._library.find(call.wanted)
        if call.record is None:
            self._fetching.fetch(call)
        else:
            self._found(call)

    def keep_checkpoint(self, worker: Worker, envelope: Envelope, payload: bytes) -> None:
        """A worker says what is to be stored of a turn; nothing of a call that is not its own."""
        call_id = envelope.meta.get("call")
        call = worker.calls.get(call_id) if isinstance(call_id, int) else None
        turn = None if call is None else call.turn
        if turn is not None and envelope.meta.get("turn") == turn.number:
            turn.checkpoint = payload

    def end_turn(self, call: Call, worker: Worker, envelope: Envelope, payload: bytes) -> None:
        """A worker has answered a turn: the answer goes out when the checkpoint is stored."""
        self.sessions.begin_storing(call)
        self._tasks.start(self._end_turn(call, worker, envelope, payload))

    async def _end_turn(self, call: Call, worker: Worker, envelope: Envelope, payload: bytes) -> None:
        turn = call.turn
        assert turn is not None
        try:
            await self.sessions.store_turn(call)
        except DSPexError as failure:
            if call.caller is not None:
                self._outcomes.fail(call, failure, envelope.meta)
        else:
            assert turn.session.record is not None
            if turn.session.id in worker.sessions:  # else it was told to forget it
                worker.sessions[turn.session.id] = turn.session.record.life, turn.number
            if call.caller is not None:
                self._outcomes.relay(call, envelope, payload)
        self._placing.pump()
        self._flush()

    def closed(self, call: Call) -> None:
        """A call has ended; where it was a turn that is not stored, its worker may be ahead of the store."""
        if call.method in STORED_METHODS:
            self._handling.leave(call)
            self.long_reads.leave(call)
            if self.clerk is not None:
                self.clerk.leave(call)
            self.deliveries.wake(call)
            self.following.wake(call)
        self._fetching.leave(call)
        if call.turn is None:
            return
        if not call.turn.is_stored and call.worker is not None:
            self._placing.forget_session_in(call.worker, call.turn.session.id)
        self.sessions.ended(call)


def _check_open(call: Call) -> None:
    if call.caller is None:
        raise error("cancelled", "the call that this was for has ended")


def name_version(call: Call, held: Held) -> None:
    """Tell the worker which version it is, where the call said the newest, or a tag."""
    meta: Meta = {**call.meta, "program": held[0], "version": held[1]}
    meta.pop("tag", None)
    call.meta = meta


def check_session(meta: Meta, method: str) -> None:
    """Refuse a session where there can be none.

    Raises:
        CallerError: `invalid_argument`.
    """
    if method != "program.predict":
        raise invalid_argument("meta.session", f"no session with {method}", meta["session"])
    if meta["session"] is None:
        raise invalid_argument("meta.session", "the id of a session", None)
    for key in ("program", "version", "tag"):
        if key in meta:
            raise invalid_argument(
                f"meta.{key}", "nothing beside a session, which has its program", meta[key]
            )
