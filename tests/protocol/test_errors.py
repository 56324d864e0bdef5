"""The table of codes, and the exceptions that it builds."""

from __future__ import annotations

import re

import pytest

from dspex_protocol import (
    CODES,
    CallerError,
    Fault,
    ProgramError,
    ServiceError,
    WireError,
    error,
    invalid_argument,
)
from dspex_protocol.errors import describe_value

from .notation import VECTORS, vectors

CLASSES = {
    Fault.WIRE: WireError,
    Fault.CALLER: CallerError,
    Fault.SERVICE: ServiceError,
    Fault.PROGRAM: ProgramError,
}


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_its_class_and_meaning(code: str) -> None:
    """A code's branch and whether a retry helps come from its row."""
    row, built = CODES[code], error(code, "what happened")
    assert (CLASSES[row.fault], row.retryable) == (type(built), built.retryable)
    assert re.fullmatch(r"[a-z0-9_]+", code)
    assert row.meaning.endswith(".")
    assert f"{code}: what happened" == str(built)


def test_codes_of_the_text_are_in_the_table() -> None:
    """Every code that section 1 to 3 of docs/protocol.md name exists."""
    text = (VECTORS.parents[1] / "docs" / "protocol.md").read_text().split("## 4.")[0]
    named = set(re.findall(r"`((?:frame|envelope|value)_[a-z_0-9]+)`", text))
    assert len(named) > 10
    assert named <= CODES.keys()


def test_codes_of_the_vectors_are_in_the_table() -> None:
    """A vector refuses under a code that exists."""
    named = {
        code
        for shape in ("value", "body")
        for one in vectors(shape)
        for code in [one.get("error", "internal")]
    }
    assert named <= CODES.keys()


def test_invalid_argument_names_all_three() -> None:
    """Field, what was expected, what came."""
    built = invalid_argument("a.b", "an integer", "x")
    assert "invalid_argument: a.b: expected an integer, got string 'x'" == str(built)
    assert {"field": "a.b", "expected": "an integer", "got": "string 'x'"} == built.details


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        (True, "true"),
        (7, "7"),
        (2**200, "a huge integer"),
        (1.5, "1.5"),
        ("short", "string 'short'"),
        ("x" * 41, "a string of 41 characters"),
        (b"abc", "3 bytes"),
        ({"a": 1}, "a map of 1"),
        ([1, 2], "an array of 2"),
        (object(), "object"),
    ],
)
def test_values_are_told_without_their_content(value: object, words: str) -> None:
    """Long text and bytes do not end up in an error."""
    assert words == describe_value(value)
