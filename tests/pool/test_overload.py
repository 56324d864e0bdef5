"""When there is too much of everything: who is refused, who gives way, and what it is told."""

from __future__ import annotations

import pytest
from tests.support.fakes import Client, Frame, Room

from dspex_protocol import FAIL, REPLY


def flood(client: Client, count: int, **meta: object) -> list[int]:
    """Calls that nobody waits for."""
    return [client.call("system.echo", None, **meta) for _ in range(count)]


def refused(client: Client) -> list[Frame]:
    """Its calls that failed, each of them as overloaded."""
    failures = [frame for frame in client.sent if frame.kind == FAIL]
    assert {"overloaded"} >= {failure.code for failure in failures}
    return failures


# Tenants


def test_each_connection_is_a_tenant_unless_it_says_otherwise() -> None:
    """A name in hello serves for all of its calls, one in a call for that call."""
    room = Room()
    for client in (room.add_client(), room.add_client(tenant="named"), room.add_client(tenant="named")):
        client.call()
    client.call("system.echo", None, tenant="of the call")
    running = {tenant.name: tenant.running for tenant in room.switchboard.placing.tenants._table.values()}
    assert {"client-1": 1, "named": 2, "of the call": 1} == running


def test_weights_are_the_hosts_word_while_it_is_there() -> None:
    """Under load a tenant of weight 3 has three places for each one of another."""
    room = Room(calls_per_worker=8)
    client, worker = room.add_client(tenants={"heavy": 3}), room.workers[0]
    flood(client, 1, tenant="light")
    for name in ("light", "heavy"):
        flood(client, 40, tenant=name)
    for _ in range(40):
        worker.start_all()
        worker.reply(next(iter(worker.worker.calls)))
    running = [call.tenant.name for call in worker.worker.calls.values()]
    assert (6, 2) == (running.count("heavy"), running.count("light"))
    client.hang_up()
    again = room.add_client()
    again.call("system.echo", None, tenant="heavy")
    assert [1] == [call.tenant.weight for call in again.connection.calls.values()]


def test_a_tenant_leaves_places_to_those_that_are_about() -> None:
    """A quarter, until they have been gone for some seconds."""
    room = Room(calls_per_worker=16)
    greedy, other, worker = room.add_client(), room.add_client(), room.workers[0]
    other.call()
    worker.reply(1)
    for _ in range(20):
        greedy.call()
        worker.start_all()
    assert (12, 8) == (worker.worker.load, room.waiting)
    other.call()
    assert (13, 8) == (worker.worker.load, room.waiting)
    worker.reply(worker.worker.last_id)
    room.pass_time(20)
    worker.start_all()
    assert 16 == worker.worker.load


# A queue that is full


def test_who_has_less_in_a_full_queue_displaces_who_has_more() -> None:
    """The displaced call is told when to come back; the one that came in its stead runs."""
    room = Room(calls_per_worker=1, max_queue=3)
    greedy, modest, worker = room.add_client(), room.add_client(), room.workers[0]
    calls = flood(greedy, 4)
    call = modest.call()
    (failure,) = refused(greedy)
    assert (calls[1], "queue") == (failure.id, failure.details["where"])
    assert 50 <= int(str(failure.fields["retry_after_ms"])) <= 10_000
    for worker_id in range(1, 5):
        worker.reply(worker_id)
    assert (REPLY, 0) == (modest.outcome(call).kind, len(refused(modest)))
    assert (1, 0) == (room.counters["shed"], room.counters["overloaded"])


def test_who_floods_is_refused_itself() -> None:
    """It displaces nobody, not even itself: what waits longest is nearest to its end."""
    room = Room(calls_per_worker=1, max_queue=3)
    greedy, modest = room.add_client(), room.add_client()
    first = flood(greedy, 3)
    modest.call()
    late = flood(greedy, 5)
    assert late == [failure.id for failure in refused(greedy)]
    assert [] == refused(modest)
    assert {*first} == greedy.connection.calls.keys()
    assert (0, 5) == (room.counters["shed"], room.counters["overloaded"])


