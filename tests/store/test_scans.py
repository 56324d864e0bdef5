"""Lists of records, on every backend: order, prefix, pages in both directions."""

from __future__ import annotations

import pytest
from tests.support.stores import Place, ids_of, put

from dspex_pool.store import Store

PREFIX_TRAPS = (
    "a",
    "a%",
    "a%b",
    "aXb",
    "a_",
    "a*",
    "a[b]",
    "ab",
    "b",
    "A",
    "a\U0010ffff",
    "a\U0010ffff!",
    "aé",
)


async def fill(store: Store, *ids: str) -> None:
    await store.commit([put(id_, id_.encode()) for id_ in ids])


async def test_ids_come_in_order(store: Store) -> None:
    """Whatever order they were written in."""
    await fill(store, "b", "c", "a", "B", "10", "9")
    assert ["10", "9", "B", "a", "b", "c"] == ids_of(await store.scan("thing"))


async def test_the_newest_come_first_when_asked(store: Store) -> None:
    """The same list, from its end."""
    await fill(store, "run/01", "run/02", "run/10")
    assert ["run/10", "run/02", "run/01"] == ids_of(await store.scan("thing", newest_first=True))


async def test_an_empty_collection_has_an_empty_list(store: Store) -> None:
    """In both directions."""
    await fill(store, "a")
    assert [] == await store.scan("nothing")
    assert [] == await store.scan("nothing", newest_first=True, prefix="a", after="b")


@pytest.mark.parametrize("prefix", [*PREFIX_TRAPS, "", "zzz", "\U0010ffff"])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_prefix_is_taken_by_the_letter(store: Store, prefix: str, newest_first: bool) -> None:
    """None of its characters means anything but itself."""
    await fill(store, *PREFIX_TRAPS)
    expected = sorted((id_ for id_ in PREFIX_TRAPS if id_.startswith(prefix)), key=str.encode)
    listed = await store.scan("thing", prefix=prefix, newest_first=newest_first)
    assert expected == ids_of(listed[::-1] if newest_first else listed)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7, 40])
async def test_pages_make_up_the_whole(store: Store, newest_first: bool, size: int) -> None:
    """Each begins after the last id of the one before; none is missed and none comes twice."""
    await fill(store, *(f"run/{number:03}" for number in range(20)), "other", "run", "run0", "ruo")
    pages: list[str] = []
    for _ in range(21):
        after = pages[-1] if pages else ""
        page = await store.scan("thing", prefix="run/", after=after, limit=size, newest_first=newest_first)
        assert len(page) <= size
        pages += ids_of(page)
    expected = [f"run/{number:03}" for number in range(20)]
    assert (expected[::-1] if newest_first else expected) == pages


async def test_a_page_may_begin_after_what_is_not_there(store: Store) -> None:
    """The last of a page may have been deleted meanwhile, and may be outside of the prefix."""
    await fill(store, "a1", "a3", "a5", "b1")
    assert ["a3", "a5"] == ids_of(await store.scan("thing", prefix="a", after="a2"))
    assert ["a3", "a1"] == ids_of(await store.scan("thing", prefix="a", after="a4", newest_first=True))
    assert ["a1", "a3", "a5"] == ids_of(await store.scan("thing", prefix="a", after="Z"))
    assert [] == await store.scan("thing", prefix="a", after="b")
    assert ["a5", "a3", "a1"] == ids_of(await store.scan("thing", prefix="a", after="b", newest_first=True))
    assert [] == await store.scan("thing", prefix="a", after="Z", newest_first=True)


async def test_pages_go_on_where_records_end(place: Place, store: Store) -> None:
    """Records whose time is over take no place on a page."""
    await store.commit([put(f"{number:02}", ttl_s=0.02 if number % 2 else None) for number in range(20)])
    await place.advance(0.05)
    even = [f"{number:02}" for number in range(0, 20, 2)]
    assert even[:5] == ids_of(await store.scan("thing", limit=5))
    assert even[:-6:-1] == ids_of(await store.scan("thing", limit=5, newest_first=True))


async def test_a_thousand_records_on_a_page(store: Store) -> None:
    """And no more."""
    for start in range(0, 1200, 600):
        await fill(store, *(f"{number:04}" for number in range(start, start + 600)))
    assert [f"{number:04}" for number in range(1000)] == ids_of(await store.scan("thing", limit=1000))
    assert 100 == len(await store.scan("thing"))


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_limits_out_of_bounds_are_refused(store: Store, limit: int) -> None:
    """As a mistake of whoever asks."""
    with pytest.raises(ValueError):
        await store.scan("thing", limit=limit)
