"""The scan, the slow and exact check, agrees with the fast decoder."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_protocol import WireError, decode_value, encode_value
from dspex_protocol.limits import MAX_ITEMS
from dspex_protocol.scan import scan
from tests.fuzz.mutation import mutate
from tests.fuzz.oracle import check_value

from .notation import Vector, read_bytes, vectors
from .test_codec import VALUES

CASES = [pytest.param(vector, id=vector["id"]) for vector in vectors("value")]


@pytest.mark.parametrize("vector", CASES)
def test_vectors(vector: Vector) -> None:
    """The scan refuses what the vectors refuse, but does not read inside extensions."""
    payload = read_bytes(vector)
    codes = [vector.get("error"), *vector.get("or", [])]
    try:
        scan(payload)
    except WireError as fault:
        assert fault.code in codes
    else:
        assert vector.get("error") in (None, "value_bad_extension")


@settings(max_examples=300)
@given(VALUES, st.randoms(use_true_random=False))
def test_agreement_on_bent_values(value: object, chance: random.Random) -> None:
    """A few bytes of a good payload changed: both accept it or both refuse it."""
    payload = encode_value(value)
    assert check_value(payload)
    check_value(mutate(payload, payload, chance))


@given(st.binary(max_size=40))
def test_agreement_on_noise(payload: bytes) -> None:
    """Any bytes at all: both accept them or both refuse them."""
    check_value(payload)


@pytest.mark.parametrize(
    ("value", "items"),
    [(None, 1), ([], 1), ([1, 2], 3), ({"a": 1}, 3), ({"a": [1]}, 4), ((1,), 5), ("abc", 1)],
    ids=repr,
)
def test_items_are_counted(value: object, items: int) -> None:
    """Each value, each key and each container counts; a tuple is extension, pair, tag, array and item."""
    assert items == scan(encode_value(value))


def test_the_item_limit_is_exact() -> None:
    """The last item that is allowed is read, the next is refused, by both."""
    most = b"\xdd" + (MAX_ITEMS - 1).to_bytes(4, "big") + b"\xc0" * (MAX_ITEMS - 1)
    assert MAX_ITEMS == scan(most)
    one_more = b"\xdd" + MAX_ITEMS.to_bytes(4, "big") + b"\xc0" * MAX_ITEMS
    for check in (scan, decode_value):
        with pytest.raises(WireError) as fault:
            check(one_more)
        assert "value_too_many_items" == fault.value.code
