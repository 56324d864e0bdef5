"""Which worker a call runs in and when: what is held there, what it is for, and how many want in."""

from __future__ import annotations

import pytest
from tests.support.fakes import Client, FakeWorker, Frame, Room

from dspex_pool.dispatch import AFFINITY_SLACK
from dspex_pool.overload import MAX_CONTROL_CALLS
from dspex_pool.placing import INTAKE
from dspex_protocol import FAIL


def loads(room: Room) -> list[int]:
    """Calls in each worker."""
    return [fake.worker.load for fake in room.workers]


def methods(frames: list[Frame]) -> list[tuple[str | None, object]]:
    """What was asked for, and of which program."""
    return [(frame.method, frame.meta.get("program")) for frame in frames]


def use(client: Client, worker: FakeWorker, program: str) -> None:
    """A prediction that comes and ends."""
    client.call("program.predict", program=program)
    worker.reply(worker.worker.last_id)


# Programs


def test_the_calls_of_a_program_go_where_it_is() -> None:
    """While that worker has not much more to do than an idle one; then another loads it too."""
    room = Room(workers=2)
    room.store("qa")
    client = room.add_client()
    for _ in range(AFFINITY_SLACK + 1):
        client.call("program.predict", program="qa")
    assert [AFFINITY_SLACK + 1, 0] == loads(room)
    client.call("program.predict", program="qa")
    assert [AFFINITY_SLACK + 1, 1] == loads(room)
    assert [1, 1] == [len(fake.calls("program.load")) for fake in room.workers]


def test_affinity_starves_no_worker() -> None:
    """However many calls one program has, the workers' loads stay together."""
    room = Room(workers=3, calls_per_worker=40)
    room.store("qa")
    client = room.add_client()
    for _ in range(90):
        client.call("program.predict", program="qa")
        assert max(loads(room)) - min(loads(room)) <= AFFINITY_SLACK + 1


def test_a_full_holder_does_not_keep_its_calls_waiting() -> None:
    """A free place elsewhere is worth building the program again."""
    room = Room(workers=2, calls_per_worker=2)
    room.store("qa")
    client = room.add_client()
    for _ in range(3):
        client.call("program.predict", program="qa")
    assert ([2, 1], 0) == (loads(room), room.waiting)


def test_the_program_least_used_makes_room() -> None:
    """The worker forgets it before it loads the new one, and both before the call."""
    room = Room(programs_per_worker=2)
    client, worker = room.add_client(), room.workers[0]
    for program in "abc":
        room.store(program)
    for program in "aba":
        use(client, worker, program)
    had = len(worker.sent)
    use(client, worker, "c")
    expected = [("program.forget", "b"), ("program.load", "c"), ("program.predict", "c")]
    assert expected == methods(worker.sent[had:])


def test_a_program_in_use_is_not_forgotten() -> None:
    """Beyond the bound if need be; a later call pays that back."""
    room = Room(programs_per_worker=1)
    client, worker = room.add_client(), room.workers[0]
    for program in "abc":
        room.store(program)
    client.call("program.predict", program="a")
    running = worker.worker.last_id
    use(client, worker, "b")
    assert [] == worker.calls("program.forget")
    worker.reply(running)
    use(client, worker, "c")
    assert [("program.forget", "a"), ("program.forget", "b")] == methods(worker.calls("program.forget"))


def test_a_deleted_program_is_forgotten_by_all() -> None:
    """It would fill memory that no call can reach."""
    room = Room(workers=2)
    room.store("qa")
    client = room.add_client()
    for _ in range(AFFINITY_SLACK + 2):
        client.call("program.predict", program="qa")
    client.call("program.delete", program="qa")
    assert [[("program.forget", "qa")]] * 2 == [methods(one.calls("program.forget")) for one in room.workers]


# How much a worker is given ahead


def test_one_tenant_alone_fills_a_worker_at_once() -> None:
    """Nobody else could want its places."""
    room = Room(calls_per_worker=8)
    client = room.add_client()
    for _ in range(8):
        client.call()
    assert [8] == loads(room)


@pytest.mark.parametrize("other", [{"tenant": "other"}, {"lane": "batch"}])
def test_where_several_want_places_a_worker_gets_few_ahead(other: dict[str, object]) -> None:
    """What it has not begun waits here, where the next one's turn is still open."""
    room = Room(calls_per_worker=64)
    client, worker = room.add_client(), room.workers[0]
    client.call("system.echo", None, **other)
    worker.start_all()
    for _ in range(20):
        client.call()
    assert ([1 + INTAKE], 20 - INTAKE) == (loads(room), room.waiting)
    worker.start(worker.worker.last_id - 1)
    assert [INTAKE + INTAKE] == loads(room)
    worker.start_all()
    assert ([21], 0) == (loads(room), room.waiting)


