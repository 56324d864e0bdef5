"""Rows are read a page ahead of those that are begun, and let go when they are settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.tasks import HandTasks

from dspex_pool.evaluation.examples import PAGE, Examples, Place, ReadRows
from dspex_protocol import DSPexError, encode_value, error


class Source(ReadRows):
    """Rows that are their numbers; a page of at most `fits`, or why there is none."""

    def __init__(self, fits: int = PAGE, fault: Exception | None = None) -> None:
        self.fits = fits
        self.fault = fault
        self.asked: list[tuple[int, int]] = []

    async def __call__(self, wanted: Sequence[int], /) -> list[bytes]:
        self.asked.append((wanted[0], len(wanted)))
        if self.fault is not None:
            raise self.fault
        return [encode_value(row) for row in wanted[: self.fits]]


class Begun:
    """Examples that are begun.

    Attributes:
        woken: How often there was more at hand.
        failures: Why there never will be.
    """

    def __init__(self, rows: int, source: Source) -> None:
        self.woken = 0
        self.failures: list[DSPexError] = []
        tasks: Any = HandTasks()
        self.examples = Examples([Place(n, 10 * n) for n in range(rows)], tasks, source)
        self.examples.begin(self._wake, self.failures.append)

    def _wake(self) -> None:
        self.woken += 1


def test_a_page_is_read_ahead() -> None:
    """Not before half of the one before is begun; each row once."""
    source = Source()
    begun = Begun(1200, source)
    assert (PAGE, [(0, PAGE)]) == (begun.examples.at_hand, source.asked)
    assert encode_value(0) == begun.examples.of(0)
    begun.examples.of(PAGE // 2 - 1)
    assert 1 == len(source.asked)
    assert encode_value(10 * (PAGE // 2)) == begun.examples.of(PAGE // 2)
    assert [(0, PAGE), (10 * PAGE, PAGE)] == source.asked
    begun.examples.of(2 * PAGE - 1)
    assert (10 * 2 * PAGE, 1200 - 2 * PAGE) == source.asked[-1]
    begun.examples.of(1199)
    assert (1200, 3, 3) == (begun.examples.at_hand, len(source.asked), begun.woken)


def test_a_page_may_be_short() -> None:
    """Rows may be long; what is missing comes with the next."""
    source = Source(fits=1)
    begun = Begun(3, source)
    for number in range(3):
        assert encode_value(10 * number) == begun.examples.of(number)
    assert [(0, 3), (10, 2), (20, 1)] == source.asked


def test_what_is_settled_is_let_go() -> None:
    """And all of it when nobody waits any more."""
    begun = Begun(1200, Source())
    for number in range(200):
        begun.examples.of(number)
        begun.examples.settled(number)
    with pytest.raises(KeyError):
        begun.examples.of(7)
    assert encode_value(2000) == begun.examples.of(200)
    begun.examples.left()
    with pytest.raises(KeyError):
        begun.examples.of(201)


@pytest.mark.parametrize(
    ("fault", "code"),
    [(error("store_unavailable", "gone"), "store_unavailable"), (KeyError("x"), "internal")],
)
def test_what_cannot_be_read_is_told_once(fault: Exception, code: str) -> None:
    """And not asked for again."""
    begun = Begun(1200, Source(fault=fault))
    assert [code] == [failure.code for failure in begun.failures]
    assert (0, 0) == (begun.examples.at_hand, begun.woken)


def test_nothing_is_read_of_no_rows() -> None:
    """There is nothing to ask for."""
    source = Source()
    assert 0 == Begun(0, source).examples.at_hand
    assert [] == source.asked
