"""Which call starts, where, and which must wait or come back later."""

from __future__ import annotations

import pytest
from tests.support.fakes import Room

from dspex_pool.connections import CLOGGED_BYTES, MAX_UNREAD_BYTES
from dspex_pool.operations import HOP_METHODS
from dspex_protocol import REPLY


def test_a_call_goes_to_the_least_loaded_worker() -> None:
    """The first of equals."""
    room = Room(workers=3)
    client = room.add_client()
    for _ in range(7):
        client.call()
    assert [3, 2, 2] == [worker.worker.load for worker in room.workers]


def test_a_call_before_any_worker_waits() -> None:
    """The first worker gets all that wait."""
    room = Room(workers=0)
    client = room.add_client()
    client.call("system.echo", 1)
    client.call("system.echo", 2)
    waiting = [room.waiting]
    assert [1, 2] == [frame.value for frame in room.add_worker().calls()]
    assert [2, 0] == [*waiting, room.waiting]


def test_what_waits_starts_by_priority_then_by_age() -> None:
    """9 goes first."""
    room = Room(workers=0)
    client = room.add_client()
    for priority in (5, 0, 9, 5, 9):
        client.call("system.echo", [priority, len(client.connection.calls)], priority=priority)
    sent = [frame.value for frame in room.add_worker().calls()]
    assert [[9, 2], [9, 4], [5, 0], [5, 3], [0, 1]] == sent


def test_a_full_worker_gets_the_next_call_when_one_ends() -> None:
    """In its place."""
    room = Room(calls_per_worker=2)
    client, worker = room.add_client(), room.workers[0]
    for n in range(3):
        client.call("system.echo", n)
    assert (2, 1) == (len(worker.calls()), room.waiting)
    worker.reply(1)
    assert 2 == worker.calls()[-1].value


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    """The refused call changes nothing, and its id is free."""
    room = Room(calls_per_worker=1, max_queue=1)
    client, worker = room.add_client(), room.workers[0]
    client.call()
    client.call()
    refused = client.call("system.echo", "again", 77)
    failure = client.outcome(refused)
    assert ("overloaded", True) == (failure.code, failure.fields["retryable"])
    assert isinstance(failure.fields["retry_after_ms"], int)
    worker.reply(1)
    client.call("system.echo", "again", 77)
    worker.reply(2)
    worker.reply(3, "done")
    assert "done" == client.outcomes(77)[1].value


def test_without_a_queue_a_free_worker_still_takes_calls() -> None:
    """`max_queue` 0 means that nothing waits."""
    room = Room(calls_per_worker=1, max_queue=0)
    client = room.add_client()
    taken, refused = client.call(), client.call()
    assert [] == client.outcomes(taken)
    assert "overloaded" == client.outcome(refused).code


def test_without_a_queue_one_call_waits_for_the_first_worker() -> None:
    """Workers are started for calls that wait: with none of either, none would ever be."""
    room = Room(workers=0, max_queue=0)
    client = room.add_client()
    taken, refused = client.call(), client.call()
    assert [] == client.outcomes(taken)
    assert "overloaded" == client.outcome(refused).code


def test_payloads_of_open_calls_are_bounded() -> None:
    """Their bytes count until the outcome."""
    room = Room(max_open_bytes=2048)
    client, worker = room.add_client(), room.workers[0]
    client.call("system.echo", "x" * 1500)
    refused = client.call("system.echo", "x" * 1500)
    assert "overloaded" == client.outcome(refused).code
    worker.reply(1)
    assert 0 == room.open_bytes
    taken = client.call("system.echo", "x" * 1500)
    assert [] == client.outcomes(taken)


def test_a_worker_that_does_not_read_gets_no_more() -> None:
    """The other one gets the call."""
    room = Room(workers=2)
    room.workers[0].link.unread = 1 << 30
    room.add_client().call()
    assert [0, 1] == [worker.worker.load for worker in room.workers]


def test_a_client_that_does_not_read_gets_no_new_work_done() -> None:
    """Until it has caught up; in order."""
    room = Room()
    client, worker = room.add_client(), room.workers[0]
    client.link.unread = CLOGGED_BYTES + 1
    for n in range(3):
        client.call("system.echo", n)
    assert ([], 3) == (worker.calls(), room.waiting)
    client.link.drain()
    assert [0, 1, 2] == [frame.value for frame in worker.calls()]


def test_a_client_that_does_not_read_is_in_nobodys_way() -> None:
    """Another's call starts at once."""
    room = Room()
    slow, quick, worker = room.add_client(), room.add_client(), room.workers[0]
    slow.link.unread = CLOGGED_BYTES + 1
    slow.call("system.echo", "slow")
    quick.call("system.echo", "quick")
    assert ["quick"] == [frame.value for frame in worker.calls()]


