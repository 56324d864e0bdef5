"""Calls from a worker to the host: forth, back, nested, and cancelled with their parent."""

from __future__ import annotations

import pytest
from tests.support.fakes import Client, FakeWorker, Room, body_of

from dspex_protocol import CANCEL, CREDIT, FAIL, ITEM, REPLY, Oversized
from dspex_protocol.limits import MAX_CALLBACK_ITEM_BYTES


@pytest.fixture
def room() -> Room:
    return Room(calls_per_worker=1, max_queue=1)


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


@pytest.fixture
def worker(room: Room) -> FakeWorker:
    return room.workers[0]


def cancelled_callbacks(client: Client) -> list[int]:
    return [frame.id for frame in client.sent if frame.kind == CANCEL]


def test_a_call_to_the_host_names_its_parent(room: Room, client: Client, worker: FakeWorker) -> None:
    """By the client's own id; the time is what remains of the parent's."""
    client.call("program.predict", None, 70, deadline_ms=1000)
    room.pass_time(0.25)
    worker.call_host(5, parent=1)
    (callback,) = client.callbacks()
    assert ("function.call", {"parent": 70, "deadline_ms": 750}) == (callback.method, callback.meta)
    assert {"function": "f", "args": {}} == callback.value


@pytest.mark.parametrize("kind", [REPLY, FAIL])
def test_the_hosts_answer_goes_back(client: Client, worker: FakeWorker, kind: int) -> None:
    """Under the worker's id, whether it is a result or an error."""
    client.call("program.predict")
    worker.call_host(5, parent=1)
    client.answer(client.callbacks()[0].id, {"code": "x"}, kind)
    answer = worker.sent[-1]
    assert (kind, 5, {"code": "x"}) == (answer.kind, answer.id, answer.value)
    assert ({}, {}) == (client.connection.callbacks, worker.worker.callbacks)


def test_a_second_answer_is_ignored(client: Client, worker: FakeWorker) -> None:
    """The call is not open any more."""
    client.call("program.predict")
    worker.call_host(5, parent=1)
    callback = client.callbacks()[0].id
    client.answer(callback, "first")
    client.answer(callback, "second")
    assert ["first"] == [frame.value for frame in worker.sent if frame.kind == REPLY]


def test_ending_the_parent_cancels_its_callbacks(client: Client, worker: FakeWorker) -> None:
    """All that are open; an answer that comes later goes nowhere."""
    call = client.call("program.predict")
    worker.call_host(5, parent=1)
    worker.call_host(6, parent=1)
    client.cancel(call)
    worker.fail(1, "cancelled")
    ids = [callback.id for callback in client.callbacks()]
    assert ids == sorted(cancelled_callbacks(client))
    client.answer(ids[0], "late")
    assert [] == [frame for frame in worker.sent if frame.kind == REPLY]


def test_a_deadline_cancels_the_callbacks(room: Room, client: Client, worker: FakeWorker) -> None:
    """And the failure says that something may have happened."""
    call = client.call("program.predict", deadline_ms=10)
    worker.call_host(5, parent=1)
    room.pass_time(0.03)
    assert True is client.outcome(call).fields["maybe_executed"]
    assert [client.callbacks()[0].id] == cancelled_callbacks(client)


def test_the_worker_may_cancel_a_callback(client: Client, worker: FakeWorker) -> None:
    """Once: the client is told, and its answer goes nowhere."""
    client.call("program.predict")
    worker.call_host(5, parent=1)
    worker.cancel_host(5)
    worker.cancel_host(5)
    callback = client.callbacks()[0].id
    assert [callback] == cancelled_callbacks(client)
    client.answer(callback, "late")
    assert [] == [frame for frame in worker.sent if frame.kind == REPLY]


def test_cancelling_a_callback_leaves_another_clients_alone() -> None:
    """Each client counts its callbacks by itself, so two have the same id."""
    room = Room()
    (one, two), worker = (room.add_client(), room.add_client()), room.workers[0]
    one.call("program.predict")
    two.call("program.predict")
    worker.call_host(5, parent=1)
    worker.call_host(6, parent=2)
    assert one.callbacks()[0].id == two.callbacks()[0].id
    worker.cancel_host(6)
    assert ([], [1]) == (cancelled_callbacks(one), cancelled_callbacks(two))


def test_a_callback_for_a_call_that_has_ended_fails(room: Room, client: Client, worker: FakeWorker) -> None:
    """The worker is told so at once, and the client hears nothing."""
    client.call("program.predict", deadline_ms=10)
    room.pass_time(0.03)
    worker.call_host(5, parent=1)
    assert (5, "cancelled") == (worker.sent[-1].id, worker.sent[-1].code)
    assert [] == client.callbacks()


