"""Anything may happen in any order, and still each call has one outcome and nothing is left behind."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.fakes import Client, FakeWorker, Frame, Room

from dspex_pool.connections import CLOGGED_BYTES
from dspex_protocol import CALL, CANCEL, CREDIT, FAIL, ITEM, REPLY

LONG_S = 200.0  # more than any deadline and the grace period together


class SwitchboardMachine(RuleBasedStateMachine):
    """Two clients, some workers, and whatever they do."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(workers=2, calls_per_worker=2, max_queue=3, grace_s=0.5)
        # One tenant: of several, one may wait beside places that are kept for another.
        self.clients = [self.room.add_client(tenant="both"), self.room.add_client(tenant="both")]
        self.alive = list(self.room.workers)
        self.calls: list[tuple[Client, int]] = []
        self.next_callback = 1
        self.credits: dict[int, tuple[FakeWorker, int]] = {}  # by callback: what its worker takes

    pick = st.integers(0, 1_000)

    def client(self, n: int) -> Client:
        return self.clients[n % len(self.clients)]

    def worker(self, n: int) -> FakeWorker:
        return self.alive[n % len(self.alive)]

    @property
    def running(self) -> list[tuple[FakeWorker, int]]:
        """Every call that a worker has, as worker and id."""
        return [(worker, call_id) for worker in self.alive for call_id in worker.worker.calls]

    @property
    def called_back(self) -> list[tuple[FakeWorker, int]]:
        """Every open callback, as worker and id."""
        return [(worker, call_id) for worker in self.alive for call_id in worker.worker.callbacks]

    @property
    def open_calls(self) -> list[tuple[Client, int]]:
        return [(client, call_id) for client in self.clients for call_id in client.connection.calls]

    # Clients

    @rule(
        n=pick,
        size=st.integers(0, 50),
        deadline_ms=st.none() | st.integers(1, 300),
        credit=st.integers(0, 3),
        priority=st.integers(0, 9),
    )
    def call(self, n: int, size: int, deadline_ms: int | None, credit: int, priority: int) -> None:
        meta: dict[str, object] = {"priority": priority, "credit": credit}
        if deadline_ms is not None:
            meta["deadline_ms"] = deadline_ms
        client = self.client(n)
        self.calls.append((client, client.call("program.predict", "x" * size, **meta)))

    @rule(n=pick, which=pick)
    def call_nested(self, n: int, which: int) -> None:
        client = self.client(n)
        if client.connection.callbacks:
            parent = sorted(client.connection.callbacks)[which % len(client.connection.callbacks)]
            self.calls.append((client, client.call("program.predict", parent=parent)))

    @rule(which=pick)
    @precondition(lambda self: self.open_calls)
    def cancel(self, which: int) -> None:
        client, call = self.open_calls[which % len(self.open_calls)]
        client.cancel(call)

    @rule(which=pick)
    @precondition(lambda self: self.calls)
    def cancel_any(self, which: int) -> None:
        client, call = self.calls[which % len(self.calls)]
        client.cancel(call)

    @rule(which=pick, count=st.integers(1, 3))
    @precondition(lambda self: self.calls)
    def credit(self, which: int, count: int) -> None:
        client, call = self.calls[which % len(self.calls)]
        client.credit(call, count)

    @rule(n=pick, which=pick, kind=st.sampled_from([REPLY, FAIL]))
    def answer_callback(self, n: int, which: int, kind: int) -> None:
        client = self.client(n)
        if callbacks := client.callbacks():
            client.answer(callbacks[which % len(callbacks)].id, None, kind)

    @rule(n=pick, which=pick, right=st.booleans())
    def item_of_callback(self, n: int, which: int, right: bool) -> None:
        client = self.client(n)
        if callbacks := client.callbacks():
            callback = client.connection.callbacks.get(call_id := callbacks[which % len(callbacks)].id)
            client.send_item(call_id, callback.next_seq if callback and right else 99)

    @rule(n=pick, reads=st.booleans())
    def stop_or_start_reading(self, n: int, reads: bool) -> None:
        link = self.client(n).link
        if reads:
            link.drain()
        else:
            link.unread = CLOGGED_BYTES + 1

    # Workers

    @rule(which=pick, fails=st.booleans())
    @precondition(lambda self: self.running)
    def end(self, which: int, fails: bool) -> None:
        worker, call_id = self.running[which % len(self.running)]
        if fails:
            worker.fail(call_id)
        else:
            worker.reply(call_id)

    @rule(which=pick, right=st.booleans())
    @precondition(lambda self: self.running)
    def item(self, which: int, right: bool) -> None:
        worker, call_id = self.running[which % len(self.running)]
        worker.item(call_id, worker.worker.calls[call_id].next_seq if right else 99)

    @rule(which=pick, credit=st.integers(0, 2))
    @precondition(lambda self: self.running)
    def call_host(self, which: int, credit: int) -> None:
        worker, call_id = self.running[which % len(self.running)]
        worker.call_host(self.next_callback, parent=call_id, credit=credit)
        self.credits[self.next_callback] = (worker, credit)
        self.next_callback += 1

    @rule(which=pick, count=st.integers(1, 2))
    @precondition(lambda self: self.called_back)
    def credit_host(self, which: int, count: int) -> None:
        worker, callback_id = self.called_back[which % len(self.called_back)]
        worker.credit_host(callback_id, count)
        self.credits[callback_id] = (worker, self.credits[callback_id][1] + count)

    @rule(which=pick)
    @precondition(lambda self: self.called_back)
    def cancel_host(self, which: int) -> None:
        worker, callback_id = self.called_back[which % len(self.called_back)]
        worker.cancel_host(callback_id)

    @rule(n=pick)
    @precondition(lambda self: self.alive)
    def begin(self, n: int) -> None:
        worker = self.worker(n)
        worker.start(worker.worker.last_id)

    @rule(n=pick)
    @precondition(lambda self: self.alive)
    def die(self, n: int) -> None:
        worker = self.worker(n)
        self.alive.remove(worker)
        worker.die()

    @rule()
    @precondition(lambda self: len(self.alive) < 3)
    def replace(self) -> None:
        self.alive.append(self.room.add_worker())

    # Time

    @rule(seconds=st.floats(0.001, 0.4))
    def pass_time(self, seconds: float) -> None:
        self.room.pass_time(seconds)
        for worker in [worker for worker in self.alive if worker.process.killed]:
            self.alive.remove(worker)
            worker.die()

    # What must hold

    @invariant()
    def no_call_has_two_outcomes(self) -> None:
        for client, call in self.calls:
            assert len(client.outcomes(call)) <= 1

    @invariant()
    def open_calls_are_those_without_an_outcome(self) -> None:
        for client in self.clients:
            waiting = {call for owner, call in self.calls if owner is client and not client.outcomes(call)}
            assert waiting == set(client.connection.calls)

    @invariant()
    def payloads_are_counted(self) -> None:
        payloads = [call.payload for client in self.clients for call in client.connection.calls.values()]
        assert sum(map(len, payloads)) == self.room.open_bytes

    @invariant()
    def callbacks_are_known_on_both_sides(self) -> None:
        from_clients = {
            id(callback) for client in self.clients for callback in client.connection.callbacks.values()
        }
        from_workers = {
            id(callback) for worker in self.alive for callback in worker.worker.callbacks.values()
        }
        assert from_clients == from_workers

    @invariant()
    def items_of_callbacks_are_in_order_and_within_their_credit(self) -> None:
        for callback, (worker, credit) in self.credits.items():
            of_callback = [
                frame for frame in worker.sent if frame.id == callback and frame.kind in (ITEM, REPLY, FAIL)
            ]
            items = [frame.meta["seq"] for frame in of_callback if frame.kind == ITEM]
            assert list(range(len(items))) == items
            assert len(items) <= credit
            assert all(frame.kind == ITEM for frame in of_callback[:-1])

    @invariant()
    def nobody_waits_while_a_worker_has_room(self) -> None:
        if self.alive and min(worker.worker.load for worker in self.alive) < 2:
            waiting = self.room.switchboard.placing.waiting
            # Calls that go on alone wait for a worker without another such call.
            assert 0 == waiting.startable - len(waiting._alone)

    def teardown(self) -> None:
        """In the end all have had their outcome, and nothing is kept for them."""
        for seconds in (LONG_S, 1.0):
            self.pass_time(seconds)
        for worker in self.alive:
            worker.die()
        for client, call in self.calls:
            assert 1 == len(client.outcomes(call))
            self.check_frames(
                [
                    frame
                    for frame in client.sent
                    if frame.id == call and frame.kind not in (CALL, CANCEL, CREDIT)
                ]
            )
        switchboard = self.room.switchboard
        assert (0, 0, 0) == (self.room.waiting, self.room.open_bytes, len(switchboard._wheel))
        assert [{}, {}] == [client.connection.callbacks for client in self.clients]

    def check_frames(self, frames: list[Frame]) -> None:
        """The items of a call are numbered from 0, and its outcome is its last frame."""
        assert frames[-1].kind in (REPLY, FAIL)
        assert list(range(len(frames) - 1)) == [frame.meta["seq"] for frame in frames[:-1]]


TestSwitchboard = SwitchboardMachine.TestCase
TestSwitchboard.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
