"""Upkeep: workers are replaced when they are worn, killed when they bloat, and as many as it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.fakes import Client
from tests.support.floor import Floor, Newborn

from dspex_pool.booting import BREAKER_FAILURES
from dspex_pool.recycling import MIB, WARM_UP_CALLS, RecycleReason
from dspex_pool.scaling import IDLE_S, MAX_WAIT_S, STEP_S
from dspex_pool.store import Key, Put
from dspex_pool.upkeep import EXPIRE_AT_ONCE, EXPIRE_S, INSPECT_S

BASE_BYTES = 50 * MIB


@pytest.fixture
async def floor(request: pytest.FixtureRequest) -> AsyncIterator[Floor]:
    floor = Floor(**getattr(request, "param", {}))
    floor.upkeep.start()
    yield floor
    floor.close()


def with_settings(**settings: object) -> pytest.MarkDecorator:
    """Settings of the floor."""
    return pytest.mark.parametrize("floor", [settings], indirect=True)


def weigh(floor: Floor, newborn: Newborn, own_mib: int) -> None:
    """The worker has grown to so much over what it began with."""
    number = floor.worker_of(newborn).number
    floor.upkeep.weigh({number: BASE_BYTES + own_mib * MIB})


# Worn workers


@with_settings(recycle_after_s=600.0, workers=1)
async def test_age_wears_a_worker(floor: Floor) -> None:
    """An idle one too; it is looked at each second."""
    old = floor.bear()
    floor.loop.advance(600.0 - INSPECT_S)
    assert [] == floor.spawner.requests
    floor.loop.advance(2 * INSPECT_S)
    floor.prove(floor.bear())
    assert [old] == floor.bury()
    assert {RecycleReason.AGE: 1} == floor.slots.recycles


@with_settings(memory_soft_mb=100, workers=1)
async def test_growth_wears_a_worker_after_its_calls(floor: Floor) -> None:
    """Its successor comes first, and the call that made it grow ends where it is."""
    client = floor.room.add_client()
    old = floor.bear()
    weigh(floor, old, 0)
    call = client.call()
    weigh(floor, old, 99)
    assert [] == floor.spawner.requests
    weigh(floor, old, 100)
    floor.prove(floor.bear())
    assert [] == floor.bury()
    floor.reply(old, "done")
    assert ("done", [old]) == (client.outcome(call).value, floor.bury())
    assert {RecycleReason.MEMORY: 1} == floor.slots.recycles


@with_settings(memory_soft_mb=100, workers=1)
async def test_what_a_worker_needs_to_warm_up_is_no_growth(floor: Floor) -> None:
    """Its size after fifty calls is what it began with."""
    client = floor.room.add_client()
    worker = floor.bear()
    weigh(floor, worker, 0)
    for _ in range(WARM_UP_CALLS):
        client.call()
        floor.reply(worker)
    weigh(floor, worker, 40)
    weigh(floor, worker, 139)
    assert (99 * MIB, []) == (floor.worker_of(worker).own_bytes, floor.spawner.requests)
    weigh(floor, worker, 140)
    assert 1 == len(floor.spawner.requests)


@with_settings(memory_soft_mb=0, memory_hard_mb=200, workers=1)
async def test_a_worker_that_bloats_is_killed_in_the_middle_of_its_call(floor: Floor) -> None:
    """The call may be why: it is tried once more, and refused after the second worker."""
    client = floor.room.add_client()
    call = client.call()
    for _ in range(2):
        worker = floor.bear()
        floor.start_all(worker)
        weigh(floor, worker, 0)
        weigh(floor, worker, 199)
        assert [] == floor.bury()
        weigh(floor, worker, 200)
        assert [worker] == floor.bury()
    assert "poisoned" == client.outcome(call).code
    assert 2 == floor.room.counters["bloated"]


@with_settings(memory_soft_mb=1, memory_hard_mb=1, workers=1)
async def test_readings_of_workers_that_are_gone_are_nobodys(floor: Floor) -> None:
    """The thread that reads may be a moment late."""
    worker = floor.bear()
    number = floor.worker_of(worker).number
    floor.upkeep.weigh({number: BASE_BYTES})
    floor.upkeep.weigh({number + 1: 900 * MIB, 77: 900 * MIB})
    assert ([], 0) == (floor.bury(), floor.worker_of(worker).own_bytes)
    worker.die("SIGKILL")
    floor.newborns.remove(worker)
    successor = floor.bear()
    floor.upkeep.weigh({number: 900 * MIB})
    assert ([], 0) == (floor.bury(), floor.worker_of(successor).memory_bytes)


@with_settings(workers=8, start=8, recycle_after_s=600.0)
async def test_workers_of_one_age_are_replaced_a_few_at_a_time(floor: Floor) -> None:
    """A quarter; the others serve on until it is their turn."""
    first = floor.bear_all()
    floor.loop.advance(601.0)
    assert 2 == len(floor.spawner.requests)
    replaced = 0
    while floor.spawner.requests:
        assert len(floor.spawner.requests) <= 2
        assert 8 == sum(1 for _ in floor.slots.serving)
        floor.prove(floor.bear())
        replaced += len(floor.bury())
    assert len(first) == replaced == floor.slots.recycles[RecycleReason.AGE]


async def test_workers_draw_limits_of_their_own() -> None:
    """Those that started together are not worn together: jitter is real outside of the tests' floor."""
    floor = Floor(workers=8, start=8, recycle_after_calls=1000)
    floor.jitter()
    try:
        floor.bear_all()
        limits = [worker.allowance.max_calls for worker in floor.slots.serving]
        assert len(set(limits)) > 4
        assert all(limit is not None and 900 <= limit <= 1100 for limit in limits)
    finally:
        floor.close()