def test_a_callback_larger_than_the_client_accepts_fails(client: Client, worker: FakeWorker) -> None:
    """The worker gets the error, the client nothing."""
    client.connection.max_frame_bytes = 20
    client.call("program.predict")
    worker.call_host(5, parent=1)
    assert (5, "result_too_large") == (worker.sent[-1].id, worker.sent[-1].code)
    assert [] == client.callbacks()
    assert {} == client.connection.callbacks


def test_a_nested_call_does_not_wait(client: Client, worker: FakeWorker) -> None:
    """The worker is full, the queue is full: it starts beyond both limits."""
    client.call("program.predict")
    client.call()
    worker.call_host(5, parent=1)
    client.call("program.predict", "nested", parent=client.callbacks()[0].id)
    assert "nested" == worker.calls()[-1].value
    assert "parent" not in worker.calls()[-1].meta


def test_a_nested_call_inherits_the_parents_time(room: Room, client: Client, worker: FakeWorker) -> None:
    """It cannot ask for more."""
    client.call("program.predict", deadline_ms=100)
    worker.call_host(5, parent=1)
    nested = client.call("program.predict", parent=client.callbacks()[0].id, deadline_ms=5000)
    room.pass_time(0.12)
    assert "deadline" == client.outcome(nested).code


def test_callbacks_nest_eight_deep_and_no_deeper(client: Client, worker: FakeWorker) -> None:
    """The ninth is refused, and all eight can still end."""
    calls = [client.call("program.predict")]
    for depth in range(1, 9):
        worker.call_host(depth, parent=worker.calls()[-1].id)
        calls.append(client.call("program.predict", parent=client.callbacks()[-1].id))
    worker.call_host(9, parent=worker.calls()[-1].id)
    ninth = client.call("program.predict", parent=client.callbacks()[-1].id)
    assert "callback_too_deep" == client.outcome(ninth).code
    for frame in reversed(worker.calls()):
        worker.reply(frame.id, "done")
    assert ["done"] * 9 == [client.outcome(call).value for call in calls]


def test_a_parent_must_be_an_open_callback(client: Client) -> None:
    """Another id is refused by name."""
    call = client.call("program.predict", parent=3)
    assert ("invalid_argument", "meta.parent") == (
        client.outcome(call).code,
        client.outcome(call).details["field"],
    )


def test_a_nested_call_goes_before_calls_that_lost_their_worker() -> None:
    """Those wait for room that only the nested call's parent may give back."""
    room = Room(workers=2, calls_per_worker=1)
    client, (first, second) = room.add_client(), room.workers
    client.call("program.predict", "parent")
    client.call("program.predict", "bystander")
    first.call_host(5, parent=1)
    first.link.unread = 1 << 30  # no call can be given to it now
    second.die()
    client.call("program.predict", "nested", parent=client.callbacks()[0].id)
    first.link.unread = 0
    room.switchboard.pump()
    assert ["parent", "nested"] == [frame.value for frame in first.calls()]


def items_of(worker: FakeWorker) -> list[tuple[int, object, object]]:
    return [(frame.id, frame.meta["seq"], frame.value) for frame in worker.sent if frame.kind == ITEM]


@pytest.fixture
def callback(client: Client, worker: FakeWorker) -> int:
    """A call of the host that may send two items."""
    client.call("program.predict")
    worker.call_host(5, parent=1, credit=2)
    return client.callbacks()[0].id


def test_the_hosts_items_go_back(client: Client, worker: FakeWorker, callback: int) -> None:
    """Under the worker's id, in order, before the answer."""
    assert 2 == client.callbacks()[0].meta["credit"]
    client.send_item(callback, 0, "for")
    client.send_item(callback, 1, "ty")
    client.answer(callback, None)
    assert [(5, 0, "for"), (5, 1, "ty")] == items_of(worker)
    assert [ITEM, ITEM, REPLY] == [frame.kind for frame in worker.sent[-3:]]
    assert ({}, {}) == (client.connection.callbacks, worker.worker.callbacks)


def test_credit_goes_to_the_host(client: Client, worker: FakeWorker, callback: int) -> None:
    """As many as the worker says, and so many more items may come."""
    client.send_item(callback, 0)
    client.send_item(callback, 1)
    worker.credit_host(5, 1)
    assert [(callback, 1)] == [(frame.id, frame.meta["n"]) for frame in client.sent if frame.kind == CREDIT]
    client.send_item(callback, 2)
    assert 3 == len(items_of(worker))


