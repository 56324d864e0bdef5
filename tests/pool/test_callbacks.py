"""Calls from a worker to the host: forth, back, nested, and cancelled with their parent."""

from __future__ import annotations

import pytest
from tests.support.fakes import Client, FakeWorker, Room

from dspex_protocol import CANCEL, FAIL, REPLY


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
