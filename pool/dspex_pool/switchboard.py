"""The switchboard: every open call, and what each frame, death and moment does to it.

No I/O and no clock of its own: frames go to links that it is given, `clock` tells the
time, `wake_at` asks to be called again. Payloads pass through as bytes. Who is refused is
`overload.py`'s, where calls run `placing.py`'s, how they end `outcomes.py`'s.

    Connection ──admit──► Placing ──► Worker.calls ──Outcomes──► Connection
                          ▲             │
                          └── again ────┴─ worker_lost
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    ITEM,
    NIL,
    REPLY,
    DSPexError,
    Envelope,
    Meta,
    Oversized,
    WireError,
    decode_envelope,
    encode,
    encode_failure,
)
from dspex_protocol.frame import HEADER_BYTES
from dspex_protocol.states import CALL as CALL_TABLE
from dspex_protocol.states import CallEvent, CallState, move

from . import callbacks, endings
from .admission import Admission
from .batch_payload import METHOD as BATCH_RUN
from .batch_payload import read_plan
from .batch_plan import Plan
from .batches import Batches, BatchPause
from .calls import Call, Caller, WorkerDeath
from .config import Config
from .deadlines import DeadlineWheel
from .deaths import ALONE, AfterDeath, after_death, count_suspects, is_suspect
from .evaluation.planner import Planner
from .evaluation.request import METHOD as EVALUATION_RUN
from .fetching import StaleCheck
from .history import History
from .jobs.following import METHOD as JOB_FOLLOW
from .jobs.following import FollowPause
from .library.heavy import worked_out
from .library.library import Library
from .lifecycle import WorkerEvent
from .operations import SPREAD
from .outcomes import Outcomes
from .overload import Overload
from .placing import Placing, PoolLoad
from .ports import Stored
from .quarantine import Quarantine
from .reports.operations import METHOD as REPORT_MAKE
from .retry_budget import RetryBudget, capacity_of
from .sessions import SessionSweep
from .spending import Spending
from .stored_calls import StoredCalls
from .worker import Worker

if TYPE_CHECKING:
    from .link import Link
    from .logs import Log

# A cancelled call is answered by then, whether its worker has stopped or not.
CANCEL_ANSWER_S: Final = 0.04
# A worker may fill this much of an answer's envelope (ours fill about 200 bytes); the rest is
# for what the switchboard puts in.
MAX_WORKER_ENVELOPE_BYTES: Final = 2048
MAX_WORKER_META_ENTRIES: Final = 32
FROM_OUTSIDE: Final = "SIGKILL"
"""How a worker ends that we did not kill, and that did not crash: an operator's doing, or the kernel's.

One call is refused after two of them, since it may be why; but that is no ground to refuse
every call that is equal to it.
"""


class CancelAnswer:
    """A cancelled call whose worker may yet say that it has stopped."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call


class StuckCheck:
    """A call that was given up; its worker must be rid of it by now."""

    __slots__ = ("worker", "worker_id")

    def __init__(self, worker: Worker, worker_id: int) -> None:
        self.worker = worker
        self.worker_id = worker_id


