"""Handing over: a successor has built the programs in use before it is given calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.fakes import Client, Frame, body_of, record_of
from tests.support.floor import Floor, Newborn

from dspex_pool.hand_over import MAX_PROGRAMS
from dspex_pool.recycling import RecycleReason
from dspex_protocol import CALL, FAIL, NOTE, REPLY


@pytest.fixture
async def floor(request: pytest.FixtureRequest) -> AsyncIterator[Floor]:
    floor = Floor(**getattr(request, "param", {}))
    yield floor
    floor.close()


@pytest.fixture
def client(floor: Floor) -> Client:
    return floor.room.add_client()


def predict(client: Client, program: str = "p") -> int:
    """Call a stored program."""
    return client.call("program.predict", {}, program=program)


def use(floor: Floor, client: Client, *programs: str) -> None:
    """Store programs, and use them in this order in whoever serves."""
    for program in programs:
        floor.room.store(program, {"spec": program})
        predict(client, program)


def succeed(floor: Floor, old: Newborn) -> Newborn:
    """A worker is to be replaced, and its successor has answered hello."""
    floor.slots.recycle(floor.worker_of(old), RecycleReason.CALLS)
    return floor.bear()


def loads(newborn: Newborn) -> list[Frame]:
    """What a worker has been sent to load since the last look."""
    return [frame for frame in newborn.hear() if frame.kind == CALL and frame.method == "program.load"]


def answer(floor: Floor, newborn: Newborn, *frames: Frame, kind: int = REPLY) -> None:
    """A worker answers what it was handed, each by itself."""
    value = {"code": "invalid_argument", "message": "no such module"} if kind == FAIL else None
    for frame in frames:
        floor.say(newborn, body_of(kind, frame.id, None, {}, value))


def serving(floor: Floor) -> list[int]:
    """Pids of the workers that are given calls."""
    return [worker.process.pid for worker in floor.slots.serving]


@pytest.mark.parametrize("kind", [REPLY, FAIL], ids=["built", "not to be built"])
async def test_a_successor_is_ready_when_it_has_answered_for_each(
    floor: Floor, client: Client, kind: int
) -> None:
    """Until then its predecessor serves; what cannot be built is for the call to say that needs it."""
    old = floor.bear()
    use(floor, client, "p", "q")
    new = succeed(floor, old)
    first, second = loads(new)
    answer(floor, new, first, kind=kind)
    assert ([old.process.pid], "starting") == (serving(floor), floor.worker_of(new).state)
    answer(floor, new, second, kind=kind)
    assert ([new.process.pid], "ready") == (serving(floor), floor.worker_of(new).state)


async def test_what_is_handed_over_is_to_be_built(floor: Floor, client: Client) -> None:
    """The record as it was stored, under its id and version; the newest last, so that it stays longest."""
    old = floor.bear()
    use(floor, client, "p", "q")
    predict(client, "p")
    frames = loads(succeed(floor, old))
    assert [("q", 1, True), ("p", 1, True)] == [
        tuple(frame.meta[name] for name in ("program", "version", "build")) for frame in frames
    ]
    assert [record_of({"spec": "q"}), record_of({"spec": "p"})] == [frame.value for frame in frames]


async def test_what_was_handed_over_is_not_sent_again(floor: Floor, client: Client) -> None:
    """The first call finds it there; one for another program brings that along."""
    old = floor.bear()
    use(floor, client, "p")
    new = succeed(floor, old)
    answer(floor, new, *loads(new))
    predict(client, "p")
    use(floor, client, "q")
    sent = [(frame.method, frame.meta.get("program")) for frame in new.hear()]
    assert [("program.predict", "p"), ("program.load", "q"), ("program.predict", "q")] == sent
    assert 2 == len(floor.worker_of(new).holdings)


async def test_only_what_was_used_last_is_handed_over(floor: Floor, client: Client) -> None:
    """A successor with hundreds of programs to build would be long in coming."""
    old = floor.bear()
    names = [f"p{n}" for n in range(MAX_PROGRAMS + 3)]
    use(floor, client, *names)
    assert names[3:] == [frame.meta["program"] for frame in loads(succeed(floor, old))]


async def test_with_nothing_to_hand_over_it_only_warms_up(floor: Floor, client: Client) -> None:
    """Its predecessor has run no stored program."""
    new = succeed(floor, floor.bear())
    assert ([new.process.pid], []) == (serving(floor), loads(new))


async def test_who_has_no_predecessor_is_ready_at_once(floor: Floor, client: Client) -> None:
    """Calls may be waiting for it: there is nobody else in its slot."""
    old = floor.bear()
    use(floor, client, "p")
    old.die("SIGKILL")
    new = floor.bear()
    assert [new.process.pid] == serving(floor)
    assert "worker.warm_up" not in [frame.method for frame in new.hear()]


async def test_a_successor_is_ready_when_it_has_warmed_up(floor: Floor, client: Client) -> None:
    """Nobody's call is its first prediction; until it has made that, its predecessor serves."""
    old = floor.bear()
    floor.slots.recycle(floor.worker_of(old), RecycleReason.CALLS)
    new = floor.greet()
    assert ["system.hello", "worker.warm_up"] == [frame.method for frame in new.hear()]
    assert [old.process.pid] == serving(floor)
    floor.say(new, body_of(REPLY, floor.worker_of(new).last_id, None, {}, None))
    assert [new.process.pid] == serving(floor)


