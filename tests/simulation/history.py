"""The checker: hears of everything that happens in a world, and says when a promise is broken.

It knows what really happened (what each worker ran, when each byte was read), and holds that
against what the supervisor does: at its mouth, when it sends a frame, so that times are exact;
and once more at the client's ear, so that the pipe between them is checked too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dspex_protocol import CALL, FAIL, ITEM, REPLY, Meta, decode_envelope, decode_value
from dspex_protocol.frame import HEADER_BYTES

from .batch_book import row_of, see_answer, see_entry
from .job_history import JobHistory
from .justification import EARLY_S, explain
from .records import CallRecord, Execution, Sending, Violation
from .stored_history import StoredHistory

if TYPE_CHECKING:
    from .connections import Connection
    from .workers import SimWorker
    from .world import World

# How much later than its bound something may happen: the supervisor's wheel turns every 10 ms.
LATE_S: Final = 0.05
CANCEL_S: Final = 0.05
# How long a call may be kept waiting beside a worker that has nothing to do.
IDLE_BESIDE_S: Final = 0.2
# How long a call may wait whose program is known, when the store does not answer.
PATIENT_S: Final = 0.2
# How long a stream may stand still although its client has taken more.
STALLED_S: Final = 0.2
# How soon a call within a callback must be on its way, where a worker has been ready for a while.
NESTED_S: Final = 0.001
ALREADY_S: Final = 0.1
# How long what a worker has written may be on its way.
UNREAD_S: Final = 0.5
MAX_EXECUTIONS: Final = 3


class History:
    """What has happened in one world.

    Attributes:
        outcomes: How many calls ended how: by code, `ok` for a REPLY.
        calls: Every call that was made.
        out_of_turn: The nonces of answers of which a client sent an item out of turn.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.outcomes: dict[str, int] = {}
        self.calls: list[CallRecord] = []
        self.out_of_turn: set[int] = set()
        self.open: dict[tuple[Connection, int], CallRecord] = {}  # at the supervisor's mouth
        self._sendings: dict[SimWorker, dict[int, Sending]] = {}
        self._given_up: dict[SimWorker, list[Sending]] = {}
        self._by_nonce = world.common.ledger.calls
        self.stored = StoredHistory(world)
        self.jobs = JobHistory(world)

    # What clients do

    def called(self, call: CallRecord) -> None:
        """A client writes a CALL."""
        self.calls.append(call)
        self._by_nonce[call.nonce] = call
        if call.batch is not None:
            self._by_nonce.update({row.nonce: row for row in call.batch.rows})

    def call_arrived(self, call: CallRecord) -> None:
        """The supervisor reads it."""
        call.arrived_s = self._world.now_s
        if call.parent is not None:
            assert call.parent.arrived_s is not None
            rest_s = call.parent.arrived_s + call.parent.deadline_s - call.arrived_s
            call.deadline_s = max(0.0, min(call.deadline_s, rest_s))
        self.open[call.connection, call.id] = call
        self.stored.arrived(call)
        if call.batch is not None:
            for row in call.batch.rows:
                row.arrived_s, row.deadline_s = call.arrived_s, call.deadline_s
            self._world.loop.call_later(call.deadline_s + LATE_S, self._must_be_over, call)
            return  # it needs no worker itself, and how soon its rows run is its own business
        if call.is_known and not call.depth:
            self._world.loop.call_later(PATIENT_S, self._must_not_wait_for_store, call)
        if call.depth or call.lane == "control":
            self._world.loop.call_later(NESTED_S, self._must_be_under_way, call)
        if not call.is_local:
            self._world.loop.call_later(call.deadline_s + LATE_S, self._must_be_over, call)

    def cancel_arrived(self, call: CallRecord) -> None:
        """The supervisor reads a CANCEL."""
        if call.answered_s is None and call.cancel_arrived_s is None:
            call.cancel_arrived_s = self._world.now_s
            self._world.loop.call_later(CANCEL_S + 0.001, self._must_be_cancelled, call)

    def credit_arrived(self, call: CallRecord, count: int) -> None:
        """The supervisor reads a CREDIT."""
        call.credit_arrived += count
        call.credit_arrived_s = self._world.now_s

    def _must_be_under_way(self, call: CallRecord) -> None:
        """A call within a callback never waits for places, nor does one that controls."""
        if call.answered_s is not None or call.sendings or call.connection.is_lost:
            return
        for worker in self._world.workers:
            if worker.is_at_work(ALREADY_S) and worker.number in self._world.serving():
                raise Violation("P3", f"{call} is not to wait, and waits beside {worker}")

    def _must_not_wait_for_store(self, call: CallRecord) -> None:
        """P12: the program is known."""
        if call.answered_s is None and not call.sendings and not call.connection.is_lost:
            assert call.arrived_s is not None
            idle = self._idle_beside(call, call.arrived_s, PATIENT_S - 0.01)
            if idle and not self.stored.resolves_not(call):
                raise Violation("P12", f"{call} waits beside {idle} and its program is known")

    def _must_be_over(self, call: CallRecord) -> None:
        if call.answered_s is None and not call.connection.is_lost:
            raise Violation("P6", f"{call} has no outcome {LATE_S} s after its deadline")

    def _must_be_cancelled(self, call: CallRecord) -> None:
        if call.answered_s is None and not call.connection.is_lost:
            raise Violation("P7", f"{call} was cancelled {CANCEL_S} s ago and has no outcome")

    # What the supervisor says to clients

    def said_to_client(self, connection: Connection, frame: bytes) -> None:
        """The supervisor sends a frame to a client."""
        if connection.link.closed:
            return
        body = frame[HEADER_BYTES:]
        kind, call_id, _, meta, payload_at = decode_envelope(body)
        if kind in (REPLY, FAIL):
            call = self.open.pop((connection, call_id), None)
            if call is None:
                raise Violation(
                    "P1", f"{connection.name} is sent an outcome for {call_id}, which is not open"
                )
            payload = body[payload_at:]
            code = "ok" if kind == REPLY else str(_map_of(payload).get("code"))
            self._world.trace("outcome", connection.name, call_id, code)
            self._answered(call, code, meta, payload)
        elif kind == ITEM:
            call = self.open.get((connection, call_id))
            if call is None:
                raise Violation("P1", f"{connection.name} is sent an item for {call_id}, which is not open")
            call.is_committed = True
            if call.batch is not None:
                self._row_answered(call, decode_value(body[payload_at:]))
        elif kind == CALL and "parent" in meta:  # else a job asks
            parent = meta["parent"]
            call = self.open.get((connection, parent)) if isinstance(parent, int) else None
            if call is None:
                raise Violation("P2", f"{connection.name} is called within {parent}, which is not open")
            call.is_committed = True
            if call.batch is not None:
                args = _map_of(body[payload_at:])["args"]
                row = call.batch.row_within(args["within"]) if isinstance(args, dict) else None
                if row is None or row.is_closed:
                    raise Violation("P2", f"{call} is called within {args!r}, which is no open row of it")
                row.is_committed = True

    def _answered(self, call: CallRecord, code: str, meta: Meta, payload: bytes) -> None:
        call.answered_s = self._world.now_s
        call.code = code
        self.outcomes[code] = self.outcomes.get(code, 0) + 1
        if call.method == "system.goodbye" and code == "ok" and self._has_open(call.connection):
            raise Violation("P1", f"{call.connection.name} is told goodbye while calls of it are open")
        if code != "ok":
            failure = _map_of(payload)
            call.maybe_executed = failure.get("maybe_executed") is True
            explain(self._world, call, code, failure)
            self.stored.failed(call)
            self.jobs.failed(call)
        elif call.about is not None:
            self.jobs.succeeded(call, decode_value(payload))
        elif call.is_stored or call.program or call.session:
            self.stored.succeeded(call, meta, decode_value(payload))
        if call.batch is not None and code == "ok":
            results = _map_of(payload).get("results")
            for entry in results if isinstance(results, list) else ():
                self._row_answered(call, entry)
        elif code == "deadline" and call.batch is None and call.method != "job.follow":
            self._check_kept_waiting(call)
            self._check_stalled(call)
        self._check_attempts(call, meta)
        self._over_with(call)
        self.stored.over(call)

    def _row_answered(self, call: CallRecord, entry: object) -> None:
        """The supervisor tells what has become of a row."""
        index, row = row_of(call, entry)
        if row.answered_s is not None:
            raise Violation("P1", f"{call} is told of row {index} a second time")
        row.answered_s = self._world.now_s
        assert isinstance(entry, dict)
        failure = entry.get("error")
        if isinstance(failure, dict):
            row.code = str(failure.get("code"))
            explain(self._world, row, row.code, failure)
        self._over_with(row)

    def _over_with(self, call: CallRecord) -> None:
        """Nobody wants it any more, nor its rows: they are to stop."""
        for sending in call.sendings:
            self._give_up(sending)
        if call.batch is not None:
            for row in call.batch.rows:
                self._over_with(row)

    def _check_kept_waiting(self, call: CallRecord) -> None:
        """A call that did nothing until its deadline: there was no place that it could have had."""
        now_s = self._world.now_s
        assert call.arrived_s is not None
        since_s = max([call.arrived_s, *(sending.ended_s or now_s for sending in call.sendings)])
        idle = self._idle_beside(call, max(since_s, self.stored.busy_until_s(call)), IDLE_BESIDE_S)
        if idle:
            raise Violation("P3", f"{call} waited until its deadline beside {idle}")

    def _idle_beside(self, call: CallRecord, since_s: float, for_s: float) -> list[SimWorker]:
        """Workers that could have run a call for so long, and did nothing."""
        world, now_s = self._world, self._world.now_s
        if call.lane == "batch" or call.connection.link.unread_bytes:
            return []  # some places are not for batch, and none for who does not read
        since_s = max(since_s, call.connection.slow_until_s, self._last_never_waiting_s())
        idle = [
            worker
            for worker in world.workers
            if now_s - max(since_s, worker.idle_since_s(self.running(worker))) > for_s
        ]
        serving = world.serving() if idle else set()
        idle = [worker for worker in idle if worker.number in serving]
        # A quarter of the places, also of those that calls still have in workers that drain, is kept from
        # tenants that have more than their share, and calls that never wait count as if they had some.
        draining = sum(
            worker.number not in serving and bool(self.running(worker)) for worker in world.workers
        )
        kept = (len(serving) + draining) // 4 + sum(self._never_waits(worker) for worker in world.workers)
        return idle if len(idle) > kept else []

    def _last_never_waiting_s(self) -> float:
        """When a call last ended that counts as if it had a place: its worker may be dead by now."""
        return max(
            (
                sending.ended_s
                for call in self.calls
                if call.depth > 0 or call.lane == "control"
                for sending in call.sendings
                if sending.ended_s is not None
            ),
            default=0.0,
        )

    def _never_waits(self, worker: SimWorker) -> int:
        return sum(
            sending.call.depth > 0 or sending.call.lane == "control" for sending in self.running(worker)
        )

    def _check_stalled(self, call: CallRecord) -> None:
        """A stream that stood still until its deadline had no credit."""
        now_s = self._world.now_s
        for execution in call.executions:
            waits_s = execution.waits_since_s
            if waits_s is None or execution.worker.was_stopped or execution.worker.is_dead:
                continue
            stalled_s = now_s - max(waits_s, call.credit_arrived_s)
            if call.credit_arrived > execution.emitted and stalled_s > STALLED_S:
                raise Violation("P2", f"{call} waited {stalled_s} s for credit that its client had sent")

    def _check_attempts(self, call: CallRecord, meta: Meta) -> None:
        attempt = meta.get("attempt")
        died = sum(sending.worker.is_dead for sending in call.sendings)
        if isinstance(attempt, int) and attempt - 1 > died:
            raise Violation("P3", f"{call} was sent {attempt} times and {died} of its workers have died")

    def client_gone(self, connection: Connection) -> None:
        """The supervisor closes a client's link: what it had asked for is to be given up."""
        if not connection.is_lost:
            self._check_closing(connection)
        for key in [key for key in self.open if key[0] is connection]:
            call = self.open.pop(key)
            call.gone_s = self._world.now_s
            self.stored.over(call)
            self._over_with(call)

    def _has_open(self, connection: Connection) -> bool:
        """Whether workers have yet to answer calls of it."""
        return any(key[0] is connection and not call.is_local for key, call in self.open.items())

    def _check_closing(self, connection: Connection) -> None:
        """The supervisor hangs up first: it has a reason, and time for open calls is over."""
        world = self._world
        is_open = self._has_open(connection)
        if not world.is_draining and (is_open or not connection.said_goodbye):
            raise Violation("P1", f"{connection.name} is hung up on without a reason")
        if is_open and world.now_s < world.draining_until_s - EARLY_S:
            raise Violation("P1", f"{connection.name} is hung up on before the grace period is over")

    # What clients see

    def outcome_seen(self, call: CallRecord, kind: int, meta: dict[str, object], value: object) -> None:
        """A client reads an outcome."""
        if call.is_over:
            raise Violation("P1", f"{call} has a second outcome")
        call.is_over = True
        is_mirrored = call.method == "system.ping" or not call.is_local
        if kind == REPLY and call.method == "job.follow":
            self.jobs.outcome_seen(call, value)
        if kind == FAIL or not is_mirrored or call.is_stored:
            return
        if call.batch is not None:
            see_answer(call, value)
            return
        if not isinstance(value, dict) or value.get("nonce") != call.nonce:
            raise Violation("P2", f"{call} is answered {value!r}")
        self._check_items(call, meta)

    def _check_items(self, call: CallRecord, meta: dict[str, object]) -> None:
        for execution in call.executions:
            if execution.worker.number == meta.get("worker") and execution.emitted != call.items:
                raise Violation("P2", f"{call}: {execution.emitted} items were sent and {call.items} came")

    def item_seen(self, call: CallRecord, seq: object, value: object) -> None:
        """A client reads an ITEM."""
        if call.batch is not None:
            see_entry(call, value)
        elif call.about is not None:
            self.jobs.item_seen(call, value)
        elif not isinstance(value, dict) or value.get("nonce") != call.nonce:
            raise Violation("P2", f"{call} gets the item {value!r}")
        elif value.get("seq") != call.items:
            raise Violation("P2", f"{call} gets {value!r} as item {call.items}")
        if seq != call.items:
            raise Violation("P2", f"{call} gets item {seq} ({value!r}) as number {call.items}")
        call.items += 1
        if call.items > call.credit_sent:
            raise Violation("P2", f"{call} gets {call.items} items and has allowed {call.credit_sent}")

    def connection_lost(self, connection: Connection) -> None:
        """A client is gone: its calls have no outcome any more."""
        for call in connection.open_calls.values():
            call.is_over = True
            if call.write is not None and call.write.id is not None:
                self._world.common.unsure.append(call.write)
            if call.about is not None and (submission := call.about.submission) and submission.key:
                self._world.common.unsure_jobs.append(submission)

    # What happens in workers

    def sent_to_worker(self, worker: SimWorker, hop_id: int, nonce: object) -> None:
        """The supervisor gives a call to a worker."""
        call = self._by_nonce.get(nonce) if isinstance(nonce, int) else None
        if call is None:
            return
        sendings = self._sendings.setdefault(worker, {})
        sending = Sending(call=call, worker=worker, hop_id=hop_id)
        if worker.is_dead:
            sending.ended_s = self._world.now_s
        else:
            sendings[hop_id] = sending
        self.stored.sent(call, worker.number)
        call.sendings.append(sending)
        self._world.trace("send", worker.number, hop_id, call.nonce)
        if call.answered_s is not None or (call.row_of is not None and call.is_closed):
            raise Violation("P1", f"{call} is sent to {worker} although it has ended")
        if call.depth == 0 and call.lane != "control":
            self._check_places(worker)

    def _check_places(self, worker: SimWorker) -> None:
        top = [sending for sending in self.running(worker) if sending.call.depth == 0]
        top = [sending for sending in top if sending.call.lane != "control"]
        if len(top) > self._world.config.calls_per_worker:
            raise Violation("P7", f"{worker} has {len(top)} calls: {[sending.call for sending in top]}")

    def running(self, worker: SimWorker) -> list[Sending]:
        """What a worker was given and has not ended."""
        return list(self._sendings.get(worker, {}).values())

    def began(self, worker: SimWorker, hop_id: int) -> Execution:
        """A worker begins a call, or takes it up for the first time."""
        execution = Execution(worker=worker, began_s=self._world.now_s)
        sending = self._sendings.get(worker, {}).get(hop_id)
        if sending is None:
            return execution
        call = sending.call
        if call.is_committed:
            raise Violation("P3", f"{call} is run again, and had effects before")
        if call.executions and call.method == "tool.pay":
            raise Violation("P3", f"{call} is run twice")
        call.executions.append(execution)
        guilty = sum(not run.worker.process.killed for run in call.executions)
        if guilty > MAX_EXECUTIONS and not call.runs_inline:
            raise Violation("P3", f"{call} is run {len(call.executions)} times")
        return execution

    def ended(self, worker: SimWorker, hop_id: int) -> None:
        """A worker has written the outcome of a call."""
        sending = self._sendings.get(worker, {}).pop(hop_id, None)
        if sending is not None:
            sending.ended_s = self._world.now_s

    def killed(self, worker: SimWorker) -> None:
        """The supervisor kills a worker: with calls in it, it needs a reason."""
        world, config = self._world, self._world.config
        wanted = [sending for sending in self.running(worker) if sending.given_up_s is None]
        if not wanted or worker.is_dead or worker.has_misspoken or world.is_draining:
            return
        # One that has just ended may still be on its way through the pipe.
        overdue = [
            sending
            for sending in self._given_up.get(worker, ())
            if world.now_s >= (sending.given_up_s or 0) + config.grace_s - EARLY_S
            and (sending.ended_s is None or world.now_s - sending.ended_s < config.grace_s + UNREAD_S)
        ]
        if not overdue and not worker.may_be_recycled:
            raise Violation("P3", f"{worker} is killed in the middle of {wanted[0].call}")

    def worker_died(self, worker: SimWorker) -> None:
        """A worker's process is gone."""
        for sending in self._sendings.pop(worker, {}).values():
            sending.ended_s = self._world.now_s

    def _give_up(self, sending: Sending) -> None:
        if sending.given_up_s is not None:
            return
        sending.given_up_s = self._world.now_s
        self._given_up.setdefault(sending.worker, []).append(sending)
        if sending.ended_s is None:
            limit_s = self._world.config.grace_s + LATE_S
            self._world.loop.call_later(limit_s, self._must_be_rid_of, sending)

    def _must_be_rid_of(self, sending: Sending) -> None:
        worker = sending.worker
        if sending.ended_s is None and not worker.is_dead and not worker.process.killed:
            raise Violation("P6", f"{worker} still runs {sending.call}, given up at {sending.given_up_s}")

    # The end

    def check_over(self) -> None:
        """Nothing is to come: every call has had its outcome."""
        for call in self.calls:
            if not call.is_over:
                raise Violation("P1", f"{call} has no outcome")


def _map_of(payload: bytes) -> dict[str, object]:
    value = decode_value(payload)
    return value if isinstance(value, dict) else {}
