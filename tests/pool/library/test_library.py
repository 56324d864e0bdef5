"""Programs in a store: made, changed, found again."""

from __future__ import annotations

import pytest
from tests.support.libraries import WALL_MS, Relay, Shop, content, drive, refusal

from dspex_pool.library import Lineage, Reference
from dspex_pool.library.records import version_key

ONE, TWO, THREE = content("one"), content("two"), content("three")


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_a_new_program_has_one_version(shop: Shop) -> None:
    """And is found without the store."""
    library = shop.library()
    assert ("qa", 1) == drive(library.create("qa", ONE, tags=["live"]))
    for reference in (Reference("qa"), Reference("qa", 1), Reference("qa", None, "live")):
        assert ("qa", 1, ONE) == library.find(reference)


def test_an_id_is_made_where_none_is_wanted(shop: Shop) -> None:
    """Each time another."""
    library = shop.library()
    assert ("program-00000000", 1) == drive(library.create(None, ONE))
    assert ("program-00000001", 1) == drive(library.create(None, ONE))


def test_an_id_is_taken_once(shop: Shop) -> None:
    """Whoever took it."""
    drive(shop.library().create("qa", ONE))
    assert "program_exists" == refusal(shop.library().create("qa", TWO)).code
    assert ("qa", 1, ONE) == drive(shop.library().fetch(Reference("qa")))


def test_a_version_has_its_lineage(shop: Shop) -> None:
    """Where it came from, by what, why, and how good it was."""
    library = shop.library()
    drive(library.create("qa", ONE, lineage=Lineage(by="create", parent=7, note="begun")))
    lineage = Lineage(by="MIPROv2", note="better", scores={"accuracy": 0.9})
    drive(library.add("qa", base=1, must_be_newest=True, content=TWO, lineage=lineage))
    _, first = drive(library.get(Reference("qa", 1)))
    head, second = drive(library.get(Reference("qa")))
    assert Lineage(by="create", note="begun") == first.lineage
    assert Lineage(by="MIPROv2", parent=1, note="better", scores={"accuracy": 0.9}) == second.lineage
    assert (2, TWO, "3.4.1", 1) == (second.version, second.content, second.dspy, second.schema)
    assert (WALL_MS, 2, "Predict") == (second.created_ms, head.newest, head.module)


def test_equal_contents_have_equal_checksums(shop: Shop) -> None:
    """Of whatever program or version."""
    library = shop.library()
    drive(library.create("a", ONE))
    drive(library.create("b", TWO))
    drive(library.add("b", base=1, must_be_newest=True, content=ONE))
    checksums = [
        drive(library.get(reference))[1].checksum
        for reference in (Reference("a"), Reference("b", 1), Reference("b", 2))
    ]
    assert checksums[0] == checksums[2] != checksums[1]


def test_a_tag_moves_with_the_version_that_gets_it(shop: Shop) -> None:
    """The others stay."""
    library = shop.library()
    drive(library.create("qa", ONE, tags=["live", "first"]))
    drive(library.add("qa", base=1, must_be_newest=True, content=TWO, tags=["live"]))
    assert ("qa", 2, TWO) == library.find(Reference("qa", None, "live"))
    assert ("qa", 1, ONE) == library.find(Reference("qa", None, "first"))


def test_a_tag_is_set_and_taken_away(shop: Shop) -> None:
    """To take away one that is not there is no error."""
    library = shop.library()
    drive(library.create("qa", ONE))
    drive(library.add("qa", base=1, must_be_newest=True, content=TWO))
    drive(library.tag("qa", 1, "live"))
    assert ("qa", 1, ONE) == library.find(Reference("qa", None, "live"))
    for _ in range(2):
        drive(library.untag("qa", "live"))
        assert "unknown_program" == refusal(library.fetch(Reference("qa", None, "live"))).code


