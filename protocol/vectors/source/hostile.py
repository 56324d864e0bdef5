"""Payloads that must be refused; the bytes are written by hand."""

from __future__ import annotations

from .notation import Hex, Vector, vector


def refused(name: str, data: Hex, code: str, about: str, *others: str) -> Vector:
    """Bytes and the code, or codes, that they are refused with."""
    fields: dict[str, object] = {"error": code}
    if others:
        fields["or"] = list(others)
    return vector(f"hostile.{name}", "3", data, about, **fields)


def repeated(piece: str, count: int, *rest: str) -> Hex:
    """A piece many times, and what follows."""
    return [{"repeat": piece, "count": count}, *rest]


TRUNCATED, BOMB = "value_truncated", "value_too_many_items"

CUT = [
    refused("cut.nothing", "", TRUNCATED, "no value at all"),
    *(
        refused(f"cut.{name}", data, TRUNCATED, "the value ends too early")
        for name, data in {
            "uint8": "cc",
            "uint16": "cd 01",
            "uint32": "ce 010203",
            "uint64": "cf 01020304050607",
            "float32": "ca 000000",
            "float64": "cb 00000000000000",
            "fixstr": "a2 61",
            "str8": "d9",
            "str8.content": "d9 02 61",
            "str16": "da 00",
            "str32": "db 000000",
            "bin8": "c4 02 61",
            "bin16": "c5 01",
            "bin32": "c6 000000",
            "fixarray": "92 01",
            "array16": "dc 00",
            "array32": "dd 000000",
            "fixmap.key": "81",
            "fixmap.value": "81 a1 61",
            "map16": "de 0002 a1 61 01",
            "fixext1": "d4 05",
            "fixext16": "d8 01 00",
            "ext8": "c7",
            "ext8.type": "c7 04",
            "ext16": "c8 0004 01 00",
            "ext32": "c9 00000004 01 00",
        }.items()
    ),
]

LENGTH_BOMBS = [
    refused("length.str32", "db ffffffff 61", TRUNCATED, "a string of 4 GiB in 6 bytes"),
    refused("length.bin32", "c6 ffffffff 61", TRUNCATED, "4 GiB of bytes in 6 bytes"),
    refused("length.array32", "dd ffffffff c0", TRUNCATED, "4,294,967,295 items in 6 bytes", BOMB),
    refused("length.map32", "df ffffffff a1 61 c0", TRUNCATED, "4,294,967,295 entries in 8 bytes", BOMB),
    refused("length.ext32", "c9 ffffffff 01 00", TRUNCATED, "an extension of 4 GiB"),
    refused(
        "length.array32.nested",
        repeated("dd 000f0000".replace(" ", ""), 60),
        TRUNCATED,
        "60 arrays of 983,040",
        BOMB,
    ),
    refused(
        "length.array32.padded",
        [{"repeat": "dd00080000", "count": 60}, {"repeat": "c0", "count": 524_288}],
        TRUNCATED,
        "60 arrays that each claim all of half a megabyte",
        BOMB,
    ),
]

DEPTH = [
    refused("depth.65", repeated("91", 64, "90"), "value_too_deep", "65 arrays in each other"),
    refused("depth.65.maps", repeated("81a161", 64, "80"), "value_too_deep", "65 maps in each other"),
    refused("depth.65.mixed", repeated("9181a161", 32, "90"), "value_too_deep", "arrays and maps by turns"),
    refused(
        "depth.65.wide", repeated("dd00000001", 64, "90"), "value_too_deep", "65 arrays with long headers"
    ),
    refused("depth.million", repeated("91", 1_000_000, "c0"), "value_too_deep", "a million arrays"),
    refused("depth.open", repeated("91", 100_000), "value_too_deep", "arrays without an end", TRUNCATED),
    refused("depth.leaf", [{"repeat": "91", "count": 64}, "91 c0"], "value_too_deep", "65 arrays around nil"),
]

ITEMS = [
    refused(
        "items.1048577",
        ["dd 00100000", {"repeat": "c0", "count": 1_048_576}],
        BOMB,
        "one item too many, the array itself counts",
    ),
    refused(
        "items.maps", ["dd 00f00000", {"repeat": "80", "count": 15_728_640}], BOMB, "15 MiB of empty maps"
    ),
    refused(
        "items.arrays", ["dd 00f00000", {"repeat": "90", "count": 15_728_640}], BOMB, "15 MiB of empty arrays"
    ),
]

