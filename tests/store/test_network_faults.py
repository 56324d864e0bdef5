"""Stores on servers, through a network that breaks: bounded, typed, nothing lost, nothing mixed up."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from tests.support.database_places import ServerPlace
from tests.support.proxy import Fault, Proxy, Trouble
from tests.support.servers import count
from tests.support.stores import append, key, outcome, put

from dspex_pool.store import Conflict, Record, Store, Unavailable

TIMEOUT_S = 0.4
# Every call ends within its limit. These machines stall for seconds now and then.
LIMIT_S = 5.0
# A store is used again two seconds after it is back; the rest is for the machine.
BACK_S = 5.0

BODY = b"x" * 20_000


@dataclass
class Net:
    """A store that is reached through a proxy, and one that is reached without."""

    store: Store
    proxy: Proxy
    beside: Store
    place: ServerPlace


@pytest_asyncio.fixture(params=["redis", "postgres"])
async def net(request: pytest.FixtureRequest) -> AsyncIterator[Net]:
    place: ServerPlace = request.getfixturevalue(f"new_{request.param}_place")()
    async with Proxy(place.server.port).running() as proxy:
        store, beside = place.build(timeout_s=TIMEOUT_S, port=proxy.port), place.build()
        await beside.open()
        await open_patiently(store)
        await beside.commit([put("kept", b"kept")])
        yield Net(store, proxy, beside, place)
        await store.close()
        await beside.close()
    await place.remove()


async def open_patiently(store: Store) -> None:
    """Tables take longer to make than a call may take, now and then."""
    for _ in range(10):
        try:
            return await store.open()
        except Unavailable:
            continue
    raise AssertionError("it cannot be opened")


async def failure_of(answer: Awaitable[object]) -> Unavailable | None:
    """How a call failed, if it did; it has ended within its time, and in no other way."""
    started_s = time.monotonic()
    try:
        await answer
    except Unavailable as failure:
        return failure
    else:
        return None
    finally:
        assert time.monotonic() - started_s < LIMIT_S


async def wait_until_used(store: Store) -> None:
    """As those do who call again and again, until the store answers."""
    started_s = time.monotonic()
    while await failure_of(store.get([key("kept")])):
        assert time.monotonic() - started_s < BACK_S


@dataclass(frozen=True)
class Phase:
    """Where a fault begins, and whether a commit may have been made nevertheless."""

    trouble: dict[str, Any]
    is_new: bool = False
    maybe_applied: bool = True


PHASES = {
    "connecting": Phase({"direction": "up", "after_bytes": 0}, is_new=True, maybe_applied=False),
    "handshake": Phase({"direction": "down", "after_bytes": 30}, is_new=True, maybe_applied=False),
    "in the request": Phase({"direction": "up", "after_bytes": 5000}),
    "before the answer": Phase({"direction": "down", "after_bytes": 0}),
    "in the answer": Phase({"direction": "down", "after_bytes": 10}),
}
FAULTS = [
    {"fault": Fault.CUT},
    {"fault": Fault.HOLD},
    {"fault": Fault.SWALLOW},
    {"fault": Fault.DELAY, "amount": 2 * TIMEOUT_S},
    {"fault": Fault.SLOW, "amount": 60},
]


async def warm(store: Store) -> None:
    """Have it connected, and what it sends prepared."""
    while await failure_of(store.commit([put("warm")])) or await failure_of(store.get([key("warm")])):
        pass


async def begin(net: Net, phase: Phase, fault: dict[str, Any]) -> None:
    if phase.is_new:
        net.proxy.cut()
        await asyncio.sleep(0.02)  # so that the store has seen it
    else:
        await warm(net.store)
    await net.proxy.arm(Trouble(**phase.trouble, **fault))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["fault"]))
@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
async def test_a_commit_meets_a_fault(net: Net, phase: Phase, fault: dict[str, Any]) -> None:
    """It says in time whether it may have happened; it is all or nothing; the store goes on."""
    await begin(net, phase, fault)
    failure = await failure_of(net.store.commit([put("a", BODY), append(BODY), put("b", BODY)]))
    assert failure is not None
    assert phase.maybe_applied == failure.maybe_applied
    await net.proxy.heal()
    await wait_until_used(net.store)
    if failure.maybe_applied:
        await asyncio.sleep(2 * TIMEOUT_S)  # then there is no doubt any more
    a, b, kept = await net.beside.get([key("a"), key("b"), key("kept")])
    entries = await net.beside.entries("j")
    assert kept is not None
    assert (a is None, a is None) == (b is None, not entries)
    assert a is None or phase.maybe_applied
    assert [2 if a else 1] == await net.beside.commit([put("a", expect=1 if a else 0)])
    await warm(net.store)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["fault"]))
@pytest.mark.parametrize("phase", list(PHASES.values())[1:], ids=list(PHASES)[1:])
async def test_a_read_meets_a_fault(net: Net, phase: Phase, fault: dict[str, Any]) -> None:
    """It ends in time, and nobody who asks later gets its answer."""
    await net.beside.commit([put("first", b"first" * 400), put("second", b"second")])
    await begin(net, phase, fault)
    await failure_of(net.store.get([key("first")] * 20))
    await net.proxy.heal()
    await wait_until_used(net.store)
    for _ in range(5):
        answer = await outcome(net.store.get([key("second")]))
        assert answer is Unavailable or [Record(key("second"), 1, b"second")] == answer


@pytest.mark.parametrize("phase", [PHASES["connecting"], PHASES["in the request"]], ids=["new", "known"])
async def test_nobody_listens(net: Net, phase: Phase) -> None:
    """All fail in time, many together share the attempts, and nothing has happened."""
    await begin(net, phase, {"fault": Fault.REFUSE})
    await asyncio.sleep(0.02)
    failures = await asyncio.gather(*(failure_of(net.store.commit([put(str(n))])) for n in range(50)))
    assert [False] * 50 == [failure.maybe_applied for failure in failures if failure]
    await net.proxy.heal()
    before = net.proxy.connections
    await wait_until_used(net.store)
    assert net.proxy.connections - before <= 4
    assert await net.beside.scan("thing", prefix="1") == []


async def test_a_short_delay_is_only_that(net: Net) -> None:
    """Slow is not broken."""
    store = net.place.build(port=net.proxy.port)
    await net.proxy.arm(Trouble(fault=Fault.DELAY, direction="down", amount=0.005))
    await store.open()
    assert [[1]] * 20 == await asyncio.gather(*(store.commit([put(str(n))]) for n in range(20)))
    await store.close()


@pytest.mark.slow
async def test_what_comes_too_late_is_not_done(net: Net) -> None:
    """Whoever has read that a commit did not happen can rely on it, whatever the network still holds."""
    await warm(net.store)
    await net.proxy.arm(Trouble(fault=Fault.HOLD))
    failure = await failure_of(net.store.commit([put("late")]))
    assert failure is not None
    assert failure.maybe_applied
    await asyncio.sleep(2.5 * TIMEOUT_S)
    assert [None] == await net.beside.get([key("late")])
    await net.proxy.heal()  # and now the server gets it
    await wait_until_used(net.store)
    for _ in range(10):
        await asyncio.sleep(0.02)
        assert [None] == await net.beside.get([key("late")])


@pytest.mark.slow
async def test_an_outage_loses_nothing(net: Net) -> None:
    """Under cuts at random, each acknowledged increment is there once, and each other one at most once."""
    moments = random.Random(7)
    acknowledged = doubtful = 0
    for _ in range(30):
        await net.proxy.arm(
            Trouble(
                fault=Fault.CUT, direction=moments.choice(("up", "down")), after_bytes=moments.randrange(6000)
            )
        )
        for _ in range(3):
            (record,) = await net.beside.get([key("number")])
            now = int(record.body) if record else 0
            try:
                await net.store.commit(
                    [put("number", b"%d" % (now + 1), expect=record.revision if record else 0)]
                )
                acknowledged += 1
            except Unavailable as failure:
                doubtful += failure.maybe_applied
        await net.proxy.heal()
    (record,) = await net.beside.get([key("number")])
    assert record is not None
    assert acknowledged <= int(record.body) == record.revision <= acknowledged + doubtful
    assert acknowledged > 5
    assert doubtful > 0


async def ask_and_leave(net: Net, number: int, moments: random.Random, foreign: list[object]) -> None:
    """Ask for one's own, and leave at some moment; an answer that came must be one's own."""
    nonce = secrets.token_bytes(12)
    task = asyncio.create_task(net.store.commit([put(f"n/{number}", nonce, expect=0)]))
    asking = asyncio.create_task(net.store.get([key(f"r/{number % 50}")]))
    await asyncio.sleep(moments.random() * 0.012)
    task.cancel()
    asking.cancel() if moments.random() < 0.5 else None
    done = await asyncio.gather(task, asking, return_exceptions=True)
    if not isinstance(done[0], BaseException) and done[0] != [1]:
        foreign.append(done)
    if not isinstance(done[1], BaseException) and [b"%d" % (number % 50)] != [
        one and one.body for one in done[1]
    ]:
        foreign.append(done)
    foreign += [
        one for one in done if isinstance(one, Exception) and not isinstance(one, Unavailable | Conflict)
    ]


@pytest.mark.slow
async def test_who_leaves_leaves_no_answer_behind(net: Net) -> None:
    """Calls are cancelled at random while the network delays: no answer reaches another call."""
    moments = random.Random(11)
    await net.beside.commit([put(f"r/{number}", b"%d" % number) for number in range(50)])
    await net.proxy.arm(Trouble(fault=Fault.DELAY, direction="down", amount=0.002))
    foreign: list[object] = []
    total = count("store_cancels", 300)
    for start in range(0, total, 6):
        await asyncio.gather(*(ask_and_leave(net, n, moments, foreign) for n in range(start, start + 6)))
    assert [] == foreign
    await net.proxy.heal()
    await wait_until_used(net.store)
