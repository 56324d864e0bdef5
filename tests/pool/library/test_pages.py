"""Lists of programs and of versions: filtered, sorted, a page at a time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.libraries import Relay, Shop, content, drive, refusal

from dspex_pool.library import Library, Wanted
from dspex_pool.library.answers import history_answer, page_answer
from dspex_pool.library.pages import SCANNED, Sort
from dspex_pool.store import Key, Put
from dspex_protocol import encode_value

ONE = content("one")


@pytest.fixture
def shop() -> Shop:
    return Shop()


def names(library: Library, **wanted: Any) -> list[str]:
    return [head.program for head in drive(library.page(Wanted(**wanted))).heads]


def walk(library: Library, **wanted: Any) -> list[str]:
    """All pages, one after the other."""
    found: list[str] = []
    after = None
    while True:
        page = drive(library.page(Wanted(**wanted, after=after)))
        assert len(page.heads) <= wanted["limit"]
        found += [head.program for head in page.heads]
        after = page.next
        if after is None:
            return found


def stocked(shop: Shop) -> Library:
    """Programs whose ids, moments of creation and of change are in three different orders."""
    library = shop.library()
    for at, name in enumerate(("d", "b", "e", "a", "c", "ca", "ü")):
        shop.wall_ms = 100 * at
        module = "Predict" if at % 2 else "ChainOfThought"
        drive(library.create(name, content(module=module), tags=["live"] if at < 3 else []))
    for at, name in enumerate(("a", "e", "b")):
        shop.wall_ms = 10_000 - at
        drive(library.tag(name, 1, "seen"))
    return library


ORDERS = {
    "program": ["a", "b", "c", "ca", "d", "e", "ü"],
    "created": ["d", "b", "e", "a", "c", "ca", "ü"],
    "updated": ["d", "c", "ca", "ü", "b", "e", "a"],
}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", sorted(ORDERS))
def test_pages_make_up_the_list(shop: Shop, sort: Sort, limit: int, *, descending: bool) -> None:
    """Each program once, in its order, however large a page is."""
    library = stocked(shop)
    expected = ORDERS[sort][::-1] if descending else ORDERS[sort]
    assert expected == walk(library, sort=sort, descending=descending, limit=limit)


@pytest.mark.parametrize("sort", sorted(ORDERS))
def test_programs_of_one_moment_are_all_listed(shop: Shop, sort: Sort) -> None:
    """They come by id then, and a page may end among them."""
    library = shop.library()
    for name in ("c", "a", "d", "b"):
        drive(library.create(name, ONE))
    assert list("abcd") == walk(library, sort=sort, limit=2)
    assert list("dcba") == walk(library, sort=sort, limit=3, descending=True)


def test_a_list_is_filtered(shop: Shop) -> None:
    """By what ids begin with, by a tag, by the newest version's module."""
    library = stocked(shop)
    assert ["c", "ca"] == names(library, prefix="c")
    assert [] == names(library, prefix="%")
    assert ["b", "d", "e"] == names(library, tag="live")
    assert ["a", "b", "ca"] == names(library, module="Predict")
    assert ["d", "e"] == names(library, module="ChainOfThought", tag="live", sort="created")
    assert ["b"] == walk(library, prefix="b", tag="live", module="Predict", limit=1, sort="updated")


def test_a_new_module_is_listed(shop: Shop) -> None:
    """That of the newest version counts."""
    library = shop.library()
    drive(library.create("qa", content(module="Predict")))
    drive(library.add("qa", base=1, must_be_newest=True, content=content(module="ReAct")))
    assert ([], ["qa"]) == (names(library, module="Predict"), names(library, module="ReAct"))


@pytest.mark.parametrize("sort", sorted(ORDERS))
def test_a_page_goes_on_where_a_program_was_deleted(shop: Shop, sort: Sort) -> None:
    """Its place is still known."""
    library = stocked(shop)
    first = drive(library.page(Wanted(sort=sort, limit=2)))
    drive(library.delete(first.heads[-1].program))
    rest = drive(library.page(Wanted(sort=sort, after=first.next)))
    assert ORDERS[sort] == [head.program for head in first.heads + rest.heads]


@pytest.mark.parametrize(
    "cursor", ["", "x", "program", "program:0", "program:x:a", "created:0:a", "program:0:", "program:0:a\0"]
)
def test_a_cursor_is_what_a_page_said(shop: Shop, cursor: str) -> None:
    """Of a list with the same order."""
    refused = refusal(shop.library().page(Wanted(after=cursor)))
    assert ("invalid_argument", "after") == (refused.code, refused.details["field"])


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_limit(shop: Shop, limit: int) -> None:
    """From 1 to 1,000."""
    library = shop.library()
    drive(library.create("qa", ONE))
    for work in (library.page(Wanted(limit=limit)), library.versions("qa", limit=limit)):
        assert "limit" == refusal(work).details["field"]


def test_a_program_that_cannot_be_read_is_named(shop: Shop) -> None:
    """The others are listed as ever."""
    library = stocked(shop)
    drive(shop.store.commit([Put(key=Key("program", "c"), body=b"gone")]))
    page = drive(library.page(Wanted(sort="created")))
    assert (["d", "b", "e", "a", "ca", "ü"], ["c"]) == ([one.program for one in page.heads], page.unreadable)
    assert ["c"] == page_answer(page)["unreadable"]


def test_a_sorted_list_keeps_a_page_in_memory(shop: Shop) -> None:
    """However many programs there are; and reads them some at a time."""
    library = shop.library()
    for at in range(2 * SCANNED + 1):
        shop.wall_ms = (at * 7919) % 100_003
        drive(library.create(f"p{at:05}", ONE))
    relay = Relay(shop.store)
    page = drive(shop.library(relay).page(Wanted(sort="created", limit=3)))
    by_moment = sorted(range(2 * SCANNED + 1), key=lambda at: (at * 7919) % 100_003)
    assert [f"p{at:05}" for at in by_moment[:3]] == [head.program for head in page.heads]


# Versions


def test_versions_come_the_newest_first(shop: Shop) -> None:
    """A page at a time, with their tags and lineage."""
    library = shop.library()
    drive(library.create("qa", ONE, tags=["first"]))
    for base in range(1, 40):
        drive(library.add("qa", base=base, must_be_newest=True, content=ONE))
    numbers: list[int] = []
    before = None
    while True:
        page = drive(library.versions("qa", limit=7, before=before))
        numbers += [row.version for row in page.rows]
        before = page.next
        if before is None:
            break
    assert list(range(40, 0, -1)) == numbers
    rows: Any = history_answer(drive(library.versions("qa", before=2)))["versions"]
    assert [(1, ["first"], "create")] == [(row["version"], row["tags"], row["lineage"]["by"]) for row in rows]
    assert [] == drive(library.versions("qa", before=1)).rows


def test_versions_of_a_deleted_program_are_not_the_new_ones(shop: Shop) -> None:
    """The list ends where the new one began."""
    library = shop.library()
    drive(library.create("qa", ONE))
    drive(library.delete("qa"))
    drive(library.create("qa", ONE))
    assert ([2], None) == _numbers_and_next(library)


def _numbers_and_next(library: Library) -> tuple[list[int], int | None]:
    history = drive(library.versions("qa"))
    return [row.version for row in history.rows], history.next


def test_answers_are_values_of_the_wire(shop: Shop) -> None:
    """All of them can be sent."""
    library = stocked(shop)
    encode_value(page_answer(drive(library.page(Wanted()))))
    encode_value(history_answer(drive(library.versions("a"))))
