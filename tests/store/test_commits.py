"""Commits, on every backend: all or nothing, and only onto what was expected."""

from __future__ import annotations

import pytest
from tests.support.stores import append, body_of, delete, drop, ids_of, key, put, revision_of

from dspex_pool.store import Change, Conflict, Delete, Entry, Put, Store


async def test_numbers_come_for_each_change(store: Store) -> None:
    """Revisions, entry numbers, and 0 for what is gone."""
    await store.commit([put("old"), put("gone"), append()])
    changes: list[Change] = [
        put("new"),
        put("old"),
        delete("gone"),
        append(),
        append(),
        append(journal="other"),
    ]
    assert [1, 2, 0, 2, 3, 1] == await store.commit(changes)


async def test_many_records_change_together(store: Store) -> None:
    """A thousand, which is the most."""
    await store.commit([put(f"{number:03}") for number in range(1000)])
    assert [2] * 1000 == await store.commit([put(f"{number:03}", expect=1) for number in range(1000)])


async def test_expecting_none(store: Store) -> None:
    """Only the first of two is taken."""
    assert [1] == await store.commit([put(expect=0)])
    with pytest.raises(Conflict) as caught:
        await store.commit([put(expect=0, body=b"other")])
    assert (key(), 1) == (caught.value.key, caught.value.found)
    assert b"body" == await body_of(store)


async def test_expecting_a_revision(store: Store) -> None:
    """That one, and no other."""
    await store.commit([put()])
    assert [2] == await store.commit([put(expect=1)])
    for wrong in (1, 3):
        with pytest.raises(Conflict) as caught:
            await store.commit([put(expect=wrong)])
        assert 2 == caught.value.found
    assert 2 == await revision_of(store)


async def test_expecting_a_revision_where_there_is_none(store: Store) -> None:
    """Found is 0."""
    for change in (put(expect=1), delete(expect=1)):
        with pytest.raises(Conflict) as caught:
            await store.commit([change])
        assert 0 == caught.value.found


async def test_deleting_what_was_expected(store: Store) -> None:
    """A record that has changed meanwhile stays."""
    await store.commit([put()])
    await store.commit([put()])
    with pytest.raises(Conflict):
        await store.commit([delete(expect=1)])
    assert [0] == await store.commit([delete(expect=2)])
    assert [0] == await store.commit([delete(expect=0)])


CONFLICTS: dict[str, Change] = {
    "put": put("a", expect=7),
    "put anew": put("a", expect=0),
    "delete": delete("a", expect=7),
    "append": append(after=7),
    "append first": append(after=0),
}


@pytest.mark.parametrize("conflict", CONFLICTS.values(), ids=CONFLICTS)
@pytest.mark.parametrize("at", [0, 2, 5])
async def test_a_conflict_changes_nothing(store: Store, conflict: Change, at: int) -> None:
    """Wherever in the commit it stands."""
    await store.commit([put("a", b"A"), put("b", b"B"), append(b"one")])
    changes: list[Change] = [put("b", b"x"), put("c"), append(b"two", journal="k"), drop("l"), delete("d")]
    changes.insert(at, conflict)
    with pytest.raises(Conflict):
        await store.commit(changes)
    assert [b"A", b"B", None] == [await body_of(store, id_) for id_ in "abc"]
    assert ([Entry(1, b"one")], []) == (await store.entries("j"), await store.entries("k"))
    assert [1, 1, 0] == [await revision_of(store, id_) for id_ in "abc"]


async def test_the_first_conflict_is_told(store: Store) -> None:
    """In the order of the changes."""
    await store.commit([put("a"), put("b")])
    with pytest.raises(Conflict) as caught:
        await store.commit([put("c", expect=0), put("b", expect=4), put("a", expect=5)])
    assert key("b") == caught.value.key


async def test_a_put_and_an_entry_go_together(store: Store) -> None:
    """Records and journals are one commit."""
    await store.commit([put("job", expect=0), append(b"started", journal="job/1", after=0)])
    with pytest.raises(Conflict) as caught:
        await store.commit([put("job", b"x", expect=1), append(b"twice", journal="job/1", after=0)])
    assert ("job/1", 1) == (caught.value.key, caught.value.found)
    assert (1, [Entry(1, b"started")]) == (await revision_of(store, "job"), await store.entries("job/1"))


async def test_mistakes_are_refused_and_nothing_happens(store: Store) -> None:
    """No change, too many, two for one key, a time to live that is none."""
    wrong: list[list[Put | Delete]] = [
        [],
        [put(str(number)) for number in range(1001)],
        [put("a"), put("b"), delete("a")],
        [put("a", ttl_s=0.0)],
        [put("a", ttl_s=-1.0)],
        [put("a", ttl_s=float("inf"))],
        [put("a", ttl_s=float("nan"))],
    ]
    for changes in wrong:
        with pytest.raises(ValueError):
            await store.commit(changes)
    assert [] == ids_of(await store.scan("thing"))
