"""Placing: which call runs in which worker, and when.

Every ready worker has `calls_per_worker` places. A call that finds one goes straight through;
the others wait here, in the supervisor, where it is still open who goes next: once a call is
in a worker, neither priority nor fairness reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dspex_protocol import CALL, NIL, Meta, encode

from .calls import Call, Caller
from .config import Config
from .dispatch import AFFINITY_SLACK, choose
from .lanes import Lane
from .live_sessions import Turn
from .tenants import Tenants
from .waiting import WaitingCalls
from .worker import Worker

NO_LIMIT: Final = 1 << 30
MAX_SESSIONS: Final = 256
"""Sessions that a worker keeps in memory: as many as programs. One more costs a load at its next turn."""
INTAKE: Final = 4
"""Calls that a worker may have without having begun them, while several want its places.

A worker takes up what it is sent in one round of its loop, and a round is as long as what it
took up. With no bound a flood of one tenant sits in the worker's loop, and everybody else's
calls behind it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLoad:
    """How much there is to do.

    Attributes:
        running: Places that are taken.
        waiting: Calls that wait for one.
        oldest_wait_s: How long the one that has waited longest has.
    """

    running: int
    waiting: int
    oldest_wait_s: float


class Placing:
    """The ready workers, and the calls that wait for them.

    Args:
        config: How many places a worker has.
        clock: The time, in seconds.

    Attributes:
        workers: Those that are ready and take calls.
        waiting: The calls that do not run yet.
        tenants: Whose calls there are.
        on_no_room: Is called when a call must wait.
    """

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._places_per_worker = config.calls_per_worker
        self.workers: list[Worker] = []
        self.tenants = Tenants()
        self.waiting = WaitingCalls(self.tenants, config.batch_share)
        self._leaving: list[Worker] = []  # they drain
        self._running = 0
        self.on_no_room: Callable[[], object] = lambda: None

    @property
    def capacity(self) -> int:
        """Places of all ready workers, and those that calls still have in workers that take no more.

        Who is counted as running in a worker that drains must be counted here as well: else a full
        worker that is replaced would keep the places of its successor empty until it has ended.
        """
        return len(self.workers) * self._places_per_worker + sum(worker.load for worker in self._leaving)

    def has_room_for(self, call: Call) -> bool:
        """Whether a call that comes would start at once."""
        assert call.caller is not None
        if call.caller.is_clogged or not self._may_start(call):
            return False
        return self._choose(call, self._places_per_worker) is not None

    def load(self) -> PoolLoad:
        """How much there is to do."""
        now_s = self._clock()
        waits_s = [self.waiting.oldest_wait_s(lane, now_s) for lane in Lane]
        return PoolLoad(running=self._running, waiting=len(self.waiting), oldest_wait_s=max(waits_s))

    # Workers

    def add_worker(self, worker: Worker) -> None:
        """A worker is ready."""
        self.workers.append(worker)
        self.pump()

    def return_worker(self, worker: Worker) -> None:
        """One that took no more calls takes some again."""
        self._leaving.remove(worker)
        self.workers.append(worker)
        self.pump()

    def remove_worker(self, worker: Worker) -> None:
        """It takes no more calls; those that it has stay its own."""
        if worker in self.workers:
            self.workers.remove(worker)
            self._leaving.append(worker)

    def release(self, worker: Worker, worker_id: int) -> Call | None:
        """A worker has ended a call. None when it never was there."""
        call = worker.release(worker_id)
        if call is not None:
            self._running -= 1
            self.waiting.ended(call, self._clock())
        return call

    def release_all(self, worker: Worker) -> list[tuple[int, Call]]:
        """A worker is dead: take the calls from it."""
        if worker in self._leaving:
            self._leaving.remove(worker)
        calls = list(worker.calls.items())
        worker.calls.clear()
        for _, call in calls:
            self._running -= 1
            self.waiting.ended(call, self._clock())
        return calls

    # Calls

    def place(self, call: Call, *, is_held: bool) -> None:
        """Start a call, or have it wait.

        Args:
            call: Just admitted.
            is_held: Its client does not read; it starts nothing for it.
        """
        if call.depth or call.lane is Lane.CONTROL:
            # A nested call's parent occupies a place already: behind a limit or a queue it could
            # wait for itself. And what controls must work when all places are taken.
            if not self._start(call, NO_LIMIT):
                self._put_back(call)
        elif is_held:
            self.waiting.hold(call)
        elif not self._may_start(call) or not self._start(call, self._places_per_worker):
            self.waiting.add(call)
            self.pump()

    def _may_start(self, call: Call) -> bool:
        # Shares and reserves concern the last quarter of the places only: `may_start` need not
        # be asked before that.
        if not self.waiting.startable and self._running * 4 < self.capacity * 3:
            return True
        return self.waiting.may_start(call, self.capacity, self._clock())

    def _put_back(self, call: Call) -> None:
        self.waiting.put_back(call)
        self.on_no_room()

    def again(self, call: Call) -> None:
        """Its worker died: it goes before all others."""
        call.worker = None
        self._put_back(call)

    def pump(self) -> None:
        """Start what waits, as far as there is room."""
        while self.waiting.startable:
            call = self.waiting.next(self.capacity, self._clock(), self._may_be_alone)
            if call is None:
                break
            caller = call.caller
            assert caller is not None
            if caller.is_clogged and not call.depth:
                self.waiting.remove(call)
                self.waiting.hold(call)
                continue
            worker = self._choose(call, self._limit_of(call))
            if worker is None:
                break
            self.waiting.remove(call)
            self._send(call, worker)
        if self.waiting.startable:
            self.on_no_room()

    def _limit_of(self, call: Call) -> int:
        beyond = call.depth or call.lane is Lane.CONTROL
        return NO_LIMIT if beyond else self._places_per_worker

    def _may_be_alone(self, call: Call) -> bool:
        return self._choose(call, self._limit_of(call)) is not None

    def resume(self, caller: Caller) -> None:
        """A client reads again: its calls wait for a worker, as those of others do."""
        self.waiting.resume(caller)
        self.pump()

    def _start(self, call: Call, limit: int) -> bool:
        worker = self._choose(call, limit)
        if worker is None:
            return False
        self._send(call, worker)
        return True

    def _choose(self, call: Call, limit: int) -> Worker | None:
        if call.within is not None:
            return call.within.worker  # also one that drains: the call that it is a part of is there
        chosen = choose(
            self.workers,
            limit,
            record=call.record,
            max_unstarted=INTAKE if self._is_contended and limit != NO_LIMIT else None,
            # Two nested calls that waited for each other's parents would wait for ever.
            is_fit=_has_none_alone if call.alone and not call.depth else None,
        )
        if call.turn is None or chosen is None or call.alone:
            return chosen
        return self._home_of(call.turn, limit, chosen)

    def _home_of(self, turn: Turn, limit: int, other: Worker) -> Worker:
        """Where a session is to be, or is in memory; another worker where that has no room."""
        session = turn.session
        number = session.worker if session.wanted_worker is None else session.wanted_worker
        for home in self.workers:
            if home.number == number and home.load < limit and home.is_accepting and not home.is_clogged:
                is_wanted = number == session.wanted_worker
                return home if is_wanted or home.load <= other.load + AFFINITY_SLACK else other
        return other

    @property
    def _is_contended(self) -> bool:
        return len(self.tenants) > 1 or self.waiting.running[Lane.BATCH] > 0

    # To workers

    def _send(self, call: Call, worker: Worker) -> None:
        call.sent_s = self._clock()
        call.attempt += 1
        if call.record is not None:
            self._provide(worker, call.record)
        meta = call.meta
        if call.within is not None:
            meta = meta | {"parent": call.within.worker_id}
        if call.turn is not None:
            meta = self._provide_session(worker, call.turn, meta)
        worker_id = worker.take(call)
        self._running += 1
        self.waiting.started(call)
        if "deadline_ms" in meta:
            meta = meta | {"deadline_ms": max(1, int((call.deadline_s - call.sent_s) * 1000))}
        if call.credit and meta.get("credit") and meta["credit"] != call.credit:  # more came while it waited
            meta = meta | {"credit": call.credit}
        worker.link.send(encode(CALL, worker_id, call.method, meta, call.payload))

    def _provide(self, worker: Worker, record: tuple[str, int, bytes]) -> None:
        """Send a stored program ahead of the first call that needs it."""
        program, version, content = record
        provision = worker.holdings.take((program, version), content, worker.programs_in_use)
        for old_program, old_version in provision.forget:
            self._tell(worker, "program.forget", old_program, old_version, NIL)
        if provision.load:
            self._tell(worker, "program.load", program, version, content)

    def forget_program(self, program: str) -> None:
        """A program was deleted: no worker needs to keep it."""
        for worker in self.workers:
            for held, version in worker.holdings.forget_program(program):
                self._tell(worker, "program.forget", held, version, NIL)

    def _provide_session(self, worker: Worker, turn: Turn, meta: Meta) -> Meta:
        """Send a session as it was after its last turn, unless the worker has it in memory."""
        session, record = turn.session.id, turn.session.record
        assert record is not None  # else it were not its turn
        here: Meta = {
            "session": session,
            "turn": record.turn,
            "program": record.program,
            "version": record.version,
        }
        # Its id and turn may be those of one that was here before, and has been closed elsewhere.
        moment = record.life, record.turn
        known = worker.sessions.pop(session, None)
        if len(worker.sessions) >= MAX_SESSIONS:
            self._forget_oldest_session(worker)
        if known != moment:
            self._send_down(worker, "session.load", here, record.checkpoint)
        worker.sessions[session] = moment
        return {**meta, **here}

    def _forget_oldest_session(self, worker: Worker) -> None:
        """Of those without a turn there: what that makes of a session is in the worker only if it is."""
        in_use = {call.turn.session.id for call in worker.calls.values() if call.turn is not None}
        for session in worker.sessions:
            if session not in in_use:
                del worker.sessions[session]
                self._send_down(worker, "session.forget", {"session": session}, NIL)
                return

    def forget_session(self, session: str) -> None:
        """What the workers have of a session is not to be gone on with."""
        for worker in self.workers:
            self.forget_session_in(worker, session)

    def forget_session_in(self, worker: Worker, session: str) -> None:
        """What one worker has of a session is not to be gone on with."""
        if worker.sessions.pop(session, None) is not None and not worker.link.closed:
            self._send_down(worker, "session.forget", {"session": session}, NIL)

    def _tell(self, worker: Worker, method: str, program: str, version: int, content: bytes) -> None:
        self._send_down(worker, method, {"program": program, "version": version}, content)

    def _send_down(self, worker: Worker, method: str, meta: Meta, content: bytes) -> None:
        """A call of ours whose answer tells nothing."""
        worker.last_id += 1
        worker.link.send(encode(CALL, worker.last_id, method, meta, content))


def _has_none_alone(worker: Worker) -> bool:
    return not any(call.alone for call in worker.calls.values())
