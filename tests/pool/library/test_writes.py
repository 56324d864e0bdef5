"""A write with an id happens once, whatever became of the answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from tests.support.libraries import Relay, Shop, content, drive, once, refusal

from dspex_pool.library import Library, Reference, Write
from dspex_pool.library.documents import read_document
from dspex_pool.library.writes import WRITE_MEMORY_S
from dspex_pool.store import Change, Conflict, Full, Key, Put, ReadOnly, Unavailable
from dspex_protocol import DSPexError

ONE, TWO, THREE = content("one"), content("two"), content("three")
WRITE = Write("w", b"digest")

Work = Callable[[Library, Write], Coroutine[Any, Any, object]]

WRITES: dict[str, tuple[Work, object]] = {
    "create": (lambda library, write: library.create("new", ONE, write=write), ("new", 1)),
    "create without an id": (
        lambda library, write: library.create(None, ONE, write=write),
        ("program-00000000", 1),
    ),
    "add": (
        lambda library, write: library.add("qa", base=2, must_be_newest=True, content=THREE, write=write),
        ("qa", 3),
    ),
    "rollback": (lambda library, write: library.rollback("qa", 1, newest=2, write=write), ("qa", 3)),
    "tag": (lambda library, write: library.tag("qa", 1, "live", write=write), None),
    "untag": (lambda library, write: library.untag("qa", "old", write=write), None),
    "delete": (lambda library, write: library.delete("qa", write=write), None),
}
NAMES = sorted(WRITES)


@pytest.fixture
def shop() -> Shop:
    """With a program of two versions in it."""
    shop = Shop()
    library = shop.library()
    drive(library.create("qa", ONE, tags=["old"]))
    drive(library.add("qa", base=1, must_be_newest=True, content=TWO))
    return shop


def everything(shop: Shop) -> dict[str, list[tuple[str, bytes]]]:
    """All that is stored."""
    return {
        collection: [(id_, shop.body(Key(collection, id_))) for id_ in shop.keys(collection)]
        for collection in ("program", "version", "write")
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_write_made_again_gets_the_first_answer(shop: Shop, name: str) -> None:
    """By the same server or another, and nothing changes any more."""
    work, answer = WRITES[name]
    library = shop.library()
    assert answer == drive(work(library, WRITE))
    before = everything(shop)
    shop.wall_ms += 1
    assert answer == drive(work(library, WRITE))
    assert answer == drive(work(shop.library(), WRITE))
    assert before == everything(shop)


@pytest.mark.parametrize("name", NAMES)
def test_another_write_under_the_same_id_is_refused(shop: Shop, name: str) -> None:
    """Of other parameters, or of another kind; nothing changes."""
    work, _ = WRITES[name]
    drive(work(shop.library(), WRITE))
    before = everything(shop)
    assert "write_id_reused" == refusal(work(shop.library(), Write("w", b"other"))).code
    other, _ = WRITES["tag" if name != "tag" else "untag"]
    assert "write_id_reused" == refusal(other(shop.library(), WRITE)).code
    assert before == everything(shop)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("happened", [True, False])
def test_what_nobody_knows_the_end_of_is_made_again(shop: Shop, name: str, *, happened: bool) -> None:
    """The answer is the first one's where that had happened, and then it is not done twice."""
    work, answer = WRITES[name]
    relay = Relay(shop.store)
    failure = once(Unavailable("no answer in time", maybe_applied=True))
    if happened:
        relay.after = failure
    else:
        relay.before = failure
    library = shop.library(relay)
    refused = refusal(work(library, WRITE))
    assert ("store_unavailable", True, True) == (refused.code, refused.retryable, refused.maybe_executed)
    after_one = everything(shop)
    if happened:
        assert answer == drive(work(library, WRITE))
        assert after_one == everything(shop)
        return
    if name == "create without an id":  # an id that nobody has heard of is not used again
        answer = ("program-00000001", 1)
    assert answer == drive(work(library, WRITE))
    assert answer == drive(work(library, WRITE))
    assert ["w"] == shop.keys("write")


def test_a_program_that_may_have_changed_is_looked_at_again(shop: Shop) -> None:
    """Before the next call runs on it."""
    relay = Relay(shop.store)
    library = shop.library(relay)
    drive(library.fetch(Reference("qa")))
    relay.after = once(Unavailable("no answer in time", maybe_applied=True))
    refusal(library.add("qa", base=2, must_be_newest=True, content=THREE))
    assert library.find(Reference("qa")) is None
    assert ("qa", 3, THREE) == drive(library.fetch(Reference("qa")))


