"""Calls that end by time or by their caller: one outcome each, and what the worker is told."""

from __future__ import annotations

import pytest
from tests.support.fakes import Room

from dspex_pool.switchboard import CANCEL_ANSWER_S
from dspex_protocol import FAIL, REPLY


@pytest.fixture
def room() -> Room:
    """One worker that takes one call at a time."""
    return Room(calls_per_worker=1, grace_s=2.0)


def test_a_deadline_in_the_queue_is_never_started(room: Room) -> None:
    """It fails in time, and the worker never hears of it."""
    client, worker = room.add_client(), room.workers[0]
    first = client.call()
    late = client.call(deadline_ms=50)
    room.pass_time(0.07)
    assert ("deadline", {"where": "queue"}) == (client.outcome(late).code, client.outcome(late).details)
    worker.reply(worker.calls()[0].id)
    assert REPLY == client.outcome(first).kind
    assert 1 == len(worker.calls())


def test_a_deadline_in_the_worker_cancels_there(room: Room) -> None:
    """The caller is answered at once; the worker is asked to stop."""
    client, worker = room.add_client(), room.workers[0]
    call = client.call(deadline_ms=50)
    room.pass_time(0.07)
    assert ("deadline", {"where": "worker"}) == (client.outcome(call).code, client.outcome(call).details)
    assert [worker.calls()[0].id] == worker.cancels()


def test_a_deadline_is_never_early(room: Room) -> None:
    """A moment before it, nothing has ended."""
    client = room.add_client()
    call = client.call(deadline_ms=50)
    room.pass_time(0.0499)
    assert [] == client.outcomes(call)


def test_a_call_without_a_deadline_gets_the_default() -> None:
    """It comes from the settings."""
    room = Room(default_deadline_ms=300)
    client = room.add_client()
    call = client.call()
    room.pass_time(0.32)
    assert "deadline" == client.outcome(call).code


def test_the_worker_is_told_what_time_remains(room: Room) -> None:
    """The wait in the queue is taken off."""
    client, worker = room.add_client(), room.workers[0]
    client.call()
    client.call(deadline_ms=1000)
    room.pass_time(0.4)
    worker.reply(worker.calls()[0].id)
    remaining_ms = worker.calls()[1].meta["deadline_ms"]
    assert isinstance(remaining_ms, int)
    assert 599 <= remaining_ms <= 600


def test_cancelling_in_the_queue_needs_no_worker(room: Room) -> None:
    """The rung is `queued`."""
    client, worker = room.add_client(), room.workers[0]
    client.call()
    call = client.call()
    client.cancel(call)
    assert ("cancelled", {"rung": "queued"}) == (client.outcome(call).code, client.outcome(call).details)
    assert ([], 0) == (worker.cancels(), room.waiting)


def test_cancelling_a_task_that_stops_when_asked(room: Room) -> None:
    """Whatever FAIL the worker answers, the caller gets `cancelled`, rung `asked`."""
    client, worker = room.add_client(), room.workers[0]
    call = client.call()
    client.cancel(call)
    client.cancel(call)
    assert [1] == worker.cancels()
    worker.fail(1, "cancelled")
    assert ("cancelled", {"rung": "asked"}) == (client.outcome(call).code, client.outcome(call).details)


def test_cancelling_a_task_that_does_not_stop(room: Room) -> None:
    """The caller is answered within 50 ms, rung `left`."""
    client = room.add_client()
    call = client.call()
    client.cancel(call)
    room.pass_time(0.02)
    assert [] == client.outcomes(call)
    room.pass_time(0.03)
    assert {"rung": "left"} == client.outcome(call).details


def test_a_reply_that_wins_the_race_with_a_cancel(room: Room) -> None:
    """It is the outcome, and nothing follows it."""
    client, worker = room.add_client(), room.workers[0]
    call = client.call()
    client.cancel(call)
    worker.reply(1, "done")
    room.pass_time(10)
    assert "done" == client.outcome(call).value
    assert not worker.process.killed


def test_a_reply_that_loses_the_race_goes_nowhere(room: Room) -> None:
    """After `left`, the worker's REPLY only frees its place."""
    client, worker = room.add_client(), room.workers[0]
    call = client.call()
    client.cancel(call)
    room.pass_time(0.06)
    worker.reply(1, "late")
    assert FAIL == client.outcome(call).kind
    assert 0 == worker.worker.load


def test_a_call_that_was_given_up_keeps_its_place(room: Room) -> None:
    """The worker may be stuck in it: nothing else starts there until it answers."""
    client, worker = room.add_client(), room.workers[0]
    client.call(deadline_ms=50)
    following = client.call()
    room.pass_time(0.07)
    assert 1 == len(worker.calls())
    worker.fail(1, "cancelled")
    assert 2 == len(worker.calls())
    assert [] == client.outcomes(following)


def test_a_worker_that_does_not_let_go_is_killed(room: Room) -> None:
    """After the grace period, not before."""
    client, worker = room.add_client(), room.workers[0]
    client.call(deadline_ms=50)
    room.pass_time(0.07)
    killed: list[bool] = []
    for seconds in (1.9, 0.2):
        room.pass_time(seconds)
        killed.append(worker.process.killed)
    assert [False, True] == killed
    assert 1 == room.counters["stuck"]


def test_a_worker_that_lets_go_in_time_is_spared(room: Room) -> None:
    """The check finds the call gone."""
    client, worker = room.add_client(), room.workers[0]
    client.call(deadline_ms=50)
    room.pass_time(0.07)
    worker.fail(1, "cancelled")
    room.pass_time(5)
    assert not worker.process.killed


def test_a_cancel_and_a_deadline_that_are_due_together_are_one_outcome(room: Room) -> None:
    """A busy loop may find both due at once, in either order."""
    client = room.add_client()
    cancelled_first = client.call(deadline_ms=int(CANCEL_ANSWER_S * 1000) + 30)
    other = client.call(deadline_ms=100)
    client.cancel(cancelled_first)
    room.pass_time(0.5)
    assert {"rung": "left"} == client.outcome(cancelled_first).details
    assert "deadline" == client.outcome(other).code


def test_cancelling_what_is_not_open_is_ignored(room: Room) -> None:
    """An unknown id, and an id that has had its outcome."""
    client, worker = room.add_client(), room.workers[0]
    call = client.call()
    worker.reply(1)
    client.cancel(call)
    client.cancel(99)
    assert REPLY == client.outcome(call).kind
    assert [] == worker.cancels()


def test_the_server_is_woken_for_the_first_deadline(room: Room) -> None:
    """`wake_at` is asked for at or just after it."""
    room.add_client().call(deadline_ms=500)
    assert 0 <= room.wake_at[-1] - (room.clock.now_s + 0.5) <= 0.011
