"""Many callers at once, on every backend: nothing is lost, nothing goes to the wrong one."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.support.servers import count
from tests.support.stores import Place, append, body_of, key, put, revision_of

from dspex_pool.store import Change, Conflict, Record, Store


async def increment(store: Store) -> int:
    """Add 1 to a number by compare and swap; how many tries it took."""
    tries = 0
    while True:
        tries += 1
        (record,) = await store.get([key("number")])
        now = int(record.body) if record else 0
        try:
            await store.commit([put("number", b"%d" % (now + 1), expect=record.revision if record else 0)])
        except Conflict:
            await asyncio.sleep(0)
        else:
            return tries


async def test_no_increment_is_lost(store: Store) -> None:
    """64 callers add 1 to the same number, each four times."""

    async def four() -> None:
        for _ in range(4):
            await increment(store)

    await asyncio.gather(*(four() for _ in range(64)))
    assert (b"256", 256) == (await body_of(store, "number"), await revision_of(store, "number"))


async def test_no_increment_is_lost_between_stores(place: Place, store: Store) -> None:
    """As above, through two stores on one place."""
    other = place.build()
    await other.open()
    await asyncio.gather(*(increment(one) for one in (store, other) for _ in range(32)))
    assert b"64" == await body_of(store, "number")
    await other.close()


async def test_every_append_has_its_number(store: Store) -> None:
    """Two hundred at once make two hundred numbers, each the one that its caller was told."""

    async def one(number: int) -> tuple[int, bytes]:
        (at,) = await store.commit([append(b"%d" % number)])
        return at, b"%d" % number

    told = await asyncio.gather(*(one(number) for number in range(200)))
    assert sorted(told) == [tuple(entry) for entry in await store.entries("j")]
    assert list(range(1, 201)) == sorted(at for at, _ in told)


async def test_one_of_many_creates(store: Store) -> None:
    """And what is there is what that one wrote."""
    answers = await asyncio.gather(
        *(store.commit([put(body=b"%d" % number, expect=0)]) for number in range(50)), return_exceptions=True
    )
    (winner,) = [number for number, answer in enumerate(answers) if answer == [1]]
    assert 49 == sum(isinstance(answer, Conflict) for answer in answers)
    assert b"%d" % winner == await body_of(store)


async def test_a_conflict_leaves_its_neighbours_alone(store: Store) -> None:
    """Commits that come together share nothing but the way."""
    await store.commit([put("taken")])
    wanted = [
        put("taken", expect=0) if number % 3 == 0 else put(str(number), expect=0) for number in range(60)
    ]
    answers = await asyncio.gather(*(store.commit([one]) for one in wanted), return_exceptions=True)
    assert [number % 3 == 0 for number in range(60)] == [isinstance(answer, Conflict) for answer in answers]
    assert 41 == len(await store.scan("thing", limit=1000))


async def test_answers_are_their_own(store: Store) -> None:
    """Reads and writes of all kinds at once, each by somebody who knows what must come."""
    await store.commit([put(str(number), b"%d" % number) for number in range(100)])

    async def one(number: int) -> None:
        id_ = str(number % 100)
        assert [Record(key(id_), 1, id_.encode())] == await store.get([key(id_)])
        (at,) = await store.commit([append(id_.encode(), journal=f"j/{number}")])
        assert 1 == at
        assert [id_.encode()] == [entry.body for entry in await store.entries(f"j/{number}")]
        (listed,) = await store.scan("thing", prefix=id_, limit=1)
        assert id_ == listed.key.id

    await asyncio.gather(*(one(number) for number in range(300)))


async def cancel_at_random(store: Store, number: int, moments: random.Random) -> None:
    """Write two records and an entry together, and cancel it somewhere in between."""
    changes: list[Change] = [put(f"a/{number}"), put(f"b/{number}"), append(journal=f"j/{number}")]
    task = asyncio.create_task(store.commit(changes))
    for _ in range(moments.randrange(4)):
        await asyncio.sleep(0)
    if moments.random() < 0.5:
        await asyncio.sleep(moments.random() * 0.002)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        assert [1, 1, 1] == task.result()


@pytest.mark.parametrize("together", [1, 16])
async def test_a_cancelled_commit_is_done_or_not_done(store: Store, together: int) -> None:
    """Never in part, and whoever asks next gets an answer of their own."""
    moments = random.Random(7)
    total = count("store_cancels", 200)
    for start in range(0, total, together):
        numbers = range(start, min(start + together, total))
        await asyncio.gather(*(cancel_at_random(store, number, moments) for number in numbers))
        marker = b"marker %d" % start
        await store.commit([put("marker", marker)])
        assert marker == await body_of(store, "marker")
    for number in range(total):
        a, b = await store.get([key(f"a/{number}"), key(f"b/{number}")])
        entries = await store.entries(f"j/{number}")
        assert (a is None, a is None) == (b is None, not entries)


async def test_cancelled_reads_harm_nobody(store: Store) -> None:
    """Half of those who ask leave; the others get what they asked for."""
    await store.commit([put(str(number), b"%d" % number) for number in range(64)])
    tasks = [asyncio.create_task(store.get([key(str(number))])) for number in range(64)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    kept = await asyncio.gather(*tasks[1::2])
    assert [b"%d" % number for number in range(1, 64, 2)] == [one[0].body for one in kept if one[0]]
    await asyncio.wait(tasks)