def test_the_answer_that_comes_last_is_not_the_newest(shop: Shop) -> None:
    """Two writes of one server are under way: calls run on what the second one made."""
    relay = Relay(shop.store)
    library = shop.library(relay)

    def meanwhile(changes: Sequence[Change]) -> None:
        relay.after = lambda changes: None
        assert ("qa", 4) == drive(library.add("qa", base=3, must_be_newest=True, content=ONE))

    relay.after = meanwhile
    assert ("qa", 3) == drive(library.add("qa", base=2, must_be_newest=True, content=THREE))
    assert ("qa", 4, ONE) == library.find(Reference("qa"))


@pytest.mark.parametrize("name", ["add", "rollback", "tag", "delete"])
def test_a_server_that_answers_for_another_uses_what_that_has_made(shop: Shop, name: str) -> None:
    """At once, and nothing older either should the store be down in the next moment."""
    work, _ = WRITES[name]
    reference = Reference("qa", None, "old" if name == "tag" else None)
    library = shop.library()
    drive(shop.library().tag("qa", 2, "old"))
    assert ("qa", 2, TWO) == drive(library.fetch(reference))
    if name == "tag":
        drive(shop.library().tag("qa", 1, "old", write=WRITE))
        drive(library.tag("qa", 1, "old", write=WRITE))
        assert library.known(reference) in (None, ("qa", 1, ONE))
    else:
        drive(work(shop.library(), WRITE))
        drive(work(library, WRITE))
        assert library.known(reference) is None
    assert library.find(reference) == library.known(reference)


@pytest.mark.parametrize(
    ("failure", "code"), [(Full("disk full"), "store_full"), (ReadOnly("a replica"), "store_read_only")]
)
def test_a_write_that_fails_leaves_all_as_it_is(shop: Shop, failure: Exception, code: str) -> None:
    """Its id included: the same write may be made when there is room again."""
    relay = Relay(shop.store)
    relay.before = once(failure)
    library = shop.library(relay)
    before = everything(shop)
    refused = refusal(library.tag("qa", 1, "live", write=WRITE))
    assert (code, False) == (refused.code, refused.maybe_executed)
    assert before == everything(shop)
    drive(library.tag("qa", 1, "live", write=WRITE))
    assert ["w"] == shop.keys("write")


def test_an_id_is_remembered_for_a_day(shop: Shop) -> None:
    """Then it is as new."""
    library = shop.library()
    drive(library.create("new", ONE, write=WRITE))
    shop.now_s += WRITE_MEMORY_S + 1
    assert "program_exists" == refusal(library.create("new", ONE, write=WRITE)).code


def test_a_write_may_be_asked_about(shop: Shop) -> None:
    """Before a worker is asked to do it again."""
    library = shop.library()
    assert drive(library.answer_of(WRITE, "create")) is None
    drive(library.create("new", ONE, write=WRITE))
    drive(library.untag("qa", "old", write=Write("x", b"")))
    assert (("new", 1),) == drive(library.answer_of(WRITE, "create"))
    assert (None,) == drive(library.answer_of(Write("x", b""), "untag"))
    assert "write_id_reused" == refusal(library.answer_of(WRITE, "add")).code


def test_two_who_make_the_same_write_get_one_answer(shop: Shop) -> None:
    """Also when both look before either of them has written."""
    relay = Relay(shop.store)
    other = shop.library()
    answers: list[object] = []

    def meanwhile(changes: Sequence[Change]) -> None:
        relay.before = lambda changes: None
        answers.append(drive(other.add("qa", base=2, must_be_newest=False, content=THREE, write=WRITE)))

    relay.before = meanwhile
    work = shop.library(relay).add("qa", base=2, must_be_newest=False, content=THREE, write=WRITE)
    assert ("qa", 3) == drive(work) == answers[0]
    assert 3 == len(shop.keys("version"))


def test_an_import_is_made_once(shop: Shop) -> None:
    """As any other write."""
    library = shop.library()
    document = read_document(drive(library.export(Reference("qa"), all_versions=True)))
    for _ in range(2):
        assert ("copy", 2) == drive(library.import_(document, "copy", write=WRITE))
        assert ("qa", 3) == drive(library.import_(document, "qa", write=Write("v", b"")))


def test_who_never_gets_through_is_told_so(shop: Shop) -> None:
    """With an error that says that nothing was written."""
    relay = Relay(shop.store)
    relay.before = _always_late
    refused = refusal(shop.library(relay).untag("qa", "old"))
    assert ("overloaded", True, False) == (refused.code, refused.retryable, refused.maybe_executed)
    assert 100 == len(relay.commits)


def _always_late(changes: Sequence[Change]) -> None:
    raise Conflict(Key("program", "qa"), 99)


def test_a_damaged_record_of_a_write_is_told(shop: Shop) -> None:
    """Whether it happened cannot be known then."""
    drive(shop.library().create("new", ONE, write=WRITE))
    drive(shop.store.commit([Put(key=Key("write", "w"), body=b"gone")]))
    with pytest.raises(DSPexError) as caught:
        drive(shop.library().create("new", ONE, write=WRITE))
    assert "store_damaged" == caught.value.code