def test_a_tag_points_to_a_version_that_is_there(shop: Shop) -> None:
    """The error tells the newest."""
    library = shop.library()
    drive(library.create("qa", ONE))
    refused = refusal(library.tag("qa", 2, "live"))
    assert ("unknown_program", {"newest": 1}) == (refused.code, refused.details)


def test_a_program_has_a_hundred_tags_at_most(shop: Shop) -> None:
    """One more is refused, and one of them may move."""
    library = shop.library()
    drive(library.create("qa", ONE, tags=[f"t{n}" for n in range(100)]))
    assert "tags" == refusal(library.tag("qa", 1, "more")).details["field"]
    drive(library.tag("qa", 1, "t7"))


def test_a_tag_of_a_new_version_is_checked(shop: Shop) -> None:
    """By its place."""
    refused = refusal(shop.library().create("qa", ONE, tags=["fine", "a\n"]))
    assert "tags[1]" == refused.details["field"]


def test_a_rollback_is_a_new_version(shop: Shop) -> None:
    """With the content of the old one, which is its parent."""
    library = shop.library()
    drive(library.create("qa", ONE))
    drive(library.add("qa", base=1, must_be_newest=True, content=TWO))
    assert ("qa", 3) == drive(library.rollback("qa", 1, newest=2, note="worse"))
    head, version = drive(library.get(Reference("qa")))
    assert (3, ONE) == (head.newest, version.content)
    assert Lineage(by="rollback", parent=1, note="worse") == version.lineage


def test_a_rollback_may_name_the_newest(shop: Shop) -> None:
    """And is refused when it is not that any more."""
    library = shop.library()
    drive(library.create("qa", ONE))
    drive(library.add("qa", base=1, must_be_newest=True, content=TWO))
    refused = refusal(library.rollback("qa", 1, newest=1))
    assert ("version_conflict", {"newest": 2}) == (refused.code, refused.details)


def test_an_update_of_an_old_version_is_a_conflict(shop: Shop) -> None:
    """Another server's, which this one has not heard of, included."""
    mine, other = shop.library(), shop.library()
    drive(mine.create("qa", ONE))
    drive(other.add("qa", base=1, must_be_newest=True, content=TWO))
    refused = refusal(mine.add("qa", base=1, must_be_newest=True, content=THREE))
    assert ("version_conflict", {"newest": 2}) == (refused.code, refused.details)
    assert mine.find(Reference("qa")) is None  # and not the first one, now that there is a second
    assert ("qa", 2, TWO) == drive(mine.fetch(Reference("qa")))


def test_who_does_not_mind_others_gets_the_next_number(shop: Shop) -> None:
    """Its parent is what it was made from."""
    mine, other = shop.library(), shop.library()
    drive(mine.create("qa", ONE))
    drive(other.add("qa", base=1, must_be_newest=True, content=TWO))
    assert ("qa", 3) == drive(mine.add("qa", base=1, must_be_newest=False, content=THREE))
    assert 1 == drive(mine.get(Reference("qa", 3)))[1].lineage.parent


def test_tags_of_others_are_no_conflict(shop: Shop) -> None:
    """They are kept."""
    mine, other = shop.library(), shop.library()
    drive(mine.create("qa", ONE))
    drive(other.tag("qa", 1, "live"))
    assert ("qa", 2) == drive(mine.add("qa", base=1, must_be_newest=True, content=TWO))
    assert ("qa", 1, ONE) == mine.find(Reference("qa", None, "live"))


def test_what_is_not_there_is_unknown(shop: Shop) -> None:
    """To whatever is asked of it."""
    library = shop.library()
    reference = Reference("qa")
    for work in (
        library.fetch(reference),
        library.get(reference),
        library.versions("qa"),
        library.diff("qa", 1, 2),
        library.export(reference),
        library.export(reference, all_versions=True),
        library.add("qa", base=1, must_be_newest=False, content=ONE),
        library.rollback("qa", 1),
        library.tag("qa", 1, "live"),
        library.untag("qa", "live"),
        library.delete("qa"),
        library.verify("qa"),
    ):
        assert "unknown_program" == refusal(work).code


