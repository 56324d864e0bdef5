"""Slots: workers are replaced at once, or later and later when they do not start."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.fakes import body_of
from tests.support.floor import Floor

from dspex_pool.booting import BREAKER_FAILURES, MAX_BACKOFF_S
from dspex_pool.recycling import RecycleReason
from dspex_pool.starting import EARLY_DEATH_S
from dspex_pool.sweeping import SWEEP_AGAIN_S
from dspex_protocol import NOTE, REPLY


@pytest.fixture
async def floor(request: pytest.FixtureRequest) -> AsyncIterator[Floor]:
    floor = Floor(**getattr(request, "param", {}))
    yield floor
    floor.close()


async def test_a_boot_that_fails_is_tried_later_and_later(floor: Floor) -> None:
    """Twice as long each time, up to a bound."""
    delays: list[float] = []
    for _ in range(8):
        floor.spawner.requests.pop()[1]("no descriptors")
        delays.append(floor.loop.run("_boot"))
    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_BACKOFF_S, MAX_BACKOFF_S] == delays


async def test_any_call_of_a_worker_that_broke_the_framing_may_have_begun(floor: Floor) -> None:
    """What it announced after that is lost with it, so a call with effects is not run again."""
    client = floor.room.add_client()
    newborn = floor.bear()
    (worker,) = floor.slots._workers.values()
    worker.effects = frozenset(("system.echo",))
    call = client.call()
    newborn.wire.sendall(b"Hello, world")
    worker.link.read()
    newborn.die("SIGKILL")
    assert "worker_died" == client.outcome(call).code


async def test_a_worker_that_hung_up_gets_no_calls(floor: Floor) -> None:
    """It may take a moment to die: a call for it would go nowhere, and be a suspect of its death."""
    client = floor.room.add_client()
    newborn = floor.bear()
    (worker,) = floor.slots._workers.values()
    newborn.wire.close()
    worker.link.read()
    client.call()
    assert (0, 1) == (worker.load, floor.room.waiting)


async def test_waiting_calls_are_told_when_workers_do_not_start(floor: Floor) -> None:
    """After five failures within a minute, and not after four."""
    client = floor.room.add_client()
    call = client.call()
    told: list[int] = []
    for _ in range(BREAKER_FAILURES):
        floor.spawner.requests.pop()[1]("no descriptors")
        floor.loop.run("_boot")
        told.append(len(client.outcomes(call)))
    assert [0, 0, 0, 0, 1] == told
    assert "boot_failed" == client.outcome(call).code


async def test_failures_that_are_long_ago_tell_nobody(floor: Floor) -> None:
    """Five in an hour are accidents."""
    client = floor.room.add_client()
    call = client.call()
    for _ in range(BREAKER_FAILURES):
        floor.spawner.requests.pop()[1]("no descriptors")
        floor.loop.run("_boot")
        floor.room.clock.now_s += 20
    assert [] == client.outcomes(call)


async def test_a_worker_that_ends_as_soon_as_it_is_ready_is_replaced_later(floor: Floor) -> None:
    """And later each time; it must not be started a hundred times a second."""
    delays: list[float] = []
    for _ in range(3):
        floor.bear().die("exit code 1")
        assert [] == floor.spawner.requests
        delays.append(floor.loop.run("_boot"))
    assert [0.1, 0.2, 0.4] == delays


@pytest.mark.parametrize("ours", [False, True])
async def test_a_worker_that_was_killed_is_replaced_at_once(floor: Floor, ours: bool) -> None:
    """By somebody else, that is: one that we had to kill so soon would need it again."""
    newborn = floor.bear()
    newborn.process.killed = ours
    newborn.die("SIGKILL")
    assert (0 if ours else 1) == len(floor.spawner.requests)


async def test_a_worker_that_was_of_use_is_replaced_at_once(floor: Floor) -> None:
    """It had begun a call, or answered one, or lived a while."""
    client = floor.room.add_client()
    newborn = floor.bear()
    floor.say(newborn, body_of(NOTE, 0, "call.started", {"up_to": 2}, None))
    newborn.die("exit code 1")
    assert 1 == len(floor.spawner.requests)
    newborn = floor.bear()
    client.call()
    (worker,) = floor.slots._workers.values()
    floor.say(newborn, body_of(REPLY, worker.last_id, None, {}, None))
    newborn.die("exit code 1")
    assert 1 == len(floor.spawner.requests)
    newborn = floor.bear()
    assert EARLY_DEATH_S == floor.loop.run("_proved")
    newborn.die("exit code 1")
    assert 1 == len(floor.spawner.requests)


async def test_orphans_are_looked_for_until_there_are_none(floor: Floor) -> None:
    """After a death; not while a fork is under way, whose child is nobody's yet."""
    floor.orphans = [2, 0]
    floor.bear().die("SIGKILL")
    floor.spawner.forking = True
    assert SWEEP_AGAIN_S == floor.loop.run("_sweep")
    assert [2, 0] == floor.orphans
    floor.spawner.forking = False
    floor.loop.run("_sweep")
    floor.loop.run("_sweep")
    assert [] == floor.orphans
    assert "_sweep" not in [timer.name for timer in floor.loop.timers]