class Switchboard:
    """All calls of all clients.

    Attributes:
        library: Stored programs.
        stored: Calls that need the store.
        batches: Those that are spread over the workers.
        overload: Who is refused when there is too much to do.
        placing: Where calls run, and those that wait.
        outcomes: How calls have ended so far.
        spending: What language models have cost.
        quarantine: Calls that are refused since workers died under them.
        budget: What repeats may cost.
        history: What is kept of the last calls.
    """

    def __init__(
        self,
        config: Config,
        clock: Callable[[], float],
        wake_at: Callable[[float], None],
        dirty: list[Link],
        log: Log,
        stored: Stored,
    ) -> None:
        self._config = config
        self._clock = clock
        self._wake_at = wake_at
        self._dirty = dirty
        self._apart = stored.tasks.apart
        self._log = log
        self._wheel: DeadlineWheel[object] = DeadlineWheel()
        self.library = Library(
            stored.store,
            clock=clock,
            wall_ms=stored.wall_ms,
            new_id=stored.new_id,
            apart=stored.tasks.apart,
        )
        self.placing = Placing(config, clock)
        self.outcomes = Outcomes(clock, self._wheel)
        self.spending = Spending()
        self.quarantine = Quarantine()
        self.history = History(config.history, stored.wall_ms)
        self.budget = RetryBudget(capacity_of(config.workers, config.calls_per_worker))
        self._admission = Admission(self.library, self.placing.tenants, config.default_deadline_ms)
        self.stored = StoredCalls(
            stored,
            self.library,
            self.placing,
            self.outcomes,
            clock=clock,
            log=log,
            remind=self._wheel.add,
            check_place=self._check_place,
            begin=self._begin,
            give_up=self._give_up,
            flush=self.flush,
        )
        self.batches = Batches(
            places=config.workers * config.calls_per_worker,
            tasks=stored.tasks,
            planners={
                BATCH_RUN: self._plan_batch,
                EVALUATION_RUN: Planner(stored, self.library, self.stored.ask).plan,
            },
            outcomes=self.outcomes,
            clock=clock,
            log=log,
            remind=self._wheel.add,
            start=self._start_row,
            give_up=self._give_up,
            flush=self.flush,
        )
        self.overload = Overload(config, clock, self.placing, self.outcomes, self.stored, self.batches)
        self.outcomes.on_closed = self._closed

    # From clients

    def admit(self, caller: Caller, envelope: Envelope, payload: bytes) -> None:
        """Take a call that a worker is to run.

        Raises:
            DSPexError: when it cannot be taken; nothing has changed then.
        """
        now_s = self._clock()
        call = self._admission.read(caller, envelope, payload, now_s)
        if len(self.quarantine) and (repro := self.quarantine.refuses(call, now_s)):
            raise endings.quarantined(call, repro)
        self.overload.check(caller, call, now_s)
        self.outcomes.open(call)
        if not self.stored.takes(call):
            self._begin(call)

    def _check_place(self, call: Call, now_s: float) -> None:
        """Refuse a call that we make ourselves as one of a client's."""
        self.overload.check_place(call, now_s)

    def _begin(self, call: Call) -> None:
        """Run a call that has all that it needs."""
        assert call.caller is not None
        if call.method in SPREAD:
            self.batches.begin(call)
        else:
            self.placing.place(call, is_held=call.caller.is_clogged)

    async def _plan_batch(self, call: Call) -> Plan:
        return await worked_out(self._apart, len(call.payload), lambda: read_plan(call.payload))

    def _start_row(self, call: Call) -> None:
        """Run one row of a batch, as a client's call."""
        now_s = self._clock()
        if len(self.quarantine) and (repro := self.quarantine.refuses(call, now_s)):
            raise endings.quarantined(call, repro)
        self.overload.check_row(call, now_s)
        self.outcomes.open(call)
        self.placing.place(call, is_held=False)

    def shed_aged(self) -> None:
        """Answer the calls that have waited too long."""
        self.overload.shed_aged()
        self.flush()

    def cancel(self, caller: Caller, call_id: int) -> None:
        """The client gives a call up."""
        call = caller.calls.get(call_id)
        if call is None or call.state is not CallState.OPEN:
            return
        call.state = move(CALL_TABLE, call.state, CallEvent.CANCEL)
        if self.placing.waiting.remove(call) or call.worker is None:
            self._give_up(call, endings.cancelled(call, self.batches.rung_of(call)))
            return
        call.worker.link.send(encode(CANCEL, call.worker_id, None, {}, NIL))
        self._wheel.add(CancelAnswer(call), self._clock() + CANCEL_ANSWER_S)

    def add_credit(self, caller: Caller, call_id: int, meta: Meta) -> None:
        """The client takes more items. A malformed credit is no credit."""
        call = caller.calls.get(call_id)
        count = meta.get("n")
        if call is None or type(count) is not int or not 1 <= count <= 1_000_000:
            return
        call.credit += count
        if call.worker is not None:
            call.worker.link.send(encode(CREDIT, call.worker_id, None, {"n": count}, NIL))
        elif call.method in SPREAD:
            self.batches.add_credit(call)
        elif call.method == REPORT_MAKE:
            self.stored.deliveries.wake(call)
        elif call.method == JOB_FOLLOW:
            self.stored.following.wake(call)

    def client_gone(self, caller: Caller) -> None:
        """Give up all that this client had asked for."""
        for call in list(caller.calls.values()):
            self._abandon(call)
            self.outcomes.close(call)

    def client_reads_again(self, caller: Caller) -> None:
        """A client that had not read has caught up."""
        self.placing.resume(caller)
        self.batches.client_reads_again(caller)
        self.stored.deliveries.wake_all()
        self.flush()

    def pump(self) -> None:
        """Start what waits, as far as there is room."""
        self.placing.pump()

    # From workers

    def worker_ready(self, worker: Worker) -> None:
        """A worker has answered hello."""
        self.overload.no_worker = None
        self._admission.methods = worker.methods
        self.placing.add_worker(worker)
        self.flush()

    def worker_drains(self, worker: Worker) -> None:
        """It gets no more calls; those that it has end there."""
        self.placing.remove_worker(worker)

    def worker_returns(self, worker: Worker) -> None:
        """One that drained takes calls again."""
        self.placing.return_worker(worker)
        self.flush()

    def no_workers_wanted(self) -> None:
        """Nobody tries to start one any more: whether it can be done is seen when a call wants one."""
        self.overload.no_worker = None

    def no_workers(self, reason: DSPexError) -> None:
        """Workers do not start: tell all who wait."""
        self.overload.no_worker = reason
        if not self.placing.workers:
            for call in self.placing.waiting.drain():
                if call.caller is not None:  # else it was a row of a batch that has ended with another row
                    self.outcomes.fail(call, reason)
        self.flush()

    def take_from_worker(self, worker: Worker, bodies: list[bytes | Oversized]) -> None:
        """Handle the frames of one read."""
        for body in bodies:
            if isinstance(body, Oversized):
                self._oversized(worker, body)
                if worker.link.closed:
                    break
                continue
            try:
                envelope = decode_envelope(body)
            except WireError as fault:
                self._distrust(worker, fault.message)
                break
            if (
                envelope.payload_at > MAX_WORKER_ENVELOPE_BYTES
                or len(envelope.meta) > MAX_WORKER_META_ENTRIES
            ):
                self._distrust(worker, "an envelope without room for the supervisor's entries")
                break
            kind = envelope.kind
            if kind in (REPLY, FAIL):
                self._ended(worker, envelope, body)
            elif kind == ITEM:
                self._item(worker, envelope, body)
            else:
                self._other(worker, envelope, body)
        self.placing.pump()
        self.flush()

    def _other(self, worker: Worker, envelope: Envelope, body: bytes) -> None:
        if envelope.kind == CALL:
            callbacks.forward(worker, envelope, body[envelope.payload_at :], self._clock())
        elif envelope.kind == CANCEL:
            callbacks.cancel(worker, envelope.id)
        elif envelope.kind == CREDIT:
            callbacks.add_credit(worker, envelope)
        elif envelope.method == "call.started":
            up_to = envelope.meta.get("up_to")
            if isinstance(up_to, int):
                worker.started_up_to = max(worker.started_up_to, up_to)
        elif envelope.method == "lm.spent":
            self.spending.split(body[envelope.payload_at :])
        elif envelope.method == "session.checkpoint":
            self.stored.keep_checkpoint(worker, envelope, body[envelope.payload_at :])
        elif envelope.method == "call.history":
            self.history.keep(worker, envelope, body[envelope.payload_at :])

    def _oversized(self, worker: Worker, frame: Oversized) -> None:
        """A frame that is longer than any client accepts ends what it is about."""
        try:
            envelope = decode_envelope(frame.head)
        except WireError as fault:
            self._distrust(worker, fault.message)
            return
        failure = endings.too_large(frame.length, self._config.max_frame_bytes)
        if envelope.kind == CALL:
            worker.link.send(encode(FAIL, envelope.id, None, {}, encode_failure(failure)))
            return
        call = worker.calls.get(envelope.id)
        if envelope.kind in (REPLY, FAIL):
            self.placing.release(worker, envelope.id)
            if call is not None and call.caller is not None:
                self.outcomes.fail(call, failure)
        elif envelope.kind == ITEM and call is not None and call.caller is not None:
            self._give_up(call, failure)

    def _distrust(self, worker: Worker, reason: str) -> None:
        """It is not listened to any more: what it says next would be about frames that were dropped."""
        self._log.error("worker_broke_protocol", worker=worker.number, reason=reason)
        worker.doubt()
        worker.move(WorkerEvent.DRAIN)  # it may take a moment to die
        worker.link.close()
        worker.cause = "it broke the protocol"
        worker.process.kill()

    def _ended(self, worker: Worker, envelope: Envelope, body: bytes) -> None:
        call = self.placing.release(worker, envelope.id)
        if call is not None and "lm_calls" in envelope.meta:  # also of one that was given up
            program = None if call.record is None else call.record[0]
            self.spending.add(envelope.meta, call.tenant.name, program)
        if call is None or call.caller is None:
            return  # the answer to a program.load, or to a call that was given up
        payload = body[envelope.payload_at :]
        if envelope.kind == REPLY:
            self.budget.earn()
            if call.turn is not None:
                self.stored.end_turn(call, worker, envelope, payload)
                return
        self.outcomes.relay(call, envelope, payload)

    def _item(self, worker: Worker, envelope: Envelope, body: bytes) -> None:
        call = worker.calls.get(envelope.id)
        if call is None or call.caller is None:
            return
        if envelope.meta.get("seq") != call.next_seq or call.credit <= 0:
            self._give_up(call, endings.out_of_turn(worker))
            return
        frame = encode(ITEM, call.id, None, envelope.meta, body[envelope.payload_at :])
        limit = call.caller.max_frame_bytes
        if len(frame) - HEADER_BYTES > limit:
            self._give_up(call, endings.too_large(len(frame) - HEADER_BYTES, limit))
            return
        call.next_seq += 1
        call.credit -= 1
        call.committed = True
        call.caller.link.send(frame)

    # Deaths

    def worker_lost(self, worker: Worker, reason: str) -> None:
        """A worker has ended: each of its calls is sent again, repeated, or failed."""
        self.placing.remove_worker(worker)
        self.outcomes.counters.worker_deaths += worker.ready_s > 0 and not worker.let_go
        calls = self.placing.release_all(worker)
        suspects = count_suspects(call for _, call in calls)
        for worker_id, call in calls:
            if call.worker is worker:
                started = worker_id <= worker.started_up_to
                self._bereave(call, worker, reason, started=started, suspects=suspects)
        self.placing.pump()
        self.flush()

    def _bereave(self, call: Call, worker: Worker, reason: str, *, started: bool, suspects: int) -> None:
        fate = after_death(
            call,
            started=started,
            has_effects=call.method in worker.effects,
            innocent=worker.innocent_end,
            suspects_beside=suspects - is_suspect(call),
            may_repeat=self.budget.allows,
        )
        if not worker.innocent_end:
            call.deaths += started
            call.died_under += (WorkerDeath(worker=worker.number, reason=reason),)
        match fate:
            case AfterDeath.DROP:
                pass
            case AfterDeath.CANCELLED:
                self.outcomes.fail(call, endings.cancelled(call, "asked"))
            case AfterDeath.FAIL:
                self.outcomes.fail(call, endings.died_under(call, worker.number, reason))
            case AfterDeath.SPENT:
                self.outcomes.fail(call, endings.budget_spent(call, worker.number, reason))
            case AfterDeath.POISONED:
                self._poison(call, reason)
            case _:
                self._send_again(call, fate)

    def _send_again(self, call: Call, fate: AfterDeath) -> None:
        self.outcomes.counters.repeated += 1
        if fate in (AfterDeath.REPEAT, AfterDeath.REPEAT_ALONE):
            self.budget.spend()
        call.alone = call.alone or fate in ALONE
        self.placing.again(call)

    def _poison(self, call: Call, reason: str) -> None:
        """Refuse a call; and its like from now on, unless somebody outside killed all those workers."""
        repro = None
        if any(death.reason != FROM_OUTSIDE for death in call.died_under):
            repro = self.quarantine.add(call, call.died_under, self._clock())
            self._log.error("quarantined", fingerprint=repro.fingerprint, method=call.method, reason=reason)
        self.outcomes.fail(call, endings.poisoned(call, repro, reason))

    # Time

    def tick(self) -> None:
        """Do what is due."""
        now_s = self._clock()
        for thing in self._wheel.due(now_s):
            match thing:
                case Call() if thing.caller is not None:  # else what was due with it ended it
                    self._deadline_passed(thing)
                case CancelAnswer(call=call) if call.state is CallState.CANCELLING:
                    self._give_up(call, endings.cancelled(call, "left"))
                case StuckCheck(worker=worker, worker_id=worker_id) if worker_id in worker.calls:
                    self._kill_stuck(worker)
                case StaleCheck():
                    self.stored.look_again(thing)
                case FollowPause():
                    self.stored.following.look_again(thing)
                case BatchPause():
                    self.batches.look_again(thing)
                case SessionSweep():
                    self.stored.sessions.sweep()
                case _:
                    pass
        self.placing.pump()
        self.flush()

    def _deadline_passed(self, call: Call) -> None:
        self.outcomes.counters.deadlines += 1
        self._give_up(call, self.batches.late(call) or endings.late(call))

    def _kill_stuck(self, worker: Worker) -> None:
        self.outcomes.counters.stuck += 1
        self._log.warning("worker_stuck", worker=worker.number, after_s=self._config.grace_s)
        worker.move(WorkerEvent.DRAIN)  # it may take a moment to die
        worker.innocent_end = True  # whose fault it is, is known
        worker.process.kill()

    def _give_up(self, call: Call, failure: DSPexError) -> None:
        """Answer now; whoever is at work on it is stopped."""
        self._abandon(call)
        self.outcomes.fail(call, failure)

    def _abandon(self, call: Call) -> None:
        """Have its worker stop, or be stopped."""
        if self.placing.waiting.remove(call) or call.worker is None:
            return
        call.worker.link.send(encode(CANCEL, call.worker_id, None, {}, NIL))
        check = StuckCheck(call.worker, call.worker_id)
        self._wheel.add(check, self._clock() + self._config.grace_s)

    def _closed(self, call: Call) -> None:
        """A call has ended; what was done for it alone is given up, now that it cannot hear of that."""
        # It may have ended just now, and who waits for it has not heard of it yet.
        if call.errand is not None and call.errand.caller is not None:
            self._give_up(call.errand, endings.cancelled(call.errand, "asked"))
        if call.method in SPREAD:
            self.batches.closed(call)
        self.stored.closed(call)

    def flush(self) -> None:
        """Write what all of this has sent, and see to the next wake-up."""
        dirty = self._dirty
        while dirty:
            dirty.pop().flush()
        next_s = self._wheel.next_s()
        if next_s is not None:
            self._wake_at(next_s)

    def conclude(self, method: str, conclusion: Callable[[Meta, bytes], bytes]) -> None:
        """Have what workers answer to a method pass by here."""
        self._admission.conclusions[method] = conclusion

    def list_quarantine(self) -> list[dict[str, object]]:
        """What is in quarantine, as plain values, the newest first."""
        return self.quarantine.list(self._clock())

    def load(self) -> PoolLoad:
        """How much there is to do."""
        return self.placing.load()

    def snapshot(self) -> dict[str, object]:
        """Queue and counters, as plain values."""
        now_s = self._clock()
        return {
            "waiting": len(self.placing.waiting) + self.stored.waiting,
            "open_bytes": self.outcomes.open_bytes,
            "ready_workers": len(self.placing.workers),
            "lanes": self.placing.waiting.snapshot(now_s),
            "tenants": self.placing.tenants.snapshot(),
            "latencies": {name: kept.snapshot(now_s) for name, kept in self.outcomes.latencies.items()},
            "calls_per_s": round(self.outcomes.throughput.per_s(now_s), 1),
            "errors": dict(self.outcomes.codes),
            "spent": self.spending.total.told(),
            "quarantined": len(self.quarantine),
            "retry_tokens": round(self.budget.tokens, 1),
            **self.outcomes.counters.snapshot(),
        }