@pytest.mark.parametrize("count", [0, -1, 1_000_001, "many", True, None])
def test_a_malformed_credit_is_none(client: Client, worker: FakeWorker, callback: int, count: object) -> None:
    """The host hears nothing of it."""
    worker.credit_host(5, count)
    assert [] == [frame for frame in client.sent if frame.kind == CREDIT]


def test_credit_for_what_has_ended_is_ignored(client: Client, worker: FakeWorker, callback: int) -> None:
    """It lost a race."""
    client.answer(callback, None)
    worker.credit_host(5, 1)
    assert [] == [frame for frame in client.sent if frame.kind == CREDIT]


@pytest.mark.parametrize("seq", [1, 7, -1, None, "0"])
def test_an_item_out_of_turn_ends_the_callback(
    client: Client, worker: FakeWorker, callback: int, seq: object
) -> None:
    """The worker has the error, the host is told to stop and why; nothing more of it is heard."""
    client.send_item(callback, seq)
    client.send_item(callback, 0)
    client.answer(callback, "late")
    assert [(5, "credit_exceeded")] == [(frame.id, frame.code) for frame in worker.sent if frame.kind == FAIL]
    assert [] == [frame for frame in worker.sent if frame.kind in (ITEM, REPLY)]
    assert [callback] == cancelled_callbacks(client)
    (fault,) = client.notes("system.fault")
    assert ("credit_exceeded", {"id": callback}) == (fault.fields["code"], fault.fields["details"])
    assert ({}, {}) == (client.connection.callbacks, worker.worker.callbacks)


def test_an_item_beyond_the_credit_ends_the_callback(
    client: Client, worker: FakeWorker, callback: int
) -> None:
    """Those before it have gone on."""
    for seq in range(3):
        client.send_item(callback, seq)
    assert (2, "credit_exceeded") == (len(items_of(worker)), worker.sent[-1].code)


def test_without_credit_no_item_is_taken(client: Client, worker: FakeWorker) -> None:
    """Nobody asked for one; the host is told of no credit either."""
    client.call("program.predict")
    worker.call_host(5, parent=1)
    assert "credit" not in client.callbacks()[0].meta
    client.send_item(client.callbacks()[0].id, 0)
    assert "credit_exceeded" == worker.sent[-1].code


def test_an_item_has_a_size_of_its_own(client: Client, worker: FakeWorker, callback: int) -> None:
    """One byte too many ends the callback; so does what is larger than a frame."""
    head = 3  # of a string that long
    client.send_item(callback, 0, "x" * (MAX_CALLBACK_ITEM_BYTES - head))
    assert 1 == len(items_of(worker))
    client.send_item(callback, 1, "x" * (MAX_CALLBACK_ITEM_BYTES - head + 1))
    assert ("function_failed", MAX_CALLBACK_ITEM_BYTES) == (
        worker.sent[-1].code,
        worker.sent[-1].details["limit"],
    )
    assert [callback] == cancelled_callbacks(client)


def test_an_item_larger_than_a_frame_ends_the_callback(
    client: Client, worker: FakeWorker, callback: int
) -> None:
    """Its envelope says whose it was."""
    head = body_of(ITEM, callback, None, {"seq": 0}, "the beginning")
    client.give(Oversized(17 << 20, head))
    assert (5, "function_failed") == (worker.sent[-1].id, worker.sent[-1].code)
    assert {} == client.connection.callbacks


def test_items_of_a_cancelled_callback_go_nowhere(client: Client, worker: FakeWorker, callback: int) -> None:
    """The host had not heard of it yet."""
    worker.cancel_host(5)
    client.send_item(callback, 0)
    assert [] == items_of(worker)
    assert [] == client.notes("system.fault")


def test_a_dead_worker_ends_the_hosts_stream(client: Client, worker: FakeWorker, callback: int) -> None:
    """The host is told once; its call has one outcome, since the host was called."""
    (call,) = client.connection.calls
    worker.start_all()
    client.send_item(callback, 0)
    worker.die()
    client.send_item(callback, 1)
    assert [callback] == cancelled_callbacks(client)
    outcome = client.outcome(call)
    assert ("worker_died", True) == (outcome.code, outcome.fields["maybe_executed"])
    assert {} == client.connection.callbacks


def test_a_dead_client_ends_its_stream(client: Client, worker: FakeWorker, callback: int) -> None:
    """The worker is told to stop, and keeps nothing of it."""
    client.send_item(callback, 0)
    client.hang_up()
    assert [1] == worker.cancels()
    assert {} == worker.worker.callbacks
    worker.credit_host(5, 1)
