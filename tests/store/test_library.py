"""Stored programs on every backend: what depends on what a store really does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count as counter

import pytest
from tests.support.libraries import content
from tests.support.stores import Place

from dspex_pool.library import Library, Reference, Wanted, Write, read_document
from dspex_pool.library.records import version_key
from dspex_pool.store import Delete, Store
from dspex_protocol import DSPexError

ONE, TWO = content("one"), content("two")

NewLibrary = Callable[[Store], Library]


@pytest.fixture
def new_library() -> NewLibrary:
    ids = counter()

    def new(store: Store) -> Library:
        clock = asyncio.get_running_loop().time
        return Library(store, clock=clock, wall_ms=lambda: 1_700_000_000_000, new_id=lambda: str(next(ids)))

    return new


async def code_of(work: object) -> str:
    """The code of the error that it ends with."""
    with pytest.raises(DSPexError) as caught:
        await work  # type: ignore[misc]  # a coroutine
    return caught.value.code


async def test_a_program_is_made_changed_and_deleted(store: Store, new_library: NewLibrary) -> None:
    """Seen alike by another server on the same store."""
    mine, other = new_library(store), new_library(store)
    assert ("Frage/1", 1) == await mine.create("Frage/1", ONE, tags=["live"])
    assert ("Frage/1", 2) == await other.add("Frage/1", base=1, must_be_newest=True, content=TWO)
    assert "version_conflict" == await code_of(mine.add("Frage/1", base=1, must_be_newest=True, content=TWO))
    assert ("Frage/1", 3) == await mine.rollback("Frage/1", 1)
    await other.tag("Frage/1", 3, "live")
    assert ("Frage/1", 3, ONE) == await mine.fetch(Reference("Frage/1", None, "live"))
    assert [3, 2, 1] == [row.version for row in (await other.versions("Frage/1")).rows]
    await other.delete("Frage/1")
    assert "unknown_program" == await code_of(mine.fetch(Reference("Frage/1")))
    assert ("Frage/1", 4) == await mine.create("Frage/1", TWO)
    assert [] == (await mine.verify()).findings


async def test_who_writes_at_the_same_time_is_put_in_order(store: Store, new_library: NewLibrary) -> None:
    """Each gets a number of its own, and none is left out."""
    libraries = [new_library(store) for _ in range(2)]
    await libraries[0].create("qa", ONE)
    made = await asyncio.gather(
        *(
            libraries[at % 2].add("qa", base=1, must_be_newest=False, content=content(str(at)))
            for at in range(24)
        )
    )
    assert list(range(2, 26)) == sorted(version for _, version in made)
    for at, (_, version) in enumerate(made):
        assert content(str(at)) == (await libraries[0].fetch(Reference("qa", version)))[2]


async def test_of_those_who_compare_one_wins(store: Store, new_library: NewLibrary) -> None:
    """The others are told which version came first."""
    libraries = [new_library(store) for _ in range(2)]
    await libraries[0].create("qa", ONE)
    made = await asyncio.gather(
        *(
            libraries[at % 2].add("qa", base=1, must_be_newest=True, content=content(str(at)))
            for at in range(12)
        ),
        return_exceptions=True,
    )
    assert [("qa", 2)] == [one for one in made if not isinstance(one, BaseException)]
    refused = [one for one in made if isinstance(one, DSPexError)]
    assert {("version_conflict", 2)} == {(one.code, one.details["newest"]) for one in refused}


async def test_a_write_that_many_make_happens_once(store: Store, new_library: NewLibrary) -> None:
    """All of them get the same answer."""
    libraries = [new_library(store) for _ in range(2)]
    write = Write("w", b"digest")
    made = await asyncio.gather(*(libraries[at % 2].create(None, ONE, write=write) for at in range(12)))
    assert 1 == len(set(made))
    assert 1 == len((await libraries[0].page(Wanted())).heads)


async def test_what_was_acknowledged_is_there_after_close(place: Place, new_library: NewLibrary) -> None:
    """Another process opens the same store."""
    store = place.build()
    await store.open()
    await new_library(store).create("qa", ONE, tags=["live"])
    await store.close()
    store = place.build()
    await store.open()
    assert ("qa", 1, ONE) == await new_library(store).fetch(Reference("qa", None, "live"))
    await store.close()


async def test_pages_and_documents(store: Store, new_library: NewLibrary) -> None:
    """In the order of the ids' bytes, on each of the backends."""
    library = new_library(store)
    for name in ("é", "a%", "a", "Z", "🦀", "a_"):
        await library.create(name, ONE)
    expected = sorted(("é", "a%", "a", "Z", "🦀", "a_"), key=lambda name: name.encode())
    found: list[str] = []
    after = None
    while True:
        page = await library.page(Wanted(limit=2, after=after))
        found += [head.program for head in page.heads]
        after = page.next
        if after is None:
            break
    assert expected == found
    assert ["a", "a%", "a_"] == [head.program for head in (await library.page(Wanted(prefix="a"))).heads]
    text = await library.export(Reference("a%"))
    assert ("copy", 1) == await library.import_(read_document(text), "copy")
    assert ONE == (await library.fetch(Reference("copy")))[2]


async def test_a_lost_version_is_found_and_passed_over(store: Store, new_library: NewLibrary) -> None:
    """By a repair, which leaves the rest as it is."""
    library = new_library(store)
    await library.create("qa", ONE)
    await library.add("qa", base=1, must_be_newest=True, content=TWO)
    await store.commit([Delete(key=version_key("qa", 2))])
    report = await library.repair()
    assert ["version_missing", "newest_unreadable"] == [one.problem for one in report.findings]
    assert ("qa", 1, ONE) == await library.fetch(Reference("qa"))