# Recycling


async def test_a_worker_serves_until_its_successor_is_ready(floor: Floor) -> None:
    """Calls go to the old one before that and to the new one after, and the old one ends."""
    client = floor.room.add_client()
    old = floor.bear()
    floor.slots.recycle(floor.worker_of(old), RecycleReason.AGE)
    client.call()
    assert 1 == floor.worker_of(old).load
    new = floor.bear()
    client.call()
    assert (1, 1) == (floor.worker_of(old).load, floor.worker_of(new).load)
    assert [] == [one for one in (old, new) if one.process.killed]
    floor.prove(new)
    floor.say(old, body_of(REPLY, 2, None, {}, "done"))
    assert old.process.killed
    old.die("SIGKILL")
    assert {RecycleReason.AGE: 1} == floor.slots.recycles
    assert (0, 0) == (floor.slots.restarts, floor.room.counters["worker_deaths"])


async def test_an_idle_worker_goes_as_soon_as_its_successor_is_of_use(floor: Floor) -> None:
    """It has nothing to drain; its slot is the successor's and stays filled."""
    old = floor.bear()
    floor.slots.recycle(floor.worker_of(old), RecycleReason.ASKED)
    new = floor.bear()
    assert [] == [one for one in (old, new) if one.process.killed]
    floor.prove(new)
    assert old.process.killed
    old.die("SIGKILL")
    assert [floor.worker_of(new)] == list(floor.slots.serving)
    assert [] == floor.spawner.requests
    assert {floor.worker_of(new).number: new.process.pid} == floor.weighing.watched


async def test_a_worker_serves_again_when_its_successor_is_of_no_use(floor: Floor) -> None:
    """Where workers get ready and die, recycling does not take the good ones."""
    client = floor.room.add_client()
    old = floor.bear()
    first = client.call()
    floor.slots.recycle(floor.worker_of(old), RecycleReason.AGE)
    floor.bear().die("exit code 1")
    second = client.call()
    floor.say(old, body_of(REPLY, 2, None, {}, "one"))
    floor.say(old, body_of(REPLY, 3, None, {}, "two"))
    assert ("one", "two") == (client.outcome(first).value, client.outcome(second).value)
    assert 0.1 == floor.loop.run("_boot")
    new = floor.bear()
    floor.prove(new)
    assert old.process.killed


async def test_an_idle_worker_serves_again_too(floor: Floor) -> None:
    """And whoever is killed from outside in that moment is replaced at once."""
    client = floor.room.add_client()
    old = floor.bear()
    floor.slots.recycle(floor.worker_of(old), RecycleReason.AGE)
    floor.bear().die("SIGKILL")
    call = client.call()
    floor.say(old, body_of(REPLY, 2, None, {}, "well"))
    assert "well" == client.outcome(call).value
    assert 1 == len(floor.spawner.requests)


