"""The statistic, against slopes that are known."""

from __future__ import annotations

from random import Random

import pytest

from .slope import Slope, theil_sen

XS = [float(x) for x in range(0, 20_000, 100)]


def line(slope: float, noise: float = 0.0, seed: int = 1) -> list[float]:
    """Samples of a line with noise of that standard deviation."""
    random = Random(seed)
    return [1e7 + slope * x + random.gauss(0, noise) for x in XS]


@pytest.mark.parametrize("slope", [0.0, 0.5, 64.0, -2.0])
def test_a_clean_line_has_its_slope(slope: float) -> None:
    """Without noise all three numbers are the slope."""
    found = theil_sen(XS, line(slope))
    assert [slope] * 3 == pytest.approx([found.lower, found.middle, found.upper], abs=1e-6)


def test_the_limits_hold_the_true_slope_as_often_as_they_say() -> None:
    """Of 200 noisy lines about 95 % have the true slope within the limits."""
    xs = XS[::5]
    held = 0
    for seed in range(200):
        found = theil_sen(xs, line(3.0, noise=5000, seed=seed)[::5])
        held += found.lower <= 3.0 <= found.upper
    assert 180 <= held <= 199


def test_more_samples_make_it_surer() -> None:
    """The limits come closer together."""
    ys = line(3.0, noise=5000)
    few, many = theil_sen(XS[::10], ys[::10]), theil_sen(XS, ys)
    assert many.upper - many.lower < few.upper - few.lower


def test_jumps_and_outliers_do_not_move_it() -> None:
    """One step of a megabyte, and every tenth sample far off, leave the slope where it is."""
    ys = [
        y + (1e6 if x > 15_000 else 0) + (1e8 if n % 10 == 3 else 0)
        for n, (x, y) in enumerate(zip(XS, line(1.0), strict=True))
    ]
    assert 1.0 == pytest.approx(theil_sen(XS, ys).middle, abs=0.5)


def test_stairs_count_as_their_slope() -> None:
    """Memory comes in pages: a leak of one byte a call is a step of 4,096 now and then."""
    ys = [float(int(x) // 4096 * 4096) for x in XS]
    found = theil_sen(XS, ys)
    assert found.lower < 1.0 < found.upper + 0.1
    assert 1.0 == pytest.approx(found.middle, abs=0.1)


def test_what_stands_still_has_no_slope() -> None:
    """Not even limits."""
    assert Slope(lower=0.0, middle=0.0, upper=0.0) == theil_sen(XS, [5.0] * len(XS))


@pytest.mark.parametrize(("xs", "ys"), [([1.0, 2.0], [1.0, 2.0]), (XS, XS[1:])])
def test_too_few_samples_are_refused(xs: list[float], ys: list[float]) -> None:
    """A slope of two points would say nothing."""
    with pytest.raises(ValueError, match="expected at least 8 pairs"):
        theil_sen(xs, ys)
