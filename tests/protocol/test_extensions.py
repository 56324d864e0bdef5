"""Extension types: Python's own types, and what content is refused."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_protocol import Pairs, Tagged, Tensor, WireError, decode_value, encode_value
from dspex_protocol.extensions import (
    read_big_integer,
    read_decimal,
    read_tagged,
    read_tensor,
    write_big_integer,
)


@given(st.integers(-(2**400), 2**400))
def test_big_integers_take_the_fewest_bytes(value: int) -> None:
    """An integer is read as it was written, and one byte less would not hold it."""
    data = write_big_integer(value)
    assert value == read_big_integer(data)
    if len(data) > 1:
        with pytest.raises(OverflowError):
            value.to_bytes(len(data) - 1, "big", signed=True)


@given(st.decimals(allow_nan=False))
def test_decimals_keep_their_digits(value: Decimal) -> None:
    """1.50 stays 1.50."""
    assert str(value) == str(decode_value(encode_value(value)))


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("-NaN"), Decimal("sNaN")], ids=str)
def test_each_nan_is_nan(value: Decimal) -> None:
    """The wire has one NaN for decimals."""
    assert "NaN" == str(decode_value(encode_value(value)))


@pytest.mark.parametrize("exponent", [b"1E99999999999999999999", b"1E-99999999999999999999"])
def test_an_exponent_out_of_range_costs_nothing(exponent: bytes) -> None:
    """It is refused, or read without its digits being written out."""
    try:
        assert len(str(read_decimal(exponent))) < 60
    except WireError as fault:
        assert fault.code == "value_bad_extension"


@given(
    st.sampled_from(["bool", "i1", "u2", "f4", "f8"]),
    st.lists(st.integers(0, 4), max_size=4),
)
def test_tensors_need_exactly_their_bytes(dtype: str, shape: list[int]) -> None:
    """The bytes that the shape needs are read; one byte more is refused."""
    size = {"bool": 1, "i1": 1, "u2": 2, "f4": 4, "f8": 8}[dtype]
    for side in shape:
        size *= side
    assert Tensor(dtype, tuple(shape), bytes(size)) == read_tensor([dtype, shape, bytes(size)])
    with pytest.raises(WireError):
        read_tensor([dtype, shape, bytes(size + 1)])


@pytest.mark.parametrize(
    "value",
    [
        dt.date(2026, 2, 28),
        dt.time(23, 59, 59, 1),
        dt.datetime(2026, 2, 28, 12, 0, 0, 1),
        dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.timedelta(days=-1, microseconds=1),
        (),
        (1, (2, [3])),
        {1, 2, 3},
        Pairs({1: "a", None: "b"}),
        uuid.UUID(int=7),
        Tagged("no_such_tag", [1]),
    ],
    ids=repr,
)
def test_types_come_back(value: object) -> None:
    """A value of one of Python's types is read as that type."""
    read = decode_value(encode_value(value))
    assert (type(value), value) == (type(read), read)


def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    """A timestamp has no zone: what comes back is in UTC."""
    there = dt.datetime(2026, 2, 28, 12, tzinfo=dt.timezone(dt.timedelta(hours=5)))
    read = decode_value(encode_value(there))
    assert isinstance(read, dt.datetime)
    assert (there, dt.UTC) == (read, read.tzinfo)


def test_equal_sets_are_equal_bytes() -> None:
    """The order of a set's members is not the accident of their hashes."""
    assert encode_value({"b", "a", "c"}) == encode_value({"c", "b", "a"}) == encode_value(frozenset("abc"))


@pytest.mark.parametrize("parts", [None, [], ["t"], ["t", 1, 2], [1, 1], [b"t", 1], {"t": 1}], ids=repr)
def test_a_tagged_value_is_a_pair(parts: object) -> None:
    """Anything else is refused."""
    with pytest.raises(WireError, match="a tagged value is"):
        read_tagged(parts)
