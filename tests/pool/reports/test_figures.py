"""Numbers in words, axes and bins: whatever comes, something that can be read."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.reports import job, report_of

from dspex_pool.reports import OfEvaluation, OfJob
from dspex_pool.reports.figures import (
    axis_around_zero,
    axis_of,
    bins_of,
    chance_text,
    duration_text,
    money_text,
    number_of,
    percent_text,
    quantile,
    score_text,
    signed_text,
)
from dspex_pool.reports.marks import in_line, marked
from dspex_pool.reports.plots import histogram, history, interval_strip
from dspex_pool.reports.trials import Trials, best_so_far

NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=50)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (score_text(0.5), "0.500"),
        (score_text(-0.00004), "\u22124e-05"),
        (score_text(None), "\u2013"),
        (signed_text(0.061), "+0.061"),
        (signed_text(-0.061), "\u22120.061"),
        (signed_text(0.0), "0.000"),
        (percent_text(0.95), "95 %"),
        (percent_text(0.6166), "61.7 %"),
        (chance_text(0.0004), "< 0.001"),
        (chance_text(0.0499), "0.050"),
        (duration_text(12.34), "12.3 ms"),
        (duration_text(1_234.0), "1.23 s"),
        (duration_text(812_340.0), "13.5 min"),
        (money_text(0.4), "$0.40"),
        (money_text(0.00123), "$0.00123"),
        (money_text(1_234.5), "$1,234.50"),
    ],
)
def test_a_number_is_said_with_the_digits_that_count(said: str, expected: str) -> None:
    """Signs are real minus signs; a tiny score does not become 0.000."""
    assert expected == said


@pytest.mark.parametrize("odd", [None, "0.5", math.nan, math.inf, 10**400, [], {}])
def test_what_is_no_finite_number_is_none(odd: object) -> None:
    """So that nothing is calculated with it."""
    assert number_of(odd) is None


@given(NUMBERS)
def test_an_axis_has_all_values_and_every_value_is_in_a_bin(values: list[float]) -> None:
    """However large, small or alike they are."""
    for axis in (axis_of(values), axis_around_zero(values)):
        assert axis.low < axis.high
        assert math.isfinite(axis.high - axis.low)
    assert len(values) == sum(bin_.values for bin_ in bins_of(values, axis_of(values)))


@given(NUMBERS)
def test_a_drawing_is_sound_whatever_it_shows(values: list[float]) -> None:
    """It is XML, has words, and no number in it is odd."""
    drawn = [
        histogram("scores", values, mean=values[0] if values else None),
        history("trials", [(value, n % 2 == 0) for n, value in enumerate(values)], values),
        interval_strip("mean", axis_of(values), *(values[:3] if len(values) > 2 else (None, None, None))),
    ]
    for drawing in drawn:
        root = ET.fromstring(drawing)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
        assert not {"nan", "inf", "-inf"} & {value for part in root.iter() for value in part.attrib.values()}


def test_a_quantile_is_one_of_the_values() -> None:
    """The smallest that so many do not exceed."""
    assert [1.0, 2.0, 4.0, None] == [
        quantile([1.0, 2.0, 3.0, 4.0], 0.25),
        quantile([1.0, 2.0, 3.0, 4.0], 0.5),
        quantile([1.0, 2.0, 3.0, 4.0], 1.0),
        quantile([], 0.5),
    ]


def test_marks_show_what_hides_and_leave_what_shapes() -> None:
    """Joiners of emoji and of Persian stay; line ends of Windows are line ends."""
    assert "a\u2039U+202E\u203ab\nc" == marked("a\u202eb\r\nc")
    assert "\U0001f469\u200d\U0001f680 \u0645\u06cc\u200c" == marked(
        "\U0001f469\u200d\U0001f680 \u0645\u06cc\u200c"
    )
    assert "one two…" == in_line("one \n two three four", 9)


def test_the_best_so_far_is_of_trials_on_all_rows() -> None:
    """One without a score changes nothing, nor a high score on a part of the rows."""
    told = [
        {"score": 0.2},
        {"score": None},
        {"score": 0.9, "full": False},
        {"score": 0.1},
        {"score": 0.5, "full": True},
    ]
    assert [0.2, 0.2, 0.2, 0.2, 0.5] == best_so_far(Trials({"result": {"history": told}}).all)


def test_trials_of_a_job_without_a_result_are_those_of_its_events() -> None:
    """Such as of one that runs, or has failed; its own word of what is best counts."""
    trials = Trials({"state": "running"})
    trials.add([{"type": "phase"}, {"type": "trial", "trial": 7, "score": 0.5, "is_best": True}])
    trials.add([{"type": "trial", "trial": 8, "score": 0.6, "is_best": False}])
    assert ["7", "8"] == [trial.name for trial in trials.all]
    assert [0.5, 0.5] == best_so_far(trials.all)


def test_a_report_of_an_empty_record_says_what_it_can() -> None:
    """It is better than none; a record of another version may lack anything."""
    for format_ in ("html", "markdown", "json", "csv"):
        report_of(OfEvaluation(evaluation={}), format_, [{}])
        report_of(OfJob(job={}), format_, [{}])
    assert "0.550" in report_of(OfJob(job=job()), "markdown", [])
