"""Values: any value that can be written is read again; what cannot be is refused."""

from __future__ import annotations

import datetime as dt
import enum
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_protocol import FunctionReference, Tagged, Tensor, WireError, decode_value, encode_value

from .notation import Vector, read_bytes, same, vectors

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
RICH = (
    PLAIN
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.sets(st.integers())
    | st.builds(FunctionReference, st.text("abc", min_size=1, max_size=128))
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    RICH,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.lists(inner).map(tuple)
        | st.builds(Tagged, st.text("xyz", min_size=1), inner)
    ),
    max_leaves=20,
)
# Item bombs are left out: to trace each of their allocations takes seconds, and test_scan counts them.
HOSTILE = [
    vector
    for vector in vectors("value")
    if vector["id"].startswith(("hostile.", "ext.bad.")) and not vector["id"].startswith("hostile.items.")
]


@given(VALUES)
def test_round_trip(value: object) -> None:
    """A value comes back in type and content."""
    assert same(value, decode_value(encode_value(value)))


@pytest.mark.parametrize("vector", [pytest.param(one, id=one["id"]) for one in HOSTILE])
def test_hostile_payloads_cost_no_memory(vector: Vector) -> None:
    """A refused payload costs at most a fixed sum and a few times its own length."""
    payload = read_bytes(vector)
    tracemalloc.start()
    with pytest.raises(WireError):
        decode_value(payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 + 16 * len(payload)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 7


@pytest.mark.parametrize(("value", "plain"), [(Colour.RED, "red"), (Level.HIGH, 7), ([Level.HIGH], [7])])
def test_subclasses_are_written_as_what_they_are(value: object, plain: object) -> None:
    """A member of an enum is a plain string or integer on the wire."""
    assert encode_value(plain) == encode_value(value)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        1j,
        "\ud800",
        [object()],
        {"a": {"b": object()}},
        2**40_000,
        Decimal("1" * 1025),
        Tagged("", 1),
        Tagged("t" * 65, 1),
        FunctionReference(""),
        FunctionReference("f" * 129),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_form_is_unencodable(value: object) -> None:
    """It is refused by the one who writes, under one code."""
    with pytest.raises(WireError) as fault:
        encode_value(value)
    assert "value_unencodable" == fault.value.code


def test_a_value_within_itself_is_unencodable() -> None:
    """An endless list ends in an error."""
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(WireError) as fault:
        encode_value(endless)
    assert "value_unencodable" == fault.value.code


def test_a_large_tensor_is_carried_whole() -> None:
    """The bytes of a tensor are not looked at, whatever they resemble."""
    tensor = Tensor("u1", (1 << 20,), b"\x91" * (1 << 20))
    assert tensor == decode_value(encode_value(tensor))