# Lanes


def test_what_controls_starts_when_all_places_are_taken() -> None:
    """And when the queue is full."""
    room = Room(calls_per_worker=1, max_queue=1)
    client, worker = room.add_client(), room.workers[0]
    for _ in range(3):
        client.call()
    control = client.call("system.describe", None, lane="control")
    assert [2] == loads(room)
    worker.reply(worker.worker.last_id, {})
    assert {} == client.outcome(control).value


def test_only_what_does_no_work_may_control() -> None:
    """A prediction would go past everybody."""
    room = Room()
    client = room.add_client()
    refused = client.outcome(client.call("program.predict", None, lane="control"))
    assert ("invalid_argument", "meta.lane") == (refused.code, refused.details["field"])
    assert [0] == loads(room)


def test_a_client_has_so_many_controls_and_no_more() -> None:
    """They are beyond all other limits; another client has its own."""
    room = Room(calls_per_worker=1)
    client, other = room.add_client(), room.add_client()
    for _ in range(MAX_CONTROL_CALLS):
        client.call("system.echo", None, lane="control")
    refused = client.outcome(client.call("system.echo", None, lane="control"))
    assert "overloaded" == refused.code
    assert isinstance(refused.fields["retry_after_ms"], int)
    other.call("system.echo", None, lane="control")
    assert [MAX_CONTROL_CALLS + 1] == loads(room)


def test_a_control_waits_for_the_first_worker_only() -> None:
    """It goes before what came earlier."""
    room = Room(workers=0)
    client = room.add_client()
    client.call("system.echo", "work")
    client.call("system.echo", "control", lane="control")
    worker = room.add_worker()
    assert ["control", "work"] == [frame.value for frame in worker.calls()]


def test_batch_leaves_a_reserve_and_takes_all_else() -> None:
    """So that an interactive call starts at once beside a flood."""
    room = Room(calls_per_worker=8)
    client, worker = room.add_client(), room.workers[0]
    for _ in range(20):
        client.call("system.echo", None, lane="batch")
        worker.start_all()
    assert ([7], 13) == (loads(room), room.waiting)
    client.call("system.echo", "interactive")
    assert "interactive" == worker.calls()[-1].value


def test_batch_has_its_share_of_an_interactive_flood() -> None:
    """A quarter of the places as they get free."""
    room = Room(calls_per_worker=8)
    client, worker = room.add_client(), room.workers[0]
    for _ in range(40):
        client.call("system.echo", "interactive")
        client.call("system.echo", "batch", lane="batch")
    for _ in range(30):
        worker.start_all()
        worker.reply(next(iter(worker.worker.calls)))
    running = [call.lane.value for call in worker.worker.calls.values()]
    assert {"interactive": 6, "batch": 2} == {lane: running.count(lane) for lane in set(running)}


# Alone


def test_suspects_are_kept_apart() -> None:
    """Two calls that were in two deaths together never meet again; each runs by itself to its end."""
    room = Room()
    client = room.add_client()
    calls = [client.call("system.echo", name) for name in "ab"]
    for _ in range(2):
        room.workers[-1].start_all()
        room.workers[-1].die()
        room.add_worker()
    worker = room.workers[-1]
    assert ["a"] == [frame.value for frame in worker.calls()]
    client.call("system.echo", "bystander")
    worker.reply(1, "a's")
    assert ["a", "bystander", "b"] == [frame.value for frame in worker.calls()]
    worker.reply(3, "b's")
    assert ["a's", "b's"] == [client.outcome(call).value for call in calls]


def test_a_nested_suspect_waits_for_no_other() -> None:
    """Its parent may be that other, and would wait for it for ever."""
    room = Room(workers=2)
    client, (first, second) = room.add_client(), room.workers
    parent = client.call("program.predict")
    first.start_all()
    first.call_host(1, 1)
    nested = client.call("system.echo", "nested", parent=client.callbacks()[0].id)
    assert "nested" == second.calls()[-1].value
    for call in (parent, nested):
        client.connection.calls[call].alone = True
    second.die()
    assert "nested" == first.calls()[-1].value


def test_a_worker_that_drains_keeps_no_places_of_its_successor() -> None:
    """A tenant whose long calls are still in the old one may use the new one as before."""
    room = Room(calls_per_worker=4)
    client, old = room.add_client(), room.workers[0]
    client.call("system.echo", None, tenant="other")
    old.reply(1)
    for _ in range(3):
        client.call()
    new = room.add_worker()
    room.retire(old)
    for _ in range(3):
        client.call()
    assert (3, 3, 0) == (old.worker.load, new.worker.load, room.waiting)
    assert [] == [frame for frame in client.sent if frame.kind == FAIL]
