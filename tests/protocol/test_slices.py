"""A payload taken apart as bytes and put together again is the same payload."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dspex_protocol import WireError, decode_value, encode_value
from dspex_protocol.slices import cut_array, cut_map, is_array, is_map, join_array, join_map
from tests.support.wire_values import VALUES


@given(some.dictionaries(some.text(max_size=20), VALUES, max_size=20))
def test_a_map_comes_apart_and_together_again(entries: dict[str, object]) -> None:
    """Each piece is the value, encoded."""
    payload = encode_value(entries)
    pieces = cut_map(payload)
    assert {key: encode_value(value) for key, value in entries.items()} == pieces
    assert payload == join_map(pieces)
    assert is_map(payload)
    assert not is_array(payload)


@given(some.lists(VALUES, max_size=40))
def test_an_array_comes_apart_and_together_again(members: list[object]) -> None:
    """Also one that is too long for the short form of its header."""
    payload = encode_value(members)
    pieces = cut_array(payload)
    assert [encode_value(member) for member in members] == pieces
    assert payload == join_array(pieces)
    assert is_array(payload)
    assert not is_map(payload)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x81\xa1a", "value_truncated"),
        (b"\x81\xa1a\x01\x02", "value_trailing"),
        (b"\x82\xa1a\x01\xa1a\x02", "value_duplicate_key"),
        (b"\x81\x01\x02", "value_bad_key"),
        (b"\x81\xa1a\xc1", "value_reserved_byte"),
        (b"\xdf\xff\xff\xff\xff\xa1a", "value_truncated"),
    ],
)
def test_a_broken_map_is_named(payload: bytes, code: str) -> None:
    """With the code that a decoder gives."""
    with pytest.raises(WireError) as caught:
        cut_map(payload)
    assert code == caught.value.code
    with pytest.raises(WireError):
        decode_value(payload)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x92\x01", "value_truncated"),
        (b"\x91\x01\x02", "value_trailing"),
        (b"\x91\xc1", "value_reserved_byte"),
    ],
)
def test_a_broken_array_is_named(payload: bytes, code: str) -> None:
    """As a map is."""
    with pytest.raises(WireError) as caught:
        cut_array(payload)
    assert code == caught.value.code