async def test_a_death_in_it_is_a_boot_that_failed(floor: Floor, client: Client) -> None:
    """The next try comes later and is handed nothing, since building may be what kills."""
    old = floor.bear()
    use(floor, client, "p")
    succeed(floor, old).die("SIGSEGV")
    call = predict(client)
    assert (0.1, [old.process.pid]) == (floor.loop.run("_boot"), serving(floor))
    floor.say(old, body_of(REPLY, floor.worker_of(old).last_id, None, {}, "well"))
    assert "well" == client.outcome(call).value
    new = floor.bear()
    assert ([new.process.pid], []) == (serving(floor), loads(new))
    assert 0 == floor.room.counters["worker_deaths"]


async def test_who_takes_too_long_over_it_is_killed(floor: Floor, client: Client) -> None:
    """The time of a boot bounds the whole of it, and only that."""
    old = floor.bear()
    use(floor, client, "p")
    new = succeed(floor, old)
    floor.loop.advance(floor.room.config.boot_timeout_s)
    assert (True, False) == (new.process.killed, old.process.killed)


async def test_who_was_in_time_is_not_killed_later(floor: Floor, client: Client) -> None:
    """The timer of its boot is gone once it is ready."""
    old = floor.bear()
    use(floor, client, "p")
    new = succeed(floor, old)
    answer(floor, new, *loads(new))
    floor.loop.advance(floor.room.config.boot_timeout_s)
    assert not new.process.killed


@pytest.mark.parametrize(
    "word", [b"\x93nonsense", body_of(NOTE, 0, "call.started", {"up_to": 0}, None)], ids=["nonsense", "note"]
)
async def test_what_it_says_besides_makes_it_no_readier(floor: Floor, client: Client, word: bytes) -> None:
    """A frame that is none is the end of it; one that answers nothing is passed over."""
    old = floor.bear()
    use(floor, client, "p")
    new = succeed(floor, old)
    floor.say(new, word)
    assert word.startswith(b"\x93") == new.process.killed
    assert [old.process.pid] == serving(floor)


async def test_what_follows_the_last_answer_counts(floor: Floor, client: Client) -> None:
    """In the same read: a worker that says that it has begun is of use."""
    old = floor.bear()
    predecessor = floor.worker_of(old)
    use(floor, client, "p")
    floor.say(old, body_of(REPLY, predecessor.last_id, None, {}, "done"))
    new = succeed(floor, old)
    (load,) = loads(new)
    worker = floor.worker_of(new)
    worker.link.on_bodies(
        [body_of(REPLY, load.id, None, {}, None), body_of(NOTE, 0, "call.started", {"up_to": 1}, None)]
    )
    assert (1, True) == (worker.started_up_to, old.process.killed)


@pytest.mark.parametrize("floor", [{"programs_per_worker": 2}], indirect=True)
async def test_a_successor_holds_no_more_than_its_settings_allow(floor: Floor, client: Client) -> None:
    """Where its predecessor's open calls keep more than that, the newest are handed over."""
    old = floor.bear()
    use(floor, client, "p", "q", "r")
    assert 3 == len(floor.worker_of(old).holdings)
    new = succeed(floor, old)
    methods = [(frame.method, frame.meta.get("program")) for frame in new.hear()[1:]]
    assert [
        ("worker.warm_up", None),
        ("program.load", "p"),
        ("program.load", "q"),
        ("program.forget", "p"),
        ("program.load", "r"),
    ] == methods
    assert 2 == len(floor.worker_of(new).holdings)
