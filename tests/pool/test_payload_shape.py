"""The shape of a payload: what it tells, and that it tells no more."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool import payload_shape
from dspex_pool.payload_shape import MAX_PAYLOAD_BYTES, MAX_SHOWN_ENTRIES, shape_of
from dspex_protocol import FunctionReference, Tagged, Tensor, WireError, decode_value, encode_value

DEEP: object = {"a": [{"b": [1, {"c": "d"}]}, "e"]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "nil"),
        (True, "bool"),
        (12345, "int"),
        (-7, "int"),
        (2**80, "bigint(11)"),
        (1.5, "float"),
        ("text", "str(4)"),
        ("é" * 200, "str(400)"),
        (b"x" * 700, "bin(700)"),
        ([], "list[]"),
        ({}, "map{}"),
        ({"inputs": {"question": "why", "k": 3}}, "map{inputs: map{question: str(3), k: int}}"),
        ({"inputs": {"list": [1, 2], "map": {"x": 1}}}, "map{inputs: map{list: list(2), map: map(1)}}"),
        ([["a"], {"b": [1]}], "list[list[str(1)], map{b: list(1)}]"),
        ({"a": DEEP, "z": "end"}, "map{a: map{a: list(2)}, z: str(3)}"),
        (list(range(20)), f"list[{', '.join(['int'] * 16)}, and 4 more]"),
        ({"a": ["x"] * 17, "z": None}, f"map{{a: list[{', '.join(['str(1)'] * 16)}, and 1 more], z: nil}}"),
        ({"not a name": 1, "sk-123": 2, "a@b": 3, "ok_1": 4}, "map{?: int, ?: int, ?: int, ok_1: int}"),
        ({"n" * 40: 1, "n" * 41: 2}, f"map{{{'n' * 40}: int, ?: int}}"),
        ({"line\n": 1}, "map{?: int}"),
        (Decimal("1.50"), "decimal(4)"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "timestamp(4)"),
        (Tensor("u1", (3,), b"abc"), "tensor(11)"),
        (FunctionReference("secret"), "function(6)"),
        (Tagged("secret", {"key": "secret"}), "tagged(20)"),
    ],
)
def test_what_a_shape_tells(value: object, expected: str) -> None:
    """Types, sizes, and names in the two outer levels."""
    assert expected == shape_of(encode_value(value))


keys = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(keys, inner, max_size=20),
    max_leaves=30,
)


@given(values)
def test_the_reader_ends_where_the_payload_ends(value: object) -> None:
    """Every form of every type is stepped over, whatever is shown of it."""
    payload = encode_value(value)
    reader = payload_shape._Reader(payload)
    reader.value(0)
    assert len(payload) == reader._at


@pytest.mark.parametrize(
    "payload",
    [bytes.fromhex(text) for text in ("dc0001c0", "dd00000001c0", "de0001a161c0", "df00000001d90161c0")],
)
def test_long_headers_are_read_as_well(payload: bytes) -> None:
    """A sender need not write the shortest."""
    assert shape_of(payload) in ("list[nil]", "map{a: nil}")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x92\x01",
        b"\xc0\xc0",
        b"\x81\x01\x01",
        b"\x91" * 70 + b"\xc0",
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_what_breaks_a_rule_has_no_shape(payload: bytes) -> None:
    """It may be what killed the worker's decoder."""
    assert shape_of(payload) is None


def test_what_is_long_has_no_shape() -> None:
    """The event loop does not read megabytes for it."""
    bounds = [MAX_PAYLOAD_BYTES - 3, MAX_PAYLOAD_BYTES - 2]
    shapes = [shape_of(encode_value(b"x" * size)) for size in bounds]
    assert [f"bin({MAX_PAYLOAD_BYTES - 3})", None] == shapes


def test_a_shape_is_bounded() -> None:
    """However many names there are to tell."""
    entry = {f"{'n' * 37}{n:03}": 1.5 for n in range(100)}
    shape = shape_of(encode_value({f"{'m' * 37}{n:03}": entry for n in range(12)}))
    assert shape is not None
    assert len(shape) < 60 * MAX_SHOWN_ENTRIES**2


@given(values)
def test_no_text_but_names_is_told(value: object) -> None:
    """What is left without names, types and sizes is punctuation."""
    shape = shape_of(encode_value(value))
    assert shape is not None
    known = "nil|bool|int|bigint|float|str|bin|list|map|decimal|timestamp|tensor|function|tagged"
    rest = re.sub(r"(\?|[A-Za-z_][A-Za-z0-9_]{0,39}): ", "", shape)
    rest = re.sub(rf"({known})(?![a-z])(\(\d+\))?|and \d+ more", "", rest)
    assert set() == set(rest) - set("{}[], ")


def test_no_decoder_in_c_sees_the_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers died under it: the supervisor reads it in Python or not at all."""

    def crash(*arguments: object, **options: object) -> object:
        raise AssertionError("this would have been a segmentation fault")

    payload = encode_value({"a": Decimal(1)})
    monkeypatch.setattr(msgpack, "unpackb", crash)
    with pytest.raises(WireError):
        decode_value(payload)
    assert "map{a: decimal(1)}" == shape_of(payload)
