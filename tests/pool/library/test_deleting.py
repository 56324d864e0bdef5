"""A deleted program is gone with all its versions, and their numbers are not used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tests.support.libraries import Relay, Shop, content, drive, refusal

from dspex_pool.library import Library, Reference, Wanted, Write
from dspex_pool.library.records import read_head, version_key
from dspex_pool.library.steps import TOMBSTONE_S
from dspex_pool.store import Change, Delete, Key, Unavailable

ONE, TWO = content("one"), content("two")


@pytest.fixture
def shop() -> Shop:
    return Shop()


def with_versions(library: Library, count: int, program: str = "qa") -> None:
    drive(library.create(program, ONE))
    for base in range(1, count):
        drive(library.add(program, base=base, must_be_newest=True, content=ONE))


def test_a_deleted_program_is_gone(shop: Shop) -> None:
    """For those who have it on their shelf too: at once here, and elsewhere after a while."""
    mine, other = shop.library(), shop.library()
    with_versions(mine, 3)
    drive(other.fetch(Reference("qa", 2)))
    drive(mine.delete("qa"))
    assert [] == shop.keys("version")
    for reference in (Reference("qa"), Reference("qa", 2)):
        assert mine.find(reference) is None
        assert mine.known(reference) is None
        assert "unknown_program" == refusal(mine.fetch(reference)).code
    assert [] == drive(mine.page(Wanted())).heads
    assert ("qa", 2, ONE) == other.find(Reference("qa", 2))
    shop.now_s += 61
    assert other.find(Reference("qa", 2)) is None
    assert "unknown_program" == refusal(other.fetch(Reference("qa", 2))).code


def test_its_versions_go_in_the_same_commit(shop: Shop) -> None:
    """So nothing is left when the server ends."""
    relay = Relay(shop.store)
    library = shop.library(relay)
    with_versions(library, 3)
    relay.commits.clear()
    drive(library.delete("qa"))
    assert 1 == len(relay.commits)
    assert 3 == sum(isinstance(change, Delete) for change in relay.commits[0])


def test_its_numbers_are_not_used_again(shop: Shop) -> None:
    """A call that names the old version must not run on a new program."""
    mine, other = shop.library(), shop.library()
    with_versions(mine, 3)
    drive(other.fetch(Reference("qa", 3)))
    drive(mine.delete("qa"))
    assert ("qa", 4) == drive(mine.create("qa", TWO))
    assert "unknown_program" == refusal(mine.fetch(Reference("qa", 3))).code
    shop.now_s += 2
    assert ("qa", 4, TWO) == drive(other.fetch(Reference("qa")))
    assert other.find(Reference("qa", 3)) is None


def test_its_numbers_are_remembered_for_a_month(shop: Shop) -> None:
    """Then nothing is left of it."""
    library = shop.library()
    with_versions(library, 3)
    drive(library.delete("qa"))
    assert ["qa"] == shop.keys("program")
    shop.now_s += TOMBSTONE_S + 1
    assert [] == shop.keys("program")
    assert ("qa", 1) == drive(library.create("qa", TWO))
    assert ("qa", 1, TWO) == library.find(Reference("qa"))


def test_other_programs_stay(shop: Shop) -> None:
    """Those too whose names begin alike."""
    library = shop.library()
    for name in ("qa", "q", "qa2", "qa "):
        drive(library.create(name, ONE))
    drive(library.delete("qa"))
    assert ["q", "qa ", "qa2"] == [head.program for head in drive(library.page(Wanted())).heads]
    for name in ("q", "qa2", "qa "):
        drive(shop.library().fetch(Reference(name, 1)))


def test_who_adds_a_version_meanwhile_comes_first_or_too_late(shop: Shop) -> None:
    """In no case is a version left."""
    relay = Relay(shop.store)
    mine, other = shop.library(relay), shop.library()
    with_versions(mine, 2)

    def meanwhile(changes: Sequence[Change]) -> None:
        relay.before = lambda changes: None
        drive(other.add("qa", base=2, must_be_newest=True, content=TWO))

    relay.before = meanwhile
    drive(mine.delete("qa"))
    assert [] == shop.keys("version")
    assert "unknown_program" == refusal(other.add("qa", base=3, must_be_newest=True, content=TWO)).code


@pytest.fixture(scope="module")
def big() -> Shop:
    """A program with more versions than one commit removes."""
    shop = Shop()
    with_versions(shop.library(), 2500)
    return shop


@pytest.mark.slow
def test_a_thousand_versions_go_in_steps(big: Shop) -> None:
    """Whoever is interrupted has deleted it nevertheless, and the next one removes the rest."""
    relay = Relay(big.store)
    library = big.library(relay)
    relay.before = _fails_from(2)
    drive(library.delete("qa", write=Write("w", b"")))
    assert 1502 == _count(big)
    assert "unknown_program" == refusal(library.fetch(Reference("qa"))).code
    big.now_s += TOMBSTONE_S + 1  # what is left behind is not forgotten
    assert read_head("qa", big.body(Key("program", "qa"))).is_deleted
    assert "store_unavailable" == refusal(big.library(relay).delete("qa")).code
    assert 1502 == _count(big)
    assert ("qa", 2501) == drive(big.library().create("qa", TWO))
    assert 1 == _count(big)


def _fails_from(number: int) -> Callable[[Sequence[Change]], None]:
    seen = [0]

    def fail(changes: Sequence[Change]) -> None:
        seen[0] += 1
        if seen[0] >= number:
            raise Unavailable("gone")

    return fail


def _count(shop: Shop) -> int:
    keys = [version_key("qa", number) for number in range(1, 2502)]
    found = drive(shop.store.get(keys[:1000])) + drive(shop.store.get(keys[1000:2000]))
    return sum(one is not None for one in found + drive(shop.store.get(keys[2000:])))
