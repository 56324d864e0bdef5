"""Figures of a server in little room."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.cli.figures import (
    age_text,
    bytes_text,
    count_text,
    megabytes_text,
    milliseconds_text,
    money_text,
    name_text,
    rate_text,
    score_text,
)

MIB = 1024 * 1024
WRITERS = (
    age_text,
    bytes_text,
    count_text,
    megabytes_text,
    milliseconds_text,
    money_text,
    rate_text,
    score_text,
)


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (count_text, 0, "0"),
        (count_text, 9999, "9999"),
        (count_text, 12_345, "12.3k"),
        (count_text, 1_234_567, "1.2M"),
        (count_text, 2**64, "2e+19"),
        (score_text, 0.81251, "0.813"),
        (score_text, -12_345.0, "-12.3k"),
        (money_text, 1.205, "1.21"),
        (money_text, 12_345.0, "12.3k"),
        (rate_text, 812.34, "812.3"),
        (rate_text, 12_345.6, "12.3k"),
        (megabytes_text, 256 * MIB, "256.0"),
        (megabytes_text, 2048 * MIB, "2048"),
        (bytes_text, 17, "17 B"),
        (bytes_text, 1536, "1.5 kB"),
        (bytes_text, 300 * MIB, "300 MB"),
        (milliseconds_text, 0.0214, "0.02"),
        (milliseconds_text, 140.06, "140.1"),
        (milliseconds_text, 70_000, "70.0k"),
        (age_text, 59.9, "59s"),
        (age_text, 185, "3m05s"),
        (age_text, 7800, "2h10m"),
        (age_text, 5 * 86_400 + 3 * 3600, "5d03h"),
    ],
)
def test_a_figure_keeps_the_digits_that_count(
    write: Callable[[object], str], value: object, text: str
) -> None:
    """And its unit where the heading does not tell it."""
    assert text == write(value)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("value", [None, "12", True, [], float("nan"), float("inf"), 10**400])
def test_what_is_no_number_is_a_dash(write: Callable[[object], str], value: object) -> None:
    """An older server has not got the key, and a newer one may have made it something else."""
    assert "-" == write(value)


@given(st.floats(0, allow_infinity=False) | st.integers(0, 2**64), st.sampled_from(WRITERS))
def test_no_figure_breaks_its_column(value: float, write: Callable[[object], str]) -> None:
    """Six characters and perhaps a unit, however large it is."""
    assert len(write(value)) <= (9 if write is bytes_text else 7)


@given(st.text())
def test_no_name_can_steer_the_terminal(name: str) -> None:
    """Not by control characters, not by marks of direction, not by another line."""
    assert name_text(name).isprintable()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202eevil", "\\x202eevil"),
        ("", "-"),
        (None, "-"),
        (7, "7"),
        ({}, "-"),
    ],
)
def test_names_are_shown_as_they_are_written(name: object, text: str) -> None:
    """What cannot be printed is shown by its number."""
    assert text == name_text(name)


def test_a_name_is_cut_before_it_costs() -> None:
    """A tenant may be called by megabytes of control characters."""
    assert len(name_text("\x1b" * 10_000_000)) <= 1000
