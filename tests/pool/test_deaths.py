"""What becomes of calls when their worker dies: repeated, failed, refused; never lost, never doubled."""

from __future__ import annotations

import pytest
from tests.support.fakes import Room

from dspex_pool.calls import MAX_DEATHS, MAX_UNSTARTED_SENDS, AfterDeath, Call, after_death
from dspex_protocol import REPLY, error


def dead_call(room: Room, **fields: object) -> Call:
    """A call as it stood at its worker's death."""
    call = Call(room.add_client().session, 1, "program.predict", {}, b"\xc0", 0.0)
    call.attempt = 1
    for name, value in fields.items():
        setattr(call, name, value)
    return call


@pytest.mark.parametrize(
    ("fields", "started", "has_effects", "expected"),
    [
        ({}, False, False, AfterDeath.RESEND),
        ({}, False, True, AfterDeath.RESEND),
        ({}, True, False, AfterDeath.REPEAT),
        ({"deaths": 1}, True, False, AfterDeath.REPEAT),
        ({"deaths": MAX_DEATHS - 1}, True, False, AfterDeath.POISONED),
        ({"deaths": MAX_DEATHS - 1}, False, False, AfterDeath.RESEND),
        ({}, True, True, AfterDeath.FAIL),
        ({"committed": True}, True, False, AfterDeath.FAIL),
        ({"committed": True}, False, False, AfterDeath.FAIL),
        ({"committed": True, "deaths": MAX_DEATHS - 1}, True, False, AfterDeath.FAIL),
        ({"attempt": MAX_UNSTARTED_SENDS - 1}, False, False, AfterDeath.RESEND),
        ({"attempt": MAX_UNSTARTED_SENDS}, False, False, AfterDeath.POISONED),
        ({"session": None}, True, True, AfterDeath.DROP),
    ],
)
def test_what_follows_a_death(
    fields: dict[str, object], started: bool, has_effects: bool, expected: AfterDeath
) -> None:
    """The whole table."""
    call = dead_call(Room(), **fields)
    assert expected is after_death(call, started=started, has_effects=has_effects)


@pytest.fixture
def room() -> Room:
    """Two workers; `program.build` has effects."""
    return Room(workers=2, effects=frozenset(("program.build",)))


def test_a_call_that_had_not_begun_is_sent_to_another(room: Room) -> None:
    """Class A: nobody notices but the attempt."""
    client, (first, second) = room.add_client(), room.workers
    call = client.call("program.predict", "input")
    first.die()
    assert "input" == second.calls()[0].value
    second.reply(second.calls()[0].id, "output")
    assert ("output", 2, 2) == (
        client.outcome(call).value,
        client.outcome(call).meta["attempt"],
        client.outcome(call).meta["worker"],
    )


def test_a_call_that_had_begun_is_repeated(room: Room) -> None:
    """Class B: a prediction without effects runs anew."""
    client, (first, second) = room.add_client(), room.workers
    call = client.call("program.predict")
    first.start(1)
    first.die()
    second.reply(second.calls()[0].id, "output")
    assert "output" == client.outcome(call).value
    assert 1 == room.counters["repeated"]


def test_a_call_that_had_sent_items_fails(room: Room) -> None:
    """Class C: the client has seen a part, and learns which was the last."""
    client, (first, second) = room.add_client(), room.workers
    call = client.call("program.predict", None, credit=5)
    first.start(1)
    first.item(1, 0)
    first.item(1, 1)
    first.die("SIGSEGV")
    failure = client.outcome(call)
    assert ("worker_died", True) == (failure.code, failure.fields["maybe_executed"])
    assert {"worker": 1, "reason": "SIGSEGV", "last_seq": 1} == failure.details
    assert [] == second.calls()


def test_a_call_that_had_called_the_host_fails(room: Room) -> None:
    """The host's function may have done something; its call is cancelled."""
    client, (first, second) = room.add_client(), room.workers
    call = client.call("program.predict")
    first.start(1)
    first.call_host(1, parent=1)
    first.die()
    assert "worker_died" == client.outcome(call).code
    assert {} == client.session.callbacks
    assert [] == second.calls()


def test_a_call_without_a_started_note_is_committed_by_its_effects(room: Room) -> None:
    """The host was called: that it had begun needs no other proof."""
    client, (first, second) = room.add_client(), room.workers
    call = client.call("program.predict")
    first.call_host(1, parent=1)
    first.die()
    assert "worker_died" == client.outcome(call).code
    assert [] == second.calls()