# How many


def hold_up(client: Client, count: int) -> list[int]:
    """Calls that do not end."""
    return [client.call() for _ in range(count)]


SMALL = {"workers": 3, "calls_per_worker": 4}


@with_settings(start=0, min_workers=0, **SMALL)
async def test_the_first_call_starts_the_first_worker(floor: Floor) -> None:
    """At once, and one only."""
    client = floor.room.add_client()
    floor.loop.advance(60.0)
    assert [] == floor.spawner.requests
    call = client.call()
    floor.loop.advance(0.0)
    assert 1 == len(floor.spawner.requests)
    floor.reply(floor.bear(), "done")
    assert "done" == client.outcome(call).value
    floor.loop.advance(1.0)
    assert [] == floor.spawner.requests


@with_settings(start=0, min_workers=0, **SMALL)
async def test_a_pool_that_gave_up_tries_again_when_a_call_comes(floor: Floor) -> None:
    """Nobody else would: without workers and without calls there is no next try of its own."""
    client = floor.room.add_client()
    call = client.call()
    floor.loop.advance(0.0)
    for _ in range(BREAKER_FAILURES):
        floor.spawner.requests.pop()[1]("no descriptors")
        floor.loop.run("_boot")
    assert "boot_failed" == client.outcome(call).code
    late = floor.spawner.requests.pop()
    floor.loop.advance(2 * IDLE_S)
    assert 0 == floor.slots.target
    late[1]("no descriptors")  # the last one says so when nobody wants it any more
    call = client.call()
    floor.loop.advance(10.0)  # its back-off is over by then
    floor.reply(floor.bear(), "done")
    assert "done" == client.outcome(call).value


@with_settings(start=0, min_workers=0, **SMALL)
async def test_a_burst_gets_all_workers_one_after_another(floor: Floor) -> None:
    """None too many: each is given the time to take its part."""
    client = floor.room.add_client()
    hold_up(client, 12)
    targets = list[int]()
    for _ in range(8):
        floor.loop.advance(STEP_S / 2)
        floor.bear_all()
        targets.append(floor.slots.target)
    assert [1, 2, 3] == sorted(set(targets))
    assert ([4, 4, 4], 0) == ([worker.load for worker in floor.slots.serving], floor.room.waiting)