async def test_a_worker_is_recycled_once(floor: Floor) -> None:
    """Whoever asks again is told that it is on its way."""
    worker = floor.worker_of(floor.bear())
    assert floor.slots.recycle(worker, RecycleReason.CALLS)
    assert not floor.slots.recycle(worker, RecycleReason.ASKED)
    assert 1 == len(floor.spawner.requests)


async def test_calls_that_outlast_the_drain_are_handled_as_after_a_crash(floor: Floor) -> None:
    """But the death counts for none of them."""
    client = floor.room.add_client()
    old = floor.bear()
    call = client.call()
    floor.say(old, body_of(NOTE, 0, "call.started", {"up_to": 2}, None))
    floor.slots.recycle(floor.worker_of(old), RecycleReason.AGE)
    new = floor.bear()
    assert floor.room.config.drain_s == floor.loop.run("_drain_over")
    old.die("SIGKILL")
    assert (2, 0) == (client.connection.calls[call].attempt, client.connection.calls[call].deaths)
    floor.reply(new, "done")
    assert "done" == client.outcome(call).value


async def test_a_worker_that_dies_before_its_successor_is_ready_leaves_it_the_slot(floor: Floor) -> None:
    """One is on its way already; there are never two."""
    old = floor.bear()
    floor.slots.recycle(floor.worker_of(old), RecycleReason.AGE)
    old.die("SIGSEGV")
    assert 1 == len(floor.spawner.requests)
    new = floor.bear()
    assert [floor.worker_of(new)] == list(floor.slots.serving)
    assert [] == floor.spawner.requests


async def test_while_no_successor_starts_the_old_worker_serves_on(floor: Floor) -> None:
    """A recycle that cannot be done costs nothing."""
    client = floor.room.add_client()
    old = floor.bear()
    floor.slots.recycle(floor.worker_of(old), RecycleReason.AGE)
    for _ in range(BREAKER_FAILURES + 1):
        floor.spawner.requests.pop()[1]("no descriptors")
        floor.loop.run("_boot")
    call = client.call()
    floor.say(old, body_of(REPLY, 2, None, {}, "done"))
    assert "done" == client.outcome(call).value


@pytest.mark.parametrize("floor", [{"recycle_after_calls": 2}], indirect=True)
async def test_a_worker_is_worn_by_its_calls(floor: Floor) -> None:
    """When the last call of its allowance has ended."""
    client = floor.room.add_client()
    worker = floor.bear()
    for call_id in (2, 3):
        assert [] == floor.spawner.requests
        client.call()
        floor.say(worker, body_of(REPLY, call_id, None, {}, None))
    assert 1 == len(floor.spawner.requests)
    assert RecycleReason.CALLS is floor.worker_of(worker).retiring


# Size


async def test_a_smaller_pool_lets_an_idle_worker_go(floor: Floor) -> None:
    """The busy one stays; calls in it are not touched."""
    client = floor.room.add_client()
    busy = floor.bear()
    client.call()
    floor.slots.resize(2)
    idle = floor.bear()
    floor.slots.resize(1)
    assert (False, True) == (busy.process.killed, idle.process.killed)
    idle.die("SIGKILL")
    assert [] == floor.spawner.requests
    assert {RecycleReason.SCALED_DOWN: 1} == floor.slots.recycles


async def test_a_pool_of_none_starts_one_again(floor: Floor) -> None:
    """And a worker that gets ready when it is not wanted any more goes at once."""
    floor.slots.resize(0)
    unwanted = floor.bear()
    assert unwanted.process.killed
    unwanted.die("SIGKILL")
    assert [] == floor.spawner.requests
    floor.slots.resize(1)
    assert 1 == len(floor.spawner.requests)
