"""FAILs: an error crosses the wire whole, and whatever comes is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_protocol import CODES, DSPexError, decode_failure, encode_failure, encode_value, error


@pytest.mark.parametrize("code", CODES)
def test_each_code_crosses(code: str) -> None:
    """Code, class and all fields are the same on the other side."""
    sent = error(code, "what happened", details={"a": [1]}, maybe_executed=True, retry_after_ms=5)
    came = decode_failure(encode_failure(sent))
    assert type(sent) is type(came)
    names = ("code", "message", "details", "retryable", "maybe_executed", "retry_after_ms")
    assert [getattr(sent, name) for name in names] == [getattr(came, name) for name in names]


def test_details_without_a_form_are_left_out() -> None:
    """An error gets through, whatever a program put into its details."""
    came = decode_failure(encode_failure(error("program_failed", "it raised", details={"cause": object()})))
    assert ("program_failed", "it raised", {}) == (came.code, came.message, came.details)


def test_a_message_without_a_form_gets_through() -> None:
    """A lone surrogate in the text of an exception does not lose the error."""
    came = decode_failure(encode_failure(error("program_failed", "bad \ud800 text")))
    assert ("program_failed", "bad ? text") == (came.code, came.message)


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        7,
        {},
        {"code": 1},
        {"code": []},
        {"code": "no_such_code"},
        {"code": "internal", "message": 1},
    ],
    ids=repr,
)
def test_what_is_malformed_is_internal(fields: object) -> None:
    """A FAIL that makes no sense still ends its call."""
    assert "internal" == decode_failure(encode_value(fields)).code


@given(st.binary(max_size=40))
def test_any_bytes_are_an_error(payload: bytes) -> None:
    """Reading a FAIL never raises."""
    assert isinstance(decode_failure(payload), DSPexError)