@with_settings(start=0, min_workers=0, **SMALL)
async def test_a_small_burst_gets_no_more_workers_than_it_needs(floor: Floor) -> None:
    """Six calls have room in two workers of four places."""
    client = floor.room.add_client()
    hold_up(client, 6)
    for _ in range(50):
        floor.loop.advance(STEP_S)
        floor.bear_all()
    assert (2, 0) == (floor.slots.target, floor.room.waiting)


@with_settings(start=1, min_workers=1, **SMALL)
async def test_one_call_that_waits_a_moment_starts_nothing(floor: Floor) -> None:
    """A worker is not worth a wait shorter than its start."""
    client, worker = floor.room.add_client(), floor.bear()
    hold_up(client, 2)
    floor.loop.advance(60.0)
    assert (1, []) == (floor.slots.target, floor.spawner.requests)
    floor.reply(worker)
    floor.loop.advance(MAX_WAIT_S)
    assert 1 == floor.slots.target


@with_settings(start=0, min_workers=0, **SMALL)
async def test_idle_workers_go_one_after_another_to_none_and_come_back(floor: Floor) -> None:
    """Half a minute each; calls that come then start one again."""
    client = floor.room.add_client()
    hold_up(client, 12)
    floor.loop.advance(10 * STEP_S)
    floor.bear_all()
    for worker in list(floor.newborns):
        while floor.calls_of(worker):
            floor.reply(worker)
    for expected in (2, 1, 0):
        floor.loop.advance(IDLE_S - 5)
        assert expected + 1 == floor.slots.target
        floor.loop.advance(6.0)
        assert (expected, 1) == (floor.slots.target, len(floor.bury()))
    assert {RecycleReason.SCALED_DOWN: 3} == floor.slots.recycles
    call = client.call()
    floor.loop.advance(0.0)
    floor.reply(floor.bear(), "again")
    assert "again" == client.outcome(call).value


@with_settings(start=1, min_workers=1, **SMALL)
async def test_a_worker_with_a_call_is_not_let_go_of(floor: Floor) -> None:
    """The pool gets smaller by the idle one; the call ends where it is."""
    client, idle = floor.room.add_client(), floor.bear()
    hold_up(client, 4)
    floor.loop.advance(STEP_S)
    busy = floor.bear()
    call = client.call()
    while floor.calls_of(idle):
        floor.reply(idle)
    floor.loop.advance(IDLE_S + 1)
    assert [idle] == floor.bury()
    floor.reply(busy, "done")
    assert "done" == client.outcome(call).value


async def test_without_a_minimum_nothing_is_scaled() -> None:
    """As many as the settings say, all the time."""
    floor = Floor(start=2, workers=2)
    floor.upkeep.start()
    try:
        floor.bear_all()
        floor.loop.advance(10 * IDLE_S)
        assert (2, [], []) == (floor.slots.target, floor.spawner.requests, floor.bury())
    finally:
        floor.close()


@with_settings(start=1, workers=1, calls_per_worker=1, max_queue_s=5.0)
async def test_what_waits_too_long_is_shed_by_and_by(floor: Floor) -> None:
    """A look each second is often enough for seconds."""
    client = floor.room.add_client()
    floor.bear()
    waiting = hold_up(client, 2)[1]
    floor.loop.advance(5.0)
    assert [] == client.outcomes(waiting)
    floor.loop.advance(INSPECT_S)
    assert "overloaded" == client.outcome(waiting).code


async def test_what_is_over_in_the_store_is_cleared(floor: Floor) -> None:
    """A minute later at most; what is not over stays."""
    memory = floor.room.memory
    for number in range(EXPIRE_AT_ONCE + 2):
        await memory.commit([Put(key=Key("session", f"s{number}"), body=b"", ttl_s=10)])
    await memory.commit([Put(key=Key("session", "stays"), body=b"", ttl_s=1000)])
    floor.loop.advance(EXPIRE_S + 1)
    assert 0 == await memory.expire()
    assert ["stays"] == [record.key.id for record in await memory.scan("session")]
