"""Journals, on every backend: numbered from 1, without gaps, in order."""

from __future__ import annotations

import pytest
from tests.support.stores import append, drop, put

from dspex_pool.store import Conflict, Entry, Store


async def test_entries_are_numbered(store: Store) -> None:
    """From 1, whichever commit they come with."""
    assert [1] == await store.commit([append(b"a")])
    assert [2, 3] == await store.commit([append(b"b"), append(b"")])
    assert [Entry(1, b"a"), Entry(2, b"b"), Entry(3, b"")] == await store.entries("j")


async def test_entries_go_on_from_a_number(store: Store) -> None:
    """A reader names the last one that it knows."""
    await store.commit([append(b"%d" % number) for number in range(1, 31)])
    assert [Entry(30, b"30")] == await store.entries("j", after=29)
    assert [] == await store.entries("j", after=30)
    assert [] == await store.entries("j", after=99)
    assert [11, 12, 13] == [entry.number for entry in await store.entries("j", after=10, limit=3)]


async def test_a_journal_that_is_not_there_is_empty(store: Store) -> None:
    """It needs not be made."""
    assert [] == await store.entries("nothing")


async def test_journals_are_apart(store: Store) -> None:
    """From each other, and from records of the same name."""
    await store.commit([append(b"a", journal="a"), append(b"ab", journal="a:1"), put("a", collection="a")])
    assert ([Entry(1, b"a")], [Entry(1, b"ab")]) == (await store.entries("a"), await store.entries("a:1"))


async def test_appending_after_what_was_expected(store: Store) -> None:
    """Whoever has missed an entry is refused."""
    assert [1] == await store.commit([append(after=0)])
    assert [2, 3] == await store.commit([append(after=1), append(after=2)])
    for wrong in (0, 2, 4):
        with pytest.raises(Conflict) as caught:
            await store.commit([append(after=wrong)])
        assert ("j", 3) == (caught.value.key, caught.value.found)
    assert 3 == len(await store.entries("j"))


async def test_an_entry_expects_those_of_its_own_commit(store: Store) -> None:
    """Changes happen in order."""
    with pytest.raises(Conflict) as caught:
        await store.commit([append(after=0), append(after=0)])
    assert 1 == caught.value.found
    assert [] == await store.entries("j")


async def test_a_dropped_journal_begins_anew(store: Store) -> None:
    """With number 1; dropping what is not there is no error."""
    assert [0] == await store.commit([drop()])
    await store.commit([append(), append(), append(b"kept", journal="k")])
    assert [0] == await store.commit([drop()])
    assert ([], [Entry(1, b"kept")]) == (await store.entries("j"), await store.entries("k"))
    assert [1] == await store.commit([append(after=0)])


async def test_a_journal_is_replaced_in_one_commit(store: Store) -> None:
    """Dropped and written, in this order."""
    await store.commit([append(b"old"), append(b"old")])
    assert [0, 1, 2] == await store.commit([drop(), append(b"new", after=0), append(b"newer", after=1)])
    assert [Entry(1, b"new"), Entry(2, b"newer")] == await store.entries("j")
    assert [3, 0] == await store.commit([append(), drop()])
    assert [] == await store.entries("j")


async def test_ten_thousand_entries_at_once(store: Store) -> None:
    """Which is the most; a thousand when nothing is said."""
    for _ in range(11):
        await store.commit([append(b"%d" % number) for number in range(1000)])
    assert list(range(1, 10_001)) == [entry.number for entry in await store.entries("j", limit=10_000)]
    assert 1000 == len(await store.entries("j"))


@pytest.mark.parametrize(("after", "limit"), [(-1, 10), (0, 0), (0, 10_001)])
async def test_numbers_out_of_bounds_are_refused(store: Store, after: int, limit: int) -> None:
    """As a mistake of whoever asks."""
    with pytest.raises(ValueError):
        await store.entries("j", after=after, limit=limit)