def test_a_version_that_is_not_there_is_unknown(shop: Shop) -> None:
    """The error tells the newest."""
    library = shop.library()
    drive(library.create("qa", ONE))
    for reference in (Reference("qa", 2), Reference("qa", 10**12), Reference("qa", None, "live")):
        refused = refusal(library.fetch(reference))
        assert ("unknown_program", {"newest": 1}) == (refused.code, refused.details)
    refused = refusal(library.add("qa", base=2, must_be_newest=False, content=TWO))
    assert "unknown_program" == refused.code


def test_what_is_no_record_of_a_worker_is_not_stored(shop: Shop) -> None:
    """It is our mistake, and no client's."""
    for bad in (b"", b"\xc1", b"\x80", b"\x01"):
        assert "internal" == refusal(shop.library().create("qa", bad)).code
    assert [] == shop.keys("program")


# Several servers


def test_another_servers_version_is_used_after_a_second(shop: Shop) -> None:
    """Until then the known one; by its number a version is found at once."""
    mine, other = shop.library(), shop.library()
    drive(mine.create("qa", ONE))
    drive(other.add("qa", base=1, must_be_newest=True, content=TWO))
    assert ("qa", 1, ONE) == mine.find(Reference("qa"))
    assert mine.find(Reference("qa", 2)) is None
    shop.now_s += 1.1
    assert mine.find(Reference("qa")) is None
    assert ("qa", 1, ONE) == mine.known(Reference("qa"))
    assert ("qa", 2, TWO) == drive(mine.fetch(Reference("qa"))) == mine.find(Reference("qa"))


def test_a_version_is_the_same_bytes_for_as_long_as_it_is_here(shop: Shop) -> None:
    """Whatever is looked at again; and a rollback shares those of its parent."""
    library = shop.library()
    drive(library.create("qa", ONE))
    held = library.find(Reference("qa"))
    assert held is not None
    shop.now_s += 100
    assert held is drive(library.fetch(Reference("qa")))
    assert held is drive(library.fetch(Reference("qa", 1)))
    drive(library.rollback("qa", 1))
    again = library.find(Reference("qa"))
    assert again is not None
    assert held[2] is again[2]


def test_a_look_at_a_head_is_one_small_read(shop: Shop) -> None:
    """The content is here already."""
    relay = Relay(shop.store)
    library = shop.library(relay)
    drive(library.create("qa", ONE))
    assert 0 == relay.read_count
    shop.now_s += 2
    drive(library.fetch(Reference("qa")))
    assert 1 == relay.read_count


def test_a_version_by_its_number_is_one_read(shop: Shop) -> None:
    """Head and version at the same moment."""
    drive(shop.library().create("qa", ONE))
    relay = Relay(shop.store)
    drive(shop.library(relay).fetch(Reference("qa", 1)))
    assert 1 == relay.read_count


def test_a_write_among_few_is_one_commit(shop: Shop) -> None:
    """The head that is known is tried first."""
    relay = Relay(shop.store)
    library = shop.library(relay)
    drive(library.create("qa", ONE))
    drive(library.add("qa", base=1, must_be_newest=True, content=TWO))
    assert (0, 2) == (relay.read_count, len(relay.commits))


def test_versions_are_stored_in_the_order_of_their_numbers(shop: Shop) -> None:
    """And beside those of programs whose names begin alike."""
    library = shop.library()
    for name in ("a", "a!", "a1", "b"):
        drive(library.create(name, ONE))
    for base in range(1, 11):
        drive(library.add("a", base=base, must_be_newest=True, content=ONE))
    ids = [version_key("a", number).id for number in range(1, 12)]
    assert ids == shop.keys("version")[:11]
    assert list(range(11, 0, -1)) == [row.version for row in drive(library.versions("a")).rows]
