"""What becomes of calls when their worker dies: repeated, failed, refused; never lost, never doubled."""

from __future__ import annotations

import pytest
from tests.support.fakes import Room

from dspex_pool.deaths import CONVICTING_DEATHS, MAX_UNSTARTED_SENDS
from dspex_protocol import REPLY, error


@pytest.fixture
def room() -> Room:
    """Two workers; `program.build` has effects."""
    return Room(workers=2, effects=frozenset(("program.build",)))


def test_a_call_that_had_not_begun_is_sent_to_another(room: Room) -> None:
    """Class A: nobody notices but the attempt."""
    client, (first, second) = room.add_client(), room.workers
    call = client.call("program.predict", "input")
    first.die()
    assert 1 == room.counters["worker_deaths"]
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
    assert {} == client.connection.callbacks
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
    repeated = [client.connection.calls[call] for call in calls if client.connection.calls[call].attempt > 1]
    assert [1, 0] == [call.deaths for call in repeated]


def kill_under(room: Room, times: int, reason: str = "SIGSEGV") -> None:
    """Workers die one after the other, each with its last call begun."""
    for _ in range(times):
        worker = room.workers[-1]
        worker.start(worker.calls()[-1].id)
        worker.die(reason)
        room.add_worker()


def test_a_call_under_which_two_workers_die_is_poisoned() -> None:
    """Each death costs a worker; a third is not risked."""
    room = Room()
    client = room.add_client()
    call = client.call("program.predict")
    kill_under(room, CONVICTING_DEATHS)
    assert "poisoned" == client.outcome(call).code
    assert [] == room.workers[-1].calls()


def test_the_same_call_is_refused_while_it_is_in_quarantine() -> None:
    """Until it is released; another call is not."""
    room = Room()
    client = room.add_client()
    first = client.call("program.predict", "deadly")
    kill_under(room, CONVICTING_DEATHS)
    again, other = client.call("program.predict", "deadly"), client.call("program.predict", "harmless")
    assert ["poisoned"] * 2 == [client.outcome(call).code for call in (first, again)]
    assert [] == client.outcomes(other)
    named = {client.outcome(call).details["fingerprint"] for call in (first, again)}
    client.call("pool.release", {"fingerprint": named.pop()})
    assert set() == named
    assert {"released": 1} == client.sent[-1].value
    assert [] == client.outcomes(client.call("program.predict", "deadly"))


def test_deaths_from_outside_are_no_ground_to_refuse_others() -> None:
    """Somebody killed the workers: the one call fails, and the next that is equal to it runs."""
    room = Room()
    client = room.add_client()
    unlucky = client.call("program.predict", "harmless")
    kill_under(room, CONVICTING_DEATHS, "SIGKILL")
    assert ("poisoned", None) == (
        client.outcome(unlucky).code,
        client.outcome(unlucky).details["fingerprint"],
    )
    again = client.call("program.predict", "harmless")
    room.workers[-1].reply(room.workers[-1].worker.last_id, "well")
    assert "well" == client.outcome(again).value


def test_who_stood_beside_a_killer_is_answered() -> None:
    """Of two suspects each goes on without the other, and the next death tells which one it was."""
    room = Room(workers=1)
    client = room.add_client()
    killer, bystander = (client.call("program.predict", name) for name in ("killer", "bystander"))
    for _ in range(4):
        worker = room.workers[-1]
        has = {frame.value: frame.id for frame in worker.calls()}
        worker.start(worker.worker.last_id)
        if "killer" not in has:
            worker.reply(has["bystander"], "well")
        else:
            worker.die()
            room.add_worker()
    assert "poisoned" == client.outcome(killer).code
    room.workers[-1].reply(room.workers[-1].worker.last_id, "well")
    assert "well" == client.outcome(bystander).value


def test_a_call_is_not_judged_by_a_death_that_is_ours() -> None:
    """Its worker was killed since another call was stuck in it."""
    room = Room(grace_s=0.1)
    client = room.add_client()
    call = client.call("program.predict")
    for _ in range(3):
        worker = room.workers[-1]
        client.call("program.predict", "stuck", deadline_ms=10)
        worker.start(worker.worker.last_id)
        room.pass_time(0.05)
        room.pass_time(0.2)
        assert worker.process.killed
        worker.die()
        room.add_worker()
    worker = room.workers[-1]
    worker.reply(worker.calls()[0].id, "well")
    assert "well" == client.outcome(call).value


def test_repeats_have_a_budget() -> None:
    """When it is spent, what could be repeated fails, and says that it may be tried later."""
    room = Room(calls_per_worker=1000)
    client = room.add_client()
    room.switchboard.budget._tenths = 10
    calls = [client.call("program.predict") for _ in range(2)]
    room.workers[0].start(2)
    room.workers[0].die()
    (failure,) = [frame for call in calls for frame in client.outcomes(call)]
    assert ("worker_died", "spent", True, False) == (
        failure.code,
        failure.details["budget"],
        failure.fields["retryable"],
        failure.fields["maybe_executed"],
    )


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