def test_calls_that_are_held_still_end_in_time() -> None:
    """By deadline and by cancel."""
    room = Room()
    client = room.add_client()
    client.link.unread = CLOGGED_BYTES + 1
    late, cancelled = client.call(deadline_ms=10), client.call()
    client.cancel(cancelled)
    room.pass_time(0.03)
    assert ["deadline", "cancelled"] == [client.outcome(call).code for call in (late, cancelled)]
    assert 0 == room.waiting


def test_a_client_that_reads_nothing_at_all_is_not_listened_to() -> None:
    """Beyond a bound; and again when it has read."""
    client = Room().add_client()
    client.link.unread = MAX_UNREAD_BYTES + 1
    client.call("system.ping")
    listening = [client.link.reading]
    client.link.drain()
    listening.append(client.link.reading)
    assert [False, True] == listening


def test_nobody_waits_for_a_client_that_is_gone() -> None:
    """Its calls are given up, and their places come back as workers let go."""
    room = Room(calls_per_worker=1)
    gone, other, worker = room.add_client(), room.add_client(), room.workers[0]
    gone.call()
    gone.call()
    call = other.call()
    gone.hang_up()
    assert [1] == worker.cancels()
    worker.fail(1, "cancelled")
    worker.reply(worker.calls()[-1].id, "mine")
    assert "mine" == other.outcome(call).value
    assert 2 == len(worker.calls())


@pytest.mark.parametrize(
    ("meta", "field"),
    [
        ({"deadline_ms": 0}, "meta.deadline_ms"),
        ({"deadline_ms": 86_400_001}, "meta.deadline_ms"),
        ({"deadline_ms": 1.5}, "meta.deadline_ms"),
        ({"deadline_ms": True}, "meta.deadline_ms"),
        ({"priority": 10}, "meta.priority"),
        ({"priority": "9"}, "meta.priority"),
        ({"credit": -1}, "meta.credit"),
        ({"credit": 1_000_001}, "meta.credit"),
        ({"lane": "fast"}, "meta.lane"),
        ({"tenant": ""}, "meta.tenant"),
        ({"tenant": "é" * 65}, "meta.tenant"),
        ({"program": 7}, "meta.program"),
        ({"version": 0}, "meta.version"),
        ({"parent": -1}, "meta.parent"),
        ({"parent": "1"}, "meta.parent"),
    ],
)
def test_meta_that_is_wrong_is_refused_by_name(meta: dict[str, object], field: str) -> None:
    """And the server is as it was."""
    room = Room()
    client = room.add_client()
    call = client.call("system.echo", None, **meta)
    assert ("invalid_argument", field) == (client.outcome(call).code, client.outcome(call).details["field"])
    assert (0, {}, []) == (room.open_bytes, client.connection.calls, room.workers[0].calls())


def test_unknown_meta_is_passed_on() -> None:
    """A router does not know every key."""
    room = Room()
    room.add_client().call("system.echo", None, traceparent="00-x", later=1)
    assert {"traceparent": "00-x", "later": 1} == room.workers[0].calls()[0].meta


@pytest.mark.parametrize("meta", [{"x": "y" * 4070}, {f"k{n}": n for n in range(62)}])
def test_meta_that_leaves_no_room_for_the_servers_own_is_refused(meta: dict[str, object]) -> None:
    """A worker would not take the envelope that grew on the way."""
    room = Room()
    client = room.add_client()
    call = client.call("system.echo", None, **meta)
    assert "envelope_too_large" == client.outcome(call).code
    assert [] == room.workers[0].calls()


@pytest.mark.parametrize("method", ["no.such", *sorted(HOP_METHODS)])
def test_a_method_that_is_not_for_clients_is_unknown(method: str) -> None:
    """Those between supervisor and worker included; the error lists the others."""
    client = Room().add_client()
    call = client.call(method)
    known = client.outcome(call).details["known"]
    assert "unknown_method" == client.outcome(call).code
    assert isinstance(known, list)
    assert {"system.echo", "system.ping"} <= set(known)
    assert method not in known


def test_figures_of_a_reply() -> None:
    """Its time in the queue, its worker and its attempt are the supervisor's; the rest the worker's."""
    room = Room(calls_per_worker=1)
    client, worker = room.add_client(), room.workers[0]
    client.call()
    call = client.call()
    room.pass_time(0.25)
    worker.reply(1)
    worker.reply(2, None, worker_ms=3.5, worker=99, attempt=99)
    assert {"worker_ms": 3.5, "queue_ms": 250.0, "worker": 1, "attempt": 1} == client.outcome(call).meta
    assert (2, REPLY) == (room.counters["replied"], client.outcome(call).kind)
