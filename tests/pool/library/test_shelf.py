"""What a process remembers of the store, and when it must look again."""

from __future__ import annotations

from dataclasses import replace

from dspex_pool.library import Head, Reference
from dspex_pool.library.shelf import HEAD_FRESH_S, VERSION_FRESH_S, KnownHead, Shelf

HEAD = Head(
    program="p", first=1, last=2, newest=2, tags={"live": 1}, module="Predict", created_ms=0, updated_ms=0
)
NEWEST, FIRST, LIVE = Reference("p"), Reference("p", 1), Reference("p", None, "live")


def known(head: Head = HEAD, *, revision: int = 5, looked_s: float = 0.0, size_bytes: int = 100) -> KnownHead:
    return KnownHead(head, revision, looked_s, size_bytes)


def full_shelf() -> Shelf:
    shelf = Shelf()
    shelf.learn_head(known())
    shelf.learn_content("p", 1, b"one")
    shelf.learn_content("p", 2, b"two")
    return shelf


def test_it_hands_out_what_it_has() -> None:
    """The newest, by number, or by tag."""
    shelf = full_shelf()
    assert ("p", 2, b"two") == shelf.find(NEWEST, 0.0)
    assert ("p", 1, b"one") == shelf.find(FIRST, 0.0)
    assert ("p", 1, b"one") == shelf.find(LIVE, 0.0)


def test_it_has_nothing_else() -> None:
    """Neither another program, nor a version or tag that there is not."""
    shelf = full_shelf()
    for reference in (Reference("q"), Reference("p", 3), Reference("p", None, "beta")):
        assert shelf.find(reference, 0.0) is None
        assert shelf.known(reference) is None


def test_a_head_is_fresh_for_a_moment() -> None:
    """After that it is only known; a version that goes by its number is fresh for longer."""
    shelf = full_shelf()
    assert shelf.find(NEWEST, HEAD_FRESH_S) is not None
    for reference in (NEWEST, LIVE):
        assert shelf.find(reference, HEAD_FRESH_S + 0.1) is None
        assert shelf.known(reference) is not None
    assert shelf.find(FIRST, VERSION_FRESH_S) is not None
    assert shelf.find(FIRST, VERSION_FRESH_S + 0.1) is None
    assert shelf.known(FIRST) is not None


def test_the_same_bytes_are_handed_out() -> None:
    """Also when the store gave equal ones again: workers' books go by identity."""
    shelf = full_shelf()
    first = shelf.find(FIRST, 0.0)
    assert first is not None
    assert first is shelf.learn_content("p", 1, bytes(bytearray(b"one")))
    assert first is shelf.find(FIRST, 0.0)
    assert b"other" == shelf.learn_content("p", 1, b"other")[2]


def test_the_content_used_longest_ago_goes_first() -> None:
    """By number and by size."""
    shelf = Shelf(max_contents=2, max_content_bytes=1000)
    shelf.learn_head(known(replace(HEAD, last=9)))
    for version in (1, 2):
        shelf.learn_content("p", version, b"x")
    shelf.find(FIRST, 0.0)
    shelf.learn_content("p", 3, b"x")
    assert [True, False, True] == [shelf.content("p", version) is not None for version in (1, 2, 3)]
    shelf.learn_content("p", 4, b"x" * 1000)
    assert [False, False, True] == [shelf.content("p", version) is not None for version in (1, 3, 4)]


def test_what_is_larger_than_the_shelf_is_not_kept() -> None:
    """It is handed out nevertheless."""
    shelf = Shelf(max_content_bytes=10)
    assert ("p", 1, b"x" * 11) == shelf.learn_content("p", 1, b"x" * 11)
    assert shelf.content("p", 1) is None