KEYS = [
    refused("key.twice", "82 a1 61 01 a1 61 02", "value_duplicate_key", "the same key twice"),
    refused("key.twice.same", "82 a1 61 01 a1 61 01", "value_duplicate_key", "the same entry twice"),
    refused(
        "key.twice.header",
        "82 a1 61 01 d9 01 61 02",
        "value_duplicate_key",
        "the same key with another header",
    ),
    refused(
        "key.twice.header32", "82 db 00000001 61 01 da 0001 61 02", "value_duplicate_key", "two long headers"
    ),
    refused("key.twice.empty", "82 a0 01 a0 02", "value_duplicate_key", "the empty key twice"),
    refused(
        "key.twice.apart", "83 a1 61 01 a1 62 01 a1 61 02", "value_duplicate_key", "with another key between"
    ),
    refused("key.twice.deep", "91 81 a1 6b 82 a1 61 01 a1 61 02", "value_duplicate_key", "in a map within"),
    refused(
        "key.twice.tagged", "c7 0a 05 92 a1 74 82 a1 61 01 a1 61 02", "value_duplicate_key", "in an extension"
    ),
    *(
        refused(f"key.{name}", f"81 {data} 01", "value_bad_key", f"a key that is {about}")
        for name, data, about in (
            ("nil", "c0", "nil"),
            ("true", "c3", "a boolean"),
            ("int", "01", "an integer"),
            ("float", "cb 3ff0000000000000", "a float"),
            ("nan", "cb 7ff8000000000000", "NaN"),
            ("bin", "c4 01 61", "bytes"),
            ("array", "90", "an array"),
            ("map", "80", "a map"),
            ("timestamp", "d6 ff 00000000", "a timestamp"),
            ("bigint", "d4 01 07", "a big integer"),
        )
    ),
]

TEXT = [
    refused(f"utf8.{name}", data, "value_bad_utf8", about)
    for name, data, about in (
        ("ff", "a1 ff", "a byte that UTF-8 never has"),
        ("continuation", "a1 80", "a continuation byte alone"),
        ("cut", "a2 e282", "a character that ends too early"),
        ("overlong", "a2 c080", "NUL in two bytes"),
        ("surrogate", "a3 eda080", "half of a surrogate pair"),
        ("beyond", "a4 f4908080", "beyond U+10FFFF"),
        ("key", "81 a1 ff 01", "in a key"),
        ("second", "92 a1 61 a1 ff", "in the second of two strings"),
        ("str8", "d9 01 ff", "in a str 8"),
    )
]

UNKNOWN = [
    refused(f"ext.{name}", data, "value_unknown_extension", about)
    for name, data, about in (
        ("0", "d4 00 00", "type 0"),
        ("6", "d4 06 00", "type 6, the first free one"),
        ("127", "d4 7f 00", "type 127"),
        ("-2", "d4 fe 00", "type -2, reserved by MessagePack"),
        ("-128", "d4 80 00", "type -128"),
        ("empty", "c7 00 06", "without content"),
        ("deep", "91 81 a1 61 c8 0001 06 00", "in a map in an array"),
    )
]

STRAY = [
    refused("c1", "c1", "value_reserved_byte", "the byte that MessagePack never uses"),
    refused("c1.in_array", "92 01 c1", "value_reserved_byte", "in an array"),
    refused("c1.as_value", "81 a1 61 c1", "value_reserved_byte", "as a map's value"),
    refused("c1.in_tagged", "d6 05 92 a1 74 c1", "value_reserved_byte", "in an extension"),
    refused("trailing.nil", "c0 c0", "value_trailing", "a second value"),
    refused("trailing.c1", "c0 c1", "value_trailing", "a stray byte", "value_reserved_byte"),
    refused("trailing.array", "91 01 02", "value_trailing", "more than the array says"),
    refused(
        "trailing.json", "7b 22 61 22 3a 31 7d", "value_trailing", "JSON reads as the integer 123 and a rest"
    ),
    refused(
        "trailing.many",
        ["01", {"repeat": "00", "count": 100_000}],
        "value_trailing",
        "100,000 bytes after it",
    ),
]

VECTORS = [*CUT, *LENGTH_BOMBS, *DEPTH, *ITEMS, *KEYS, *TEXT, *UNKNOWN, *STRAY]
