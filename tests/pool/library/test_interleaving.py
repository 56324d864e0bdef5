"""What others do while a read is on its way: no call runs on what was before an acknowledged write."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Sequence
from typing import Any

import pytest
from tests.support.libraries import Relay, Shop, content, drive, refusal

from dspex_pool.library import Library, Reference
from dspex_pool.store import Change, Key, Record

ONE, TWO = content("one"), content("two")


class Pause:
    """Suspends whoever awaits it, once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class LateStore(Relay):
    """The answers to its reads are on their way for as long as a test wants; writes are at once."""

    is_late = True

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        answer = await super().get(keys)
        if self.is_late:
            await Pause()
        return answer


@pytest.fixture
def shop() -> Shop:
    return Shop()


def begin(work: Coroutine[Any, Any, object]) -> Coroutine[Any, Any, object]:
    """Run it until an answer is on its way."""
    work.send(None)
    return work


def go_on(work: Coroutine[Any, Any, object]) -> object:
    """Let the answers arrive."""
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            return end.value


def late(shop: Shop) -> tuple[Library, LateStore]:
    store = LateStore(shop.store)
    return shop.library(store), store


@pytest.mark.parametrize("reference", [Reference("qa"), Reference("qa", None, "live"), Reference("qa", 1)])
def test_a_late_answer_does_not_undo_an_update(shop: Shop, reference: Reference) -> None:
    """Whoever had asked before gets what was there; whoever comes after the acknowledgement does not."""
    library, _ = late(shop)
    drive(library.create("qa", ONE, tags=["live"]))
    shop.now_s += 100
    reading = begin(library.fetch(reference))
    drive(library.add("qa", base=1, must_be_newest=True, content=TWO, tags=["live"]))
    assert ("qa", 1, ONE) == go_on(reading)
    for newest in (Reference("qa"), Reference("qa", None, "live")):
        assert ("qa", 2, TWO) == library.find(newest)


def test_a_late_answer_does_not_bring_back_what_was_deleted(shop: Shop) -> None:
    """Neither by number nor as the newest."""
    library, store = late(shop)
    drive(shop.library().create("qa", ONE))
    reading = begin(library.fetch(Reference("qa", 1)))
    store.is_late = False
    drive(library.delete("qa"))
    assert ("qa", 1, ONE) == go_on(reading)
    assert library.find(Reference("qa", 1)) is None
    assert library.known(Reference("qa")) is None


def test_a_late_absence_does_not_hide_a_new_program(shop: Shop) -> None:
    """It was made while the answer was on its way."""
    library, _ = late(shop)
    reading = begin(library.fetch(Reference("qa")))
    drive(library.create("qa", ONE))
    assert "unknown_program" == refusal(_rest(reading)).code
    assert ("qa", 1, ONE) == library.find(Reference("qa"))


async def _rest(work: Coroutine[Any, Any, object]) -> object:
    return go_on(work)


def test_the_newer_of_two_late_answers_counts(shop: Shop) -> None:
    """In whichever order they arrive."""
    library, _ = late(shop)
    other = shop.library()
    drive(other.create("qa", ONE))
    older = begin(library.fetch(Reference("qa", 1)))
    drive(other.add("qa", base=1, must_be_newest=True, content=TWO))
    newer = begin(library.fetch(Reference("qa", 2)))
    go_on(newer)
    go_on(older)
    assert ("qa", 2, TWO) == library.find(Reference("qa"))


def test_a_program_that_is_replaced_between_two_reads_is_read_again(shop: Shop) -> None:
    """Its head was read, and its version is gone."""
    relay = Relay(shop.store)
    other = shop.library()
    drive(other.create("qa", ONE))

    def meanwhile() -> None:
        if relay.read_count == 2:
            drive(other.delete("qa"))
            drive(other.create("qa", TWO))

    relay.reads = meanwhile
    assert ("qa", 2, TWO) == drive(shop.library(relay).fetch(Reference("qa")))


def test_a_write_that_is_cut_off_leaves_its_program_in_doubt(shop: Shop) -> None:
    """A task that is cancelled in a commit does not know whether it has happened."""
    relay = Relay(shop.store)
    library = shop.library(relay)
    drive(library.create("qa", ONE))

    def cancelled(changes: Sequence[Change]) -> None:
        raise KeyboardInterrupt

    relay.after = cancelled
    with pytest.raises(KeyboardInterrupt):
        drive(library.add("qa", base=1, must_be_newest=True, content=TWO))
    assert library.find(Reference("qa")) is None
    assert ("qa", 2, TWO) == drive(library.fetch(Reference("qa")))