def test_the_displaced_call_is_the_least_urgent() -> None:
    """Batch before interactive, then the lowest priority, then the oldest."""
    room = Room(calls_per_worker=1, max_queue=4)
    greedy, modest = room.add_client(), room.add_client()
    flood(greedy, 1)
    flood(greedy, 1, priority=9)
    low = flood(greedy, 2, priority=1)
    flood(greedy, 1, priority=5)
    flood(modest, 2)
    assert low == [failure.id for failure in refused(greedy)]


@pytest.mark.parametrize("meta", [{"lane": "batch"}, {"tenant": "greedy"}])
def test_places_that_are_kept_for_others_make_no_queue_longer(meta: dict[str, object]) -> None:
    """A flood that may not have the last free places waits to the limit, and is refused beyond."""
    room = Room(calls_per_worker=8, max_queue=5)
    client, worker = room.add_client(), room.workers[0]
    client.call()
    for _ in range(50):
        client.call("system.echo", None, **meta)
        worker.start_all()
    assert 5 == room.waiting
    assert worker.worker.load < 8
    assert 50 - 5 - (worker.worker.load - 1) == len(refused(client))


def test_a_client_that_does_not_read_fills_no_more_than_the_queue() -> None:
    """Its calls are held, and there is a place for each of them that they may not have."""
    room = Room(max_queue=5)
    client = room.add_client()
    client.link.unread = 16 << 20
    flood(client, 50)
    assert (5, 45) == (room.waiting, len(refused(client)))


# Age and bytes


def test_interactive_calls_that_wait_too_long_are_answered() -> None:
    """Whoever asked has given up; batch calls wait on."""
    room = Room(calls_per_worker=1, max_queue_s=5.0)
    client = room.add_client()
    flood(client, 1)
    old = flood(client, 2)
    flood(client, 1, lane="batch")
    room.pass_time(3.0)
    flood(client, 1)
    room.pass_time(2.5)
    room.switchboard.shed_aged()
    assert (old, 2) == ([failure.id for failure in refused(client)], room.waiting)
    assert 5500 == refused(client)[0].details["waited_ms"]


def test_a_call_that_had_a_place_once_is_not_shed() -> None:
    """Its worker died: it has waited its time already."""
    room = Room(max_queue_s=5.0)
    client = room.add_client()
    call = client.call()
    room.workers[0].die()
    room.pass_time(6.0)
    room.switchboard.shed_aged()
    room.add_worker().reply(1, "done")
    assert "done" == client.outcome(call).value


def test_a_few_large_calls_of_one_tenant_shut_nobody_out() -> None:
    """The last quarter of the bytes is for who has less than its part."""
    room = Room(max_open_bytes=8192)
    greedy, other = room.add_client(), room.add_client()
    other.call()
    for _ in range(8):
        greedy.call("system.echo", b"x" * 1000)
    assert 2 == len(refused(greedy))
    other.call("system.echo", b"x" * 1000)
    assert [] == refused(other)


# Workers that die too often


def die_under(room: Room, client: Client) -> Frame | None:
    """A call whose worker dies under it; its outcome, or None when it is repeated (and succeeds)."""
    call = client.call()
    room.workers[-1].start_all()
    room.workers[-1].die()
    room.add_worker()
    if call not in client.connection.calls:
        return client.outcome(call)
    room.workers[-1].reply(1)
    return None


def test_repeats_have_a_budget() -> None:
    """When all workers die all the time, calls fail, in a way that may be tried again later."""
    room = Room()
    client = room.add_client()
    tokens = room.switchboard.budget.tokens
    repeats = 0
    while (failure := die_under(room, client)) is None:
        repeats += 1
        assert repeats < 2 * tokens
    assert ("worker_died", "spent") == (failure.code, failure.details["budget"])
    assert failure.fields["retryable"]
    assert tokens <= repeats


def test_success_fills_the_budget_again() -> None:
    """Ten calls that end well pay for one repeat."""
    room = Room()
    client = room.add_client()
    while die_under(room, client) is None:
        pass
    for number in range(10):
        client.call()
        room.workers[-1].reply(number + 1)
    assert None is die_under(room, client)