def test_heads_are_bounded_too() -> None:
    """The one used longest ago goes."""
    shelf = Shelf(max_heads=2, max_head_bytes=1000)
    for name in ("a", "b", "c"):
        shelf.learn_head(known(replace(HEAD, program=name)))
    assert [None, "b", "c"] == [
        None if one is None else one.head.program for one in map(shelf.head, ("a", "b", "c"))
    ]
    shelf.learn_head(known(replace(HEAD, program="d"), size_bytes=950))
    assert [True, True, False] == [shelf.head(name) is None for name in ("b", "c", "d")]


def test_an_answer_from_before_a_write_does_not_undo_it() -> None:
    """It was on its way while the write was made and acknowledged."""
    shelf = full_shelf()
    ticket = shelf.ticket()
    shelf.learn_head(known(replace(HEAD, newest=1), revision=6))
    shelf.learn_head(known(revision=5), ticket)
    shelf.learn_absence("p", ticket)
    found = shelf.head("p")
    assert found is not None
    assert 6 == found.revision


def test_the_answer_to_an_older_write_does_not_undo_a_newer_one() -> None:
    """Both were under way, and that of the newer one came first."""
    shelf = full_shelf()
    tickets = [shelf.ticket(), shelf.ticket()]
    shelf.learn_head(known(replace(HEAD, newest=1), revision=7), tickets[1], is_ours=True)
    shelf.learn_head(known(revision=6), tickets[0], is_ours=True)
    assert ("p", 1, b"one") == shelf.find(NEWEST, 0.0)


def test_a_version_without_its_content_leaves_what_was_known() -> None:
    """The store was asked for it, and did not come to tell; however often."""
    shelf = full_shelf()
    for version in (3, 4):
        shelf.learn_head(known(replace(HEAD, last=version, newest=version), revision=version + 3))
        assert shelf.find(NEWEST, 0.0) is None
        assert ("p", 2, b"two") == shelf.known(NEWEST)
    assert shelf.known(Reference("p", 3)) is None
    shelf.learn_content("p", 4, b"four")
    assert ("p", 4, b"four") == shelf.find(NEWEST, 0.0) == shelf.known(NEWEST)


def test_nothing_older_is_known_than_what_was_acknowledged() -> None:
    """Also where its content is not here."""
    shelf = full_shelf()
    shelf.learn_head(known(replace(HEAD, last=3, newest=3), revision=6), is_ours=True)
    assert shelf.known(NEWEST) is None
    shelf.learn_head(known(replace(HEAD, last=4, newest=4), revision=7), shelf.ticket())
    assert shelf.known(NEWEST) is None


def test_an_answer_to_a_write_counts_behind_a_newer_head() -> None:
    """What was known before it may not be used any more, though the newer one has no content yet."""
    shelf = full_shelf()
    ticket = shelf.ticket()
    shelf.learn_head(known(replace(HEAD, last=4, newest=4), revision=7), shelf.ticket())
    shelf.learn_content("p", 3, b"three")
    shelf.learn_head(known(replace(HEAD, last=3, newest=3), revision=6), ticket, is_ours=True)
    assert ("p", 3, b"three") == shelf.known(NEWEST)


def test_a_store_that_began_anew_is_believed() -> None:
    """A smaller revision that was asked for later is a program of today."""
    shelf = full_shelf()
    shelf.learn_head(known(revision=1), shelf.ticket())
    found = shelf.head("p")
    assert found is not None
    assert 1 == found.revision
    shelf.learn_absence("p", shelf.ticket())
    assert shelf.head("p") is None


def test_what_is_in_doubt_is_only_known() -> None:
    """After a write that nobody knows the end of."""
    shelf = full_shelf()
    shelf.doubt("p")
    assert shelf.find(NEWEST, 0.0) is None
    assert shelf.find(FIRST, 0.0) is None
    assert shelf.known(NEWEST) is not None


def test_a_deleted_program_is_not_handed_out() -> None:
    """Not even by number, though its content is still here."""
    shelf = full_shelf()
    shelf.learn_head(known(replace(HEAD, is_deleted=True), revision=6))
    for reference in (NEWEST, FIRST, LIVE):
        assert shelf.find(reference, 0.0) is None
        assert shelf.known(reference) is None
