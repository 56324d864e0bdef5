"""Records, on every backend: what is put is what comes back, as long as its time lasts."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.stores import (
    LONG_S,
    SHORT_S,
    NewPlace,
    Place,
    body_of,
    delete,
    ids_of,
    key,
    put,
    revision_of,
)

from dspex_pool.store import Key, Record, Store
from dspex_pool.store.limits import check_id

HOSTILE_IDS = (
    "'; DROP TABLE records; --",
    '"quoted" `and` \\back\\slashed',
    "%_like_%",
    "*?[a-z]{hash}:tag",
    "../../etc/passwd",
    "line\r\nline\ttab\x01\x7f",
    " spaces ",
    "$1 :name ?1 {0} %s",
    "é",  # composed
    "e\u0301",  # … and not: another id
    "\u202eright to left",
    "\ufeffmark",
    "\ud7ff\ue000\uffff",
    "🦀" * 128,
    "x" * 512,
    "é" * 256,
    "CASE",
    "case",
    "1",
    "01",
    "NULL",
)

BODIES = (
    b"",
    b"\0",
    b"\0\xff" * 300,
    b"'\"\\\r\n$3\r\n*1\r\n",
    bytes(range(256)),
    "é🦀".encode(),
)


async def test_a_record_comes_back(store: Store) -> None:
    """With its key, its first revision and its body."""
    assert [1] == await store.commit([put("qa", b"text")])
    assert [Record(key("qa"), 1, b"text")] == await store.get([key("qa")])


async def test_hostile_ids_are_apart(store: Store) -> None:
    """No two of them meet, whatever they mean to the store behind."""
    await store.commit([put(id_, id_.encode()) for id_ in HOSTILE_IDS])
    records = await store.get([key(id_) for id_ in HOSTILE_IDS])
    assert [Record(key(id_), 1, id_.encode()) for id_ in HOSTILE_IDS] == records


async def test_hostile_ids_are_listed_in_the_order_of_their_bytes(store: Store) -> None:
    """Not by what some language thinks of their letters."""
    await store.commit([put(id_) for id_ in HOSTILE_IDS])
    assert sorted(HOSTILE_IDS, key=str.encode) == ids_of(await store.scan("thing"))


async def test_hostile_bodies_come_back(store: Store) -> None:
    """Bytes are bytes."""
    await store.commit([put(str(number), body) for number, body in enumerate(BODIES)])
    assert list(BODIES) == [await body_of(store, str(number)) for number in range(len(BODIES))]


async def test_collections_are_apart(store: Store) -> None:
    """Also where name and id together read the same."""
    keys = [Key("a", "b:c"), Key("a:b", "c"), Key("ab", "c"), Key("a", "bc")]
    for number, one in enumerate(keys):
        await store.commit([put(one.id, bytes([number]), collection=one.collection)])
    assert [Record(one, 1, bytes([number])) for number, one in enumerate(keys)] == await store.get(keys)


async def test_large_bodies_come_back(store: Store) -> None:
    """Four of 4 MB in one commit."""
    bodies = [bytes([number]) * 4_000_000 for number in range(4)]
    await store.commit([put(str(number), body) for number, body in enumerate(bodies)])
    assert bodies == [record.body for record in await store.scan("thing")]


async def test_get_answers_in_the_order_asked(store: Store) -> None:
    """With None for what is not there, and twice for what is asked twice."""
    await store.commit([put("a", b"A"), put("b", b"B")])
    answer = await store.get([key("b"), key("none"), key("a"), key("b")])
    assert [b"B", None, b"A", b"B"] == [record and record.body for record in answer]
    assert [] == await store.get([])


async def test_a_thousand_keys_at_once(store: Store) -> None:
    """What may be asked may also be answered."""
    await store.commit([put(str(number), b"%d" % number) for number in range(1000)])
    answer = await store.get([key(str(number)) for number in range(1000)])
    assert [b"%d" % number for number in range(1000)] == [record.body for record in answer if record]


async def test_each_change_is_one_revision(store: Store) -> None:
    """Also one that changes nothing."""
    assert [[1], [2], [3]] == [await store.commit([put(body=body)]) for body in (b"a", b"b", b"b")]
    assert 3 == await revision_of(store)


async def test_a_deleted_record_is_gone(store: Store) -> None:
    """It is not found, not listed, and may be deleted again."""
    await store.commit([put()])
    assert [0] == await store.commit([delete()])
    assert (None, []) == (await body_of(store), await store.scan("thing"))
    assert [0] == await store.commit([delete()])


async def test_a_deleted_record_can_be_made_again(store: Store) -> None:
    """As one that was never there; its revision is at least 1."""
    await store.commit([put(body=b"old")])
    await store.commit([delete()])
    (revision,) = await store.commit([put(body=b"new", expect=0)])
    assert (revision, b"new") == (await revision_of(store), await body_of(store))
    assert revision >= 1


async def test_everything_is_there_after_opening_again(place: Place) -> None:
    """For another object that knows nothing of the first."""
    first = place.build()
    await first.open()
    await first.commit([put(body=b"kept")])
    await first.close()
    second = place.build()
    await second.open()
    assert b"kept" == await body_of(second)
    await second.close()


async def test_two_stores_see_each_other(place: Place, store: Store) -> None:
    """What one has acknowledged, the other reads at once."""
    other = place.build()
    await other.open()
    for number in range(20):
        await store.commit([put(body=b"%d" % number)])
        assert b"%d" % number == await body_of(other)
    await other.close()


async def test_two_places_see_nothing_of_each_other(new_place: NewPlace, store: Store) -> None:
    """So that tests do not meet."""
    apart = new_place()
    other = apart.build()
    await other.open()
    await store.commit([put()])
    assert [] == await other.scan("thing")
    await other.close()
    await apart.remove()


async def test_a_record_ends_with_its_time(place: Place, store: Store) -> None:
    """It is not found, not listed, and counts as none for whoever expects one."""
    await store.commit([put("short", ttl_s=SHORT_S), put("long", ttl_s=LONG_S), put("ever")])
    await place.advance(SHORT_S * 1.5)
    assert [None, b"body"] == [await body_of(store, id_) for id_ in ("short", "long")]
    assert ["ever", "long"] == ids_of(await store.scan("thing"))
    (revision,) = await store.commit([put("short", expect=0)])
    assert revision == await revision_of(store, "short")


async def test_a_put_sets_the_time_anew(place: Place, store: Store) -> None:
    """Longer, or for ever: what the record had before does not count."""
    await store.commit([put("more", ttl_s=SHORT_S), put("ever", ttl_s=SHORT_S)])
    await store.commit([put("more", ttl_s=LONG_S), put("ever")])
    await place.advance(SHORT_S * 1.5)
    assert [b"body", b"body"] == [await body_of(store, id_) for id_ in ("more", "ever")]


async def test_expire_removes_what_is_over(place: Place, store: Store) -> None:
    """At most so many, and nothing else; backends that forget by themselves have none to count."""
    await store.commit([put(str(number), ttl_s=SHORT_S) for number in range(10)])
    await store.commit([put("long", ttl_s=LONG_S), put("ever"), put("renewed", ttl_s=SHORT_S)])
    await store.commit([put("renewed", ttl_s=LONG_S)])
    await place.advance(SHORT_S * 1.5)
    removed = await store.expire(limit=4)
    assert removed <= 4
    assert removed + await store.expire() in {0, 10}
    assert 0 == await store.expire()
    assert ["ever", "long", "renewed"] == ids_of(await store.scan("thing"))


async def test_get_reads_one_moment(store: Store) -> None:
    """While a writer changes two records together, nobody sees one without the other."""
    await store.commit([put("a", b"0"), put("b", b"0")])

    async def write() -> None:
        for number in range(100):
            await store.commit([put("a", b"%d" % number), put("b", b"%d" % number)])

    writing = asyncio.create_task(write())
    seen = 0
    while not writing.done():
        a, b = await store.get([key("a"), key("b")])
        assert a is not None
        assert b is not None
        assert a.body == b.body
        seen += 1
        await asyncio.sleep(0)  # the memory store never lets anybody else run
    await writing
    assert seen > 0


@pytest.mark.parametrize("id_", ["", "x" * 513, "é" * 257, "nul\0", "\ud800"])
async def test_what_is_no_id_is_refused(store: Store, id_: str) -> None:
    """As a mistake of whoever asks; the store goes on."""
    with pytest.raises(ValueError):
        await store.get([key(id_)])
    with pytest.raises(ValueError):
        await store.commit([put(id_)])
    assert [] == await store.scan("thing")


@given(st.text(max_size=600))
def test_ids_are_counted_in_bytes(text: str) -> None:
    """1 to 512 of UTF-8, no NUL."""
    fits = 1 <= len(text.encode()) <= 512 and "\0" not in text
    try:
        check_id(text)
    except ValueError:
        assert not fits
    else:
        assert fits
