"""Pages of records over every store: none is lost or comes twice, whatever cannot be read among them."""

from __future__ import annotations

import pytest

from dspex_pool.library import scanning
from dspex_pool.library.scanning import scan_page
from dspex_pool.store import Key, Put, Record, Store
from dspex_protocol import error

COUNT = 9
BROKEN = ("r3", "r7")


def even(record: Record) -> int | None:
    """What is wanted: an even number; of some nobody knows what they say."""
    if record.key.id in BROKEN:
        raise error("store_damaged", "it cannot be read")
    number = int(record.body)
    return None if number % 2 else number


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 5, 100])
async def test_pages_have_all_that_is_wanted_once(
    store: Store, limit: int, newest_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, also where more is read at a time than fits, or less."""
    monkeypatch.setattr(scanning, "SCANNED", 2)
    records = [Put(key=Key("r", f"r{n}"), body=str(n).encode()) for n in range(COUNT)]
    await store.commit([*records, Put(key=Key("r", "s"), body=b"0"), Put(key=Key("q", "r1"), body=b"2")])
    found, unreadable, after, pages = list[int](), set[str](), "", 0
    while True:
        page = await scan_page(
            store, "r", even, after=after, limit=limit, prefix="r", newest_first=newest_first
        )
        found += page.found
        unreadable |= set(page.unreadable)
        pages += 1
        if page.next is None:
            break
        after = page.next
    expected = [0, 2, 4, 6, 8]
    assert (expected[::-1] if newest_first else expected) == found
    assert set(BROKEN) == unreadable
    assert -(-len(expected) // limit) == pages
