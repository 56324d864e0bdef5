"""The retry budget: repeats are a bounded part of what succeeds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.retry_budget import RetryBudget, capacity_of


def repeat(budget: RetryBudget) -> bool:
    """Repeat a call, if that is allowed."""
    allowed = budget.allows
    if allowed:
        budget.spend()
    return allowed


def test_it_starts_full() -> None:
    """The first deaths need no successes before them."""
    budget = RetryBudget(3)
    assert [True, True, True, False] == [repeat(budget) for _ in range(4)]


def test_ten_successes_earn_a_repeat() -> None:
    """Exactly ten: tenths do not drift."""
    budget = RetryBudget(1)
    repeat(budget)
    for _ in range(1000):
        for _ in range(9):
            budget.earn()
        assert not budget.allows
        budget.earn()
        assert repeat(budget)


def test_what_is_full_stays_full() -> None:
    """A quiet year does not pay for a storm."""
    budget = RetryBudget(2)
    for _ in range(1000):
        budget.earn()
    assert 2.0 == budget.tokens


def test_spending_what_is_not_there_is_a_fault_of_ours() -> None:
    """Nobody asked."""
    budget = RetryBudget(1)
    budget.spend()
    with pytest.raises(AssertionError):
        budget.spend()


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=300))
def test_repeats_never_exceed_what_was_there_and_earned(capacity: int, successes: list[bool]) -> None:
    """In any order, and no more is left than was there at first."""
    budget = RetryBudget(capacity)
    repeats = earned = 0
    for success in successes:
        if success:
            earned += 1
            budget.earn()
        else:
            repeats += repeat(budget)
        assert repeats <= capacity + earned / 10
        assert 0 <= budget.tokens <= capacity


@pytest.mark.parametrize(("workers", "places", "expected"), [(1, 1, 100), (2, 16, 100), (8, 16, 256)])
def test_a_pool_may_lose_all_of_its_workers_twice(workers: int, places: int, expected: int) -> None:
    """And a small one a hundred calls."""
    assert expected == capacity_of(workers, places)
