"""Values of every MessagePack type; the bytes are written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .notation import Hex, Vector, vector


def both(name: str, data: Hex, value: Any, about: str = "") -> Vector:
    """A value and exactly the bytes that an encoder writes."""
    return vector(f"value.{name}", "3", data, about, value=value, direction="both")


def decode(name: str, data: Hex, value: Any, about: str = "") -> Vector:
    """Bytes that are legal although an encoder writes others."""
    return vector(f"value.{name}", "3", data, about, value=value, direction="decode")


def big(text: str) -> dict[str, str]:
    """An integer that JSON cannot hold."""
    return {"$int": text}


def real(text: str) -> dict[str, str]:
    """A float."""
    return {"$float": text}


def numbered(count: int) -> dict[str, int]:
    """A map of so many keys `a`, `b` and so on to 0, 1 and so on."""
    return {chr(97 + number): number for number in range(count)}


def numbered_hex(count: int) -> str:
    """The entries of `numbered`, without the header."""
    return "".join(f"a1{97 + number:02x}{number:02x}" for number in range(count))


CONSTANTS = [
    both("nil", "c0", None),
    both("false", "c2", False),
    both("true", "c3", True),
]

INTEGERS = [
    both("int.0", "00", 0),
    both("int.7", "07", 7),
    both("int.127", "7f", 127, "the largest positive fixint"),
    both("int.128", "cc 80", 128, "the first uint 8"),
    both("int.255", "cc ff", 255),
    both("int.256", "cd 0100", 256, "the first uint 16"),
    both("int.65535", "cd ffff", 65535),
    both("int.65536", "ce 00010000", 65536, "the first uint 32"),
    both("int.2^32-1", "ce ffffffff", 4294967295),
    both("int.2^32", "cf 0000000100000000", 4294967296, "the first uint 64"),
    both("int.2^53-1", "cf 001fffffffffffff", 9007199254740991),
    both("int.2^53", "cf 0020000000000000", big("9007199254740992")),
    both("int.2^63-1", "cf 7fffffffffffffff", big("9223372036854775807")),
    both("int.2^63", "cf 8000000000000000", big("9223372036854775808")),
    both("int.2^64-1", "cf ffffffffffffffff", big("18446744073709551615"), "the largest MessagePack integer"),
    both("int.-1", "ff", -1),
    both("int.-32", "e0", -32, "the least negative fixint"),
    both("int.-33", "d0 df", -33, "the first int 8"),
    both("int.-128", "d0 80", -128),
    both("int.-129", "d1 ff7f", -129, "the first int 16"),
    both("int.-32768", "d1 8000", -32768),
    both("int.-32769", "d2 ffff7fff", -32769, "the first int 32"),
    both("int.-2^31", "d2 80000000", -2147483648),
    both("int.-2^31-1", "d3 ffffffff7fffffff", -2147483649, "the first int 64"),
    both("int.-2^63", "d3 8000000000000000", big("-9223372036854775808"), "the least MessagePack integer"),
    decode("int.wide.uint8", "cc 07", 7, "7 as uint 8"),
    decode("int.wide.uint16", "cd 0007", 7, "7 as uint 16"),
    decode("int.wide.uint32", "ce 00000007", 7, "7 as uint 32"),
    decode("int.wide.uint64", "cf 0000000000000007", 7, "7 as uint 64"),
    decode("int.wide.int8", "d0 07", 7, "7 as int 8"),
    decode("int.wide.int16", "d1 ffff", -1, "-1 as int 16"),
    decode("int.wide.int32", "d2 ffffffff", -1, "-1 as int 32"),
    decode("int.wide.int64", "d3 ffffffffffffffff", -1, "-1 as int 64"),
]

FLOATS = [
    both("float.0", "cb 0000000000000000", real("0.0"), "a float stays a float"),
    both("float.-0", "cb 8000000000000000", real("-0.0")),
    both("float.1", "cb 3ff0000000000000", real("1.0")),
    both("float.1.5", "cb 3ff8000000000000", real("1.5")),
    both("float.-0.1", "cb bfb999999999999a", real("-0.1")),
    both("float.max", "cb 7fefffffffffffff", real("1.7976931348623157e308")),
    both("float.min", "cb 0000000000000001", real("5.0e-324"), "the least subnormal"),
    both("float.inf", "cb 7ff0000000000000", real("inf")),
    both("float.-inf", "cb fff0000000000000", real("-inf")),
    both("float.nan", "cb 7ff8000000000000", real("nan")),
    decode("float.nan.negative", "cb fff8000000000001", real("nan"), "NaN with sign and content"),
    decode("float32.1.5", "ca 3fc00000", real("1.5")),
    decode("float32.0.1", "ca 3dcccccd", real("0.10000000149011612"), "the nearest float 32 to 0.1"),
    decode("float32.inf", "ca 7f800000", real("inf")),
    decode("float32.-inf", "ca ff800000", real("-inf")),
    decode("float32.nan", "ca 7fc00000", real("nan")),
]

STRINGS = [
    both("str.empty", "a0", ""),
    both("str.a", "a1 61", "a"),
    both("str.nul", "a3 610062", "a\x00b", "NUL is a character like any other"),
    both("str.quote", "a2 225c", '"\\'),
    both("str.umlaut", "a2 c3bc", "\u00fc"),
    both("str.euro", "a3 e282ac", "\u20ac"),
    both("str.emoji", "a4 f09f9880", "\U0001f600"),
    both("str.last", "a4 f48fbfbf", "\U0010ffff", "the last code point"),
    both("str.31", ["bf", {"repeat": "61", "count": 31}], {"$text": ["a", 31]}, "the longest fixstr"),
    both("str.32", ["d9 20", {"repeat": "61", "count": 32}], {"$text": ["a", 32]}, "the first str 8"),
    both("str.255", ["d9 ff", {"repeat": "61", "count": 255}], {"$text": ["a", 255]}),
    both("str.256", ["da 0100", {"repeat": "61", "count": 256}], {"$text": ["a", 256]}, "the first str 16"),
    both("str.65535", ["da ffff", {"repeat": "61", "count": 65535}], {"$text": ["a", 65535]}),
    both(
        "str.65536",
        ["db 00010000", {"repeat": "61", "count": 65536}],
        {"$text": ["a", 65536]},
        "the first str 32",
    ),
    both(
        "str.bytes",
        ["d9 20", {"repeat": "c3bc", "count": 16}],
        {"$text": ["\u00fc", 16]},
        "lengths count bytes",
    ),
    decode("str.wide.8", "d9 01 61", "a", "a as str 8"),
    decode("str.wide.16", "da 0001 61", "a", "a as str 16"),
    decode("str.wide.32", "db 00000001 61", "a", "a as str 32"),
]

BINARIES = [
    both("bin.empty", "c4 00", {"$bin": ""}),
    both("bin.1", "c4 01 61", {"$bin": "61"}, "bytes are not a string"),
    both("bin.any", "c4 04 00ff80c1", {"$bin": "00ff80c1"}, "any bytes at all"),
    both("bin.255", ["c4 ff", {"repeat": "00", "count": 255}], {"$bytes": ["00", 255]}),
    both("bin.256", ["c5 0100", {"repeat": "00", "count": 256}], {"$bytes": ["00", 256]}, "the first bin 16"),
    both("bin.65535", ["c5 ffff", {"repeat": "00", "count": 65535}], {"$bytes": ["00", 65535]}),
    both("bin.65536", ["c6 00010000", {"repeat": "00", "count": 65536}], {"$bytes": ["00", 65536]}),
    decode("bin.wide.16", "c5 0001 61", {"$bin": "61"}, "one byte as bin 16"),
    decode("bin.wide.32", "c6 00000001 61", {"$bin": "61"}, "one byte as bin 32"),
]

ARRAYS = [
    both("array.empty", "90", []),
    both("array.1", "91 c0", [None]),
    both("array.mixed", "94 01 a1 61 c3 c4 01 00", [1, "a", True, {"$bin": "00"}]),
    both("array.nested", "91 91 91 90", [[[[]]]]),
    both("array.15", ["9f", {"repeat": "01", "count": 15}], {"$list": [1, 15]}, "the longest fixarray"),
    both("array.16", ["dc 0010", {"repeat": "01", "count": 16}], {"$list": [1, 16]}, "the first array 16"),
    both("array.65535", ["dc ffff", {"repeat": "01", "count": 65535}], {"$list": [1, 65535]}),
    both("array.65536", ["dd 00010000", {"repeat": "01", "count": 65536}], {"$list": [1, 65536]}),
    decode("array.wide.16", "dc 0001 01", [1], "one item as array 16"),
    decode("array.wide.32", "dd 00000001 01", [1], "one item as array 32"),
]

MAPS = [
    both("map.empty", "80", {}),
    both("map.1", "81 a1 61 01", {"a": 1}),
    both("map.nil", "81 a1 61 c0", {"a": None}, "an entry that is nil is an entry"),
    both("map.empty_key", "81 a0 01", {"": 1}),
    both("map.two", "82 a1 61 01 a2 6161 02", {"a": 1, "aa": 2}),
    both("map.case", "82 a1 41 01 a1 61 02", {"A": 1, "a": 2}, "keys are equal only when their bytes are"),
    both("map.dollar", "81 a4 24 696e74 01", {"$map": [["$int", 1]]}),
    both(
        "map.nested",
        "81 a1 61 81 a1 61 81 a1 61 80",
        {"a": {"a": {"a": {}}}},
        "the same key in different maps",
    ),
    both("map.15", "8f" + numbered_hex(15), numbered(15), "the largest fixmap"),
    both("map.16", "de 0010" + numbered_hex(16), numbered(16), "the first map 16"),
    decode(
        "map.normal_forms",
        "82 a2 c3bc 01 a3 75cc88 02",
        {"\u00fc": 1, "u\u0308": 2},
        "no Unicode normalisation",
    ),
    decode("map.order", "82 a1 62 02 a1 61 01", {"a": 1, "b": 2}, "the order of keys means nothing"),
    decode("map.wide.16", "de 0001 a1 61 01", {"a": 1}, "one entry as map 16"),
    decode("map.wide.32", "df 00000001 a1 61 01", {"a": 1}, "one entry as map 32"),
    decode("map.wide.key", "81 d9 01 61 01", {"a": 1}, "a key with a longer header is the same key"),
    both(
        "array.of_maps",
        "93 81 a1 61 01 81 a1 61 02 81 a1 61 03",
        [{"a": 1}, {"a": 2}, {"a": 3}],
    ),
]


def _nested(levels: int, wrap: Callable[[Any], Any], innermost: Any) -> Any:
    for _ in range(levels):
        innermost = wrap(innermost)
    return innermost


ARRAYS_64 = _nested(63, lambda inner: [inner], [])
MAPS_64 = _nested(63, lambda inner: {"a": inner}, {})

LIMITS = [
    both(
        "depth.64",
        [{"repeat": "91", "count": 63}, "90"],
        ARRAYS_64,
        "64 arrays in each other: the deepest that is allowed",
    ),
    both("depth.64.maps", [{"repeat": "81a161", "count": 63}, "80"], MAPS_64, "64 maps in each other"),
    both(
        "items.1048576",
        ["dd 000fffff", {"repeat": "c0", "count": 1_048_575}],
        {"$list": [None, 1_048_575]},
        "1,048,576 items with the array itself: the most that is allowed",
    ),
]

VECTORS = [*CONSTANTS, *INTEGERS, *FLOATS, *STRINGS, *BINARIES, *ARRAYS, *MAPS, *LIMITS]
