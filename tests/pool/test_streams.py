"""Items and credit: in order, never more than asked for, and none after the outcome."""

from __future__ import annotations

import pytest
from tests.support.fakes import Client, FakeWorker, Room

from dspex_protocol import CREDIT


@pytest.fixture
def room() -> Room:
    return Room(calls_per_worker=1)


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


@pytest.fixture
def worker(room: Room) -> FakeWorker:
    return room.workers[0]


def test_items_reach_the_client_in_order(client: Client, worker: FakeWorker) -> None:
    """With their numbers; the REPLY comes after them."""
    call = client.call("program.predict", credit=3)
    for seq, text in enumerate("abc"):
        worker.item(1, seq, text)
    worker.reply(1, "abc")
    assert [("a", 0), ("b", 1), ("c", 2)] == [(item.value, item.meta["seq"]) for item in client.items(call)]
    assert "abc" == client.outcome(call).value
    assert call == client.sent[-1].id


@pytest.mark.parametrize("seq", [1, -1, 7])
def test_an_item_out_of_turn_ends_the_call(client: Client, worker: FakeWorker, seq: int) -> None:
    """A gap would be a lost token."""
    call = client.call("program.predict", credit=3)
    worker.item(1, seq)
    assert "credit_exceeded" == client.outcome(call).code
    assert [] == client.items(call)


def test_an_item_twice_ends_the_call(client: Client, worker: FakeWorker) -> None:
    """As does one that came before."""
    call = client.call("program.predict", credit=3)
    worker.item(1, 0)
    worker.item(1, 0)
    assert "credit_exceeded" == client.outcome(call).code
    assert 1 == len(client.items(call))


def test_an_item_beyond_the_credit_ends_the_call(client: Client, worker: FakeWorker) -> None:
    """The worker is told to stop."""
    call = client.call("program.predict", credit=1)
    worker.item(1, 0)
    worker.item(1, 1)
    assert "credit_exceeded" == client.outcome(call).code
    assert [1] == worker.cancels()


def test_without_credit_no_item_is_passed_on(client: Client, worker: FakeWorker) -> None:
    """The client did not ask for a stream."""
    call = client.call("program.predict")
    worker.item(1, 0)
    assert "credit_exceeded" == client.outcome(call).code


def test_credit_goes_on_to_the_worker(client: Client, worker: FakeWorker) -> None:
    """And lets further items pass."""
    call = client.call("program.predict", credit=1)
    worker.item(1, 0)
    client.credit(call, 2)
    assert (CREDIT, 1, {"n": 2}) == (worker.sent[-1].kind, worker.sent[-1].id, worker.sent[-1].meta)
    worker.item(1, 1)
    worker.item(1, 2)
    assert 3 == len(client.items(call))


@pytest.mark.parametrize("count", [0, -1, 1_000_001, True, 1.0, "1", None])
def test_malformed_credit_is_none(client: Client, worker: FakeWorker, count: object) -> None:
    """It goes nowhere."""
    call = client.call("program.predict", credit=1)
    client.credit(call, count)  # type: ignore[arg-type]
    assert [] == [frame for frame in worker.sent if frame.kind == CREDIT]


def test_credit_that_comes_while_the_call_waits_is_not_lost(client: Client, worker: FakeWorker) -> None:
    """The worker starts with all of it."""
    client.call()
    call = client.call("program.predict", credit=2)
    client.credit(call, 3)
    worker.reply(1)
    assert 5 == worker.calls()[1].meta["credit"]


def test_credit_makes_no_stream_of_a_call_that_asked_for_none(client: Client, worker: FakeWorker) -> None:
    """Without `credit` in its meta, a call has no items."""
    client.call()
    call = client.call("program.predict")
    client.credit(call, 3)
    worker.reply(1)
    assert "credit" not in worker.calls()[1].meta


def test_a_repeated_stream_starts_anew(room: Room, client: Client, worker: FakeWorker) -> None:
    """Credit that came before the death counts for the second worker."""
    call = client.call("program.predict", credit=2)
    client.credit(call, 3)
    worker.die()
    second = room.add_worker()
    assert 5 == second.calls()[0].meta["credit"]
    second.item(1, 0)
    assert 1 == len(client.items(call))


def test_items_after_the_outcome_go_nowhere(client: Client, worker: FakeWorker, room: Room) -> None:
    """The client has been told that the call is over."""
    call = client.call("program.predict", credit=5, deadline_ms=10)
    room.pass_time(0.03)
    worker.item(1, 0)
    assert [] == client.items(call)
    assert call == client.sent[-1].id


def test_an_item_larger_than_the_client_accepts_ends_the_call(client: Client, worker: FakeWorker) -> None:
    """It is never sent."""
    client.connection.max_frame_bytes = 4096
    call = client.call("program.predict", credit=5)
    worker.item(1, 0, "x" * 5000)
    assert "result_too_large" == client.outcome(call).code
    assert [] == client.items(call)
