"""Means, intervals and p-values: held against what is known of them, and the same each time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from random import Random
from statistics import fmean, stdev
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.evaluation import statistics
from dspex_pool.evaluation.statistics import (
    MAX_RESAMPLED,
    deviation_of,
    holm,
    interval_of,
    mean_of,
    percentiles_of,
)

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=60)


@given(SCORES)
def test_an_interval_holds_the_mean_and_stays_among_the_values(values: list[float]) -> None:
    """Whatever they are; the deviation is that of a sample."""
    low, high = interval_of(values, seed=1, confidence=0.95, resamples=200)
    assert low is not None
    assert high is not None
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert mean_of(values) == pytest.approx(fmean(values))
    assert deviation_of(values) == pytest.approx(stdev(values), abs=1e-12)


def test_of_too_few_values_there_is_no_interval() -> None:
    """Nor a deviation; of none not even a mean."""
    assert (None, None) == interval_of([0.5], seed=0, confidence=0.95)
    assert deviation_of([0.5]) is None
    assert mean_of([]) is None


def test_an_interval_covers_what_is_true_as_often_as_it_says() -> None:
    """Of 300 samples of 80 rows of which 70 % pass; a bootstrap is a little too narrow."""
    random = Random(5)
    hits = 0
    for number in range(300):
        values = [float(random.random() < 0.7) for _ in range(80)]
        low, high = interval_of(values, seed=number, confidence=0.9, resamples=400)
        assert low is not None
        assert high is not None
        hits += low <= 0.7 <= high
    assert 0.84 <= hits / 300 <= 0.95


def test_the_interval_of_many_is_that_of_the_bootstrap() -> None:
    """On both sides of the bound the two methods agree to a hundredth of a deviation."""
    random = Random(2)
    values = [random.betavariate(2, 1) for _ in range(MAX_RESAMPLED)]
    drawn = interval_of(values, seed=0, confidence=0.95, resamples=4000)
    normal = interval_of([*values, fmean(values)], seed=0, confidence=0.95)
    for one, other in zip(drawn, normal, strict=True):
        assert one == pytest.approx(other, abs=0.01 * stdev(values))
    assert drawn == interval_of(values, seed=0, confidence=0.95, resamples=4000)
    assert drawn != interval_of(values, seed=1, confidence=0.95, resamples=4000)


def test_a_large_evaluation_costs_no_more() -> None:
    """What is resampled is bounded."""
    random = Random(0)
    began_s = perf_counter()
    interval_of([random.random() for _ in range(100_000)], seed=0, confidence=0.95)
    assert perf_counter() - began_s < 5


def exact_p(differences: list[float]) -> float:
    """By all combinations of signs."""
    sizes = [abs(one) for one in differences]
    observed = abs(math.fsum(differences))
    every = list(itertools.product((-1, 1), repeat=len(sizes)))
    sums = [abs(math.fsum(map(math.prod, zip(sizes, signs, strict=True)))) for signs in every]
    return sum(one >= observed - 1e-9 for one in sums) / len(every)


def p_of(differences: Sequence[float], seed: int) -> float:
    """A p-value, without a pause."""
    work = statistics.p_value(differences, seed=seed)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return float(end.value)


def test_flips_are_made_a_slice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are served between them: of 100,000 rows each is a few flips; the value is the same."""
    monkeypatch.setattr(statistics, "FLIPS", 40)
    differences = [Random(n).uniform(-1, 1) for n in range(100_000)]
    assert 5 == len(list(statistics.p_value(differences, seed=1)))
    value = p_of(differences[:1000], seed=1)
    monkeypatch.setattr(statistics, "SLICE", 1)
    assert value == p_of(differences[:1000], seed=1)
    assert 40 == len(list(statistics.p_value(differences[:1000], seed=1)))


@given(st.lists(st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.125, 0.5, 1.0]), max_size=9))
def test_a_p_value_of_few_is_exact(differences: list[float]) -> None:
    """Rows without a difference say nothing."""
    assert p_of(differences, seed=0) == pytest.approx(exact_p(differences))


def test_of_yes_and_no_it_is_mcnemars() -> None:
    """The sign test of the rows that differ, both ways."""
    differences = [1.0] * 14 + [-1.0] * 4 + [0.0] * 100
    wanted = 2 * sum(math.comb(18, k) for k in range(14, 19)) / 2**18
    assert p_of(differences, seed=3) == pytest.approx(wanted, abs=0.006)
    assert p_of(differences, seed=3) == p_of([-one for one in differences], seed=3)


def test_without_a_difference_it_says_so_as_often_as_it_should() -> None:
    """One in ten is below a tenth where there is none; and a large one is found."""
    random = Random(8)
    found = sum(p_of([random.gauss(0, 0.3) for _ in range(12)], seed=n) < 0.1 for n in range(400))
    assert 0.06 <= found / 400 <= 0.14
    assert p_of([random.gauss(0.3, 0.3) for _ in range(100)], seed=0) == pytest.approx(1 / 10_001)
    assert 1.0 == p_of([], seed=0) == p_of([0.0, 0.0], seed=0)


def test_several_comparisons_are_adjusted_step_by_step() -> None:
    """The example of Holm's; never beyond 1, never out of order."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [1.0, 1.0] == holm([0.9, 0.8])
    assert [] == holm([])
    assert [0.04] == holm([0.04])


def test_percentiles_are_values_that_were_there() -> None:
    """The smallest one that is not below the share."""
    values = [float(n) for n in range(100, 0, -1)]
    assert [50, 90, 99, 100] == percentiles_of(values, [0.5, 0.9, 0.99, 1.0])
    assert [7, 7] == percentiles_of([7.0], [0.5, 1.0])