def test_a_method_with_effects_is_not_repeated(room: Room) -> None:
    """The worker said so of it in its hello."""
    client, first = room.add_client(), room.workers[0]
    call = client.call("program.create", {"spec": {}})
    first.start(1)
    first.die()
    assert "worker_died" == client.outcome(call).code


def test_only_calls_up_to_the_note_had_begun(room: Room) -> None:
    """`up_to` divides class A from class B."""
    client, first = room.add_client(), room.workers[0]
    calls = [client.call("program.predict", credit=1) for _ in range(4)]
    assert 2 == first.worker.load
    first.start(1)
    first.die()
    second = room.workers[1]
    for frame in second.calls()[2:]:
        second.start(frame.id)
    session_calls = [client.session.calls[call] for call in calls if client.session.calls[call].attempt > 1]
    assert [1, 0] == [call.deaths for call in session_calls]


def test_a_call_under_which_three_workers_die_is_poisoned() -> None:
    """Each death costs a worker; the fourth is not tried."""
    room = Room()
    client = room.add_client()
    call = client.call("program.predict")
    for _ in range(MAX_DEATHS):
        worker = room.workers[-1]
        worker.start(worker.calls()[-1].id)
        worker.die()
        room.add_worker()
    assert "poisoned" == client.outcome(call).code
    assert [] == room.workers[-1].calls()


def test_a_call_that_kills_before_it_begins_is_poisoned_in_the_end() -> None:
    """What runs inline is never announced as begun: even so its killing has an end."""
    room = Room()
    client = room.add_client()
    call = client.call("system.describe")
    for _ in range(MAX_UNSTARTED_SENDS):
        assert [] == client.outcomes(call)
        room.workers[-1].die()
        room.add_worker()
    assert "poisoned" == client.outcome(call).code
    assert [] == room.workers[-1].calls()


def test_a_cancelled_call_is_not_sent_again(room: Room) -> None:
    """The death is an answer to the cancel."""
    client, (first, second) = room.add_client(), room.workers
    call = client.call("program.predict")
    client.cancel(call)
    first.die()
    assert "cancelled" == client.outcome(call).code
    assert [] == second.calls()


def test_a_call_that_was_given_up_dies_with_its_worker(room: Room) -> None:
    """It has had its outcome."""
    client, (first, second) = room.add_client(), room.workers
    call = client.call("program.predict", deadline_ms=10)
    room.pass_time(0.03)
    first.die()
    assert "deadline" == client.outcome(call).code
    assert [] == second.calls()


def test_other_calls_of_other_workers_do_not_notice(room: Room) -> None:
    """Only the dead worker's calls are touched."""
    client, (first, second) = room.add_client(), room.workers
    _, untouched = client.call(), client.call()
    first.die()
    second.reply(second.calls()[0].id, "mine")
    assert ("mine", 1) == (client.outcome(untouched).value, client.outcome(untouched).meta["attempt"])


def test_without_a_worker_calls_wait_for_the_replacement() -> None:
    """They keep their order."""
    room = Room()
    client = room.add_client()
    for n in range(3):
        client.call("system.echo", n)
    room.workers[0].die()
    assert 3 == room.waiting
    assert [0, 1, 2] == [frame.value for frame in room.add_worker().calls()]


def test_when_workers_do_not_start_those_who_wait_are_told() -> None:
    """They fail with `boot_failed`, as do those who come; a worker that starts ends that."""
    room = Room(workers=0)
    client = room.add_client()
    waiting = client.call()
    room.switchboard.no_workers(error("boot_failed", "they do not start"))
    refused = client.call()
    assert ["boot_failed"] * 2 == [client.outcome(call).code for call in (waiting, refused)]
    worker = room.add_worker()
    taken = client.call()
    worker.reply(1)
    assert REPLY == client.outcome(taken).kind


def test_refusing_keeps_nothing_of_what_was_refused() -> None:
    """The one error object that all get does not collect their stack frames."""
    room = Room(workers=0)
    client = room.add_client()
    broken = error("boot_failed", "they do not start")
    room.switchboard.no_workers(broken)
    for _ in range(5):
        client.call()
    depth, trace = 0, broken.__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 5
