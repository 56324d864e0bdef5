"""The extension types and tags, good and malformed; the bytes are written by hand."""

from __future__ import annotations

from typing import Any

from .notation import Hex, Vector, vector
from .values import big


def both(name: str, data: Hex, value: Any, about: str = "") -> Vector:
    """A value and exactly the bytes that an encoder writes."""
    return vector(f"ext.{name}", "3.1", data, about, value=value, direction="both")


def decode(name: str, data: Hex, value: Any, about: str = "") -> Vector:
    """Bytes that are legal although an encoder writes others."""
    return vector(f"ext.{name}", "3.1", data, about, value=value, direction="decode")


def bad(name: str, data: Hex, about: str, code: str = "value_bad_extension", *others: str) -> Vector:
    """Malformed content."""
    fields: dict[str, Any] = {"error": code}
    if others:
        fields["or"] = list(others)
    return vector(f"ext.bad.{name}", "3.1", data, about, **fields)


def text(content: str) -> str:
    """ASCII as hexadecimal."""
    return content.encode("ascii").hex()


def tagged(tag: str, content: str) -> str:
    """The bytes of a tagged value around its content's bytes."""
    inside = f"92{0xA0 | len(tag):02x}{text(tag)}{content.replace(' ', '')}"
    size = len(inside) // 2
    fixed = {1: "d4", 2: "d5", 4: "d6", 8: "d7", 16: "d8"}.get(size)
    return (fixed or f"c7{size:02x}") + "05" + inside


def tag(name: str, kind: str, content: str, value: Any, about: str = "") -> Vector:
    """A tagged value, good."""
    return both(name, tagged(kind, content), {"$tagged": [kind, value]}, about)


def fixstr(content: str) -> str:
    """A string of up to 255 ASCII characters."""
    data = text(content)
    size = len(data) // 2
    return (f"{0xA0 | size:02x}" if size < 32 else f"d9{size:02x}") + data


def when(seconds: Any, nanoseconds: int = 0) -> dict[str, Any]:
    """A timestamp."""
    return {"$timestamp": [seconds, nanoseconds]}


TIMESTAMPS = [
    both("timestamp.epoch", "d6 ff 00000000", when(0)),
    both("timestamp.32.max", "d6 ff ffffffff", when(2**32 - 1), "the last of 4 bytes"),
    both("timestamp.64.first", "d7 ff 0000000100000000", when(2**32), "the first whole second of 8 bytes"),
    both("timestamp.64.us", "d7 ff 00000fa000000000", when(0, 1000), "one microsecond"),
    both(
        "timestamp.64.fraction", "d7 ff ee6b1860 00000001", when(1, 999_999_000), "0.999999 s after second 1"
    ),
    both("timestamp.64.max", "d7 ff 00000003ffffffff", when(2**34 - 1), "the last second of 8 bytes"),
    both("timestamp.96.first", "c7 0c ff 00000000 0000000400000000", when(2**34)),
    both("timestamp.96.-1", "c7 0c ff 00000000 ffffffffffffffff", when(-1), "before 1970"),
    both(
        "timestamp.96.fraction",
        "c7 0c ff 1dcd6500 ffffffffffffffff",
        when(-1, 500_000_000),
        "half a second before 1970",
    ),
    both(
        "timestamp.96.year1",
        "c7 0c ff 00000000 fffffff1886e0900",
        when(-62135596800),
        "0001-01-01, the first allowed",
    ),
    both(
        "timestamp.96.year9999",
        "c7 0c ff 00000000 0000003afff4417f",
        when(253402300799),
        "9999-12-31T23:59:59",
    ),
    decode(
        "timestamp.ns",
        "d7 ff 0000000400000000",
        when(0, 1),
        "one nanosecond; a receiver may round down to microseconds",
    ),
    decode("timestamp.ns.max", "d7 ff ee6b27fc 00000000", when(0, 999_999_999), "the most nanoseconds"),
    decode("timestamp.wide.64", "d7 ff 0000000000000001", when(1), "8 bytes where 4 would do"),
    decode("timestamp.wide.96", "c7 0c ff 00000000 0000000000000001", when(1), "12 bytes where 4 would do"),
    decode("timestamp.wide.header", "c7 04 ff 00000001", when(1), "ext 8 where fixext 4 would do"),
    decode(
        "timestamp.wide.header64", "c8 0008 ff 0000000000000001", when(1), "ext 16 where fixext 8 would do"
    ),
    bad("timestamp.1", "d4 ff 00", "one byte"),
    bad("timestamp.0", "c7 00 ff", "no bytes"),
    bad("timestamp.16", "d8 ff 00000000000000000000000000000000", "16 bytes"),
    bad("timestamp.64.ns", "d7 ff ee6b2800 00000000", "1,000,000,000 nanoseconds"),
    bad("timestamp.64.ns.max", "d7 ff ffffffffffffffff", "all bits set: 1,073,741,823 nanoseconds"),
    bad("timestamp.96.ns", "c7 0c ff 3b9aca00 0000000000000000", "1,000,000,000 nanoseconds in 12 bytes"),
    bad("timestamp.96.ns.max", "c7 0c ff ffffffff 0000000000000000", "4,294,967,295 nanoseconds"),
    bad("timestamp.96.ns.wide", "c9 0000000c ff 3b9aca00 0000000000000000", "the same in ext 32"),
    bad("timestamp.96.late", "c7 0c ff 00000000 0000003afff44180", "the year 10000"),
    bad("timestamp.96.early", "c7 0c ff 00000000 fffffff1886e08ff", "the year 0"),
    bad("timestamp.96.far", "c7 0c ff 00000000 7fffffffffffffff", "292 billion years from now"),
]

BIG_INTEGERS = [
    both(
        "bigint.2^64",
        "c7 09 01 010000000000000000",
        big("18446744073709551616"),
        "the first that needs extension 1",
    ),
    both("bigint.-2^63-1", "c7 09 01 ff7fffffffffffffff", big("-9223372036854775809"), "the first below"),
    both("bigint.-2^64", "c7 09 01 ff0000000000000000", big("-18446744073709551616")),
    both(
        "bigint.2^127-1", "d8 01 7fffffffffffffffffffffffffffffff", big(str(2**127 - 1)), "16 bytes: fixext"
    ),
    both(
        "bigint.-2^127",
        "d8 01 80000000000000000000000000000000",
        big(str(-(2**127))),
        "no byte more than needed",
    ),
    both(
        "bigint.2^127",
        "c7 11 01 0080000000000000000000000000000000",
        big(str(2**127)),
        "the sign needs a byte",
    ),
    decode("bigint.small", "d4 01 07", 7, "a small number as extension 1 is that number"),
    decode("bigint.-1", "d4 01 ff", -1),
    decode("bigint.padded", "d6 01 00000007", 7, "leading zeros"),
    decode("bigint.4096", ["c8 1000 01", {"repeat": "00", "count": 4095}, "07"], 7, "the most bytes"),
    bad("bigint.0", "c7 00 01", "no bytes"),
    bad("bigint.4097", ["c8 1001 01", {"repeat": "00", "count": 4096}, "07"], "4,097 bytes"),
]


def decimal(content: str) -> Vector:
    """A decimal of 3 or 5 to 15 characters."""
    size = len(content)
    fixed = {1: "d4", 2: "d5", 4: "d6", 8: "d7"}.get(size)
    data = (fixed or f"c7{size:02x}") + "02" + text(content)
    return both(f"decimal.{content}", data, {"$decimal": content})


def no_decimal(name: str, content: str, about: str) -> Vector:
    """Text that is no decimal."""
    return bad(f"decimal.{name}", f"c7{len(content):02x}02{text(content)}", about)


DECIMALS = [
    *map(decimal, ("0", "-0", "1.50", "-12.3", "1E+3", "1.5E-7", "NaN", "Infinity", "-Infinity")),
    decode("decimal.0042", "d6 02" + text("0042"), {"$decimal": "42"}, "leading zeros mean nothing"),
    decode("decimal.1E3", "c7 03 02" + text("1E3"), {"$decimal": "1E+3"}, "an exponent without a sign"),
    no_decimal("empty", "", "no bytes"),
    no_decimal("plus", "+1", "a leading plus"),
    no_decimal("point", "1.", "no digit after the point"),
    no_decimal("no_integer", ".5", "no digit before the point"),
    no_decimal("lower_e", "1e3", "the exponent's letter is a capital"),
    no_decimal("exponent", "1E", "no digit in the exponent"),
    no_decimal("negative_nan", "-NaN", "NaN has no sign"),
    no_decimal("inf", "Inf", "Infinity is written out"),
    no_decimal("space", " 1", "a space"),
    no_decimal("newline", "1\n", "a newline at the end"),
    no_decimal("underscore", "1_0", "an underscore"),
    bad("decimal.digits", "c7 02 02 d9a1", "digits of another script are not ASCII"),
    bad("decimal.1025", ["c8 0401 02", {"repeat": "31", "count": 1025}], "1,025 bytes"),
]

TENSORS = [
    both(
        "tensor.f4",
        "c7 15 03 93 a2 6634 92 02 02 c4 10 0000803f 00000040 00004040 00008040",
        {"$tensor": ["f4", [2, 2], "0000803f000000400000404000008040"]},
        "[[1, 2], [3, 4]]",
    ),
    both(
        "tensor.scalar",
        "d7 03 93 a2 7531 90 c4 01 07",
        {"$tensor": ["u1", [], "07"]},
        "no dimensions: one number",
    ),
    both("tensor.empty", "c7 0a 03 93 a2 6638 92 00 03 c4 00", {"$tensor": ["f8", [0, 3], ""]}),
    both("tensor.bool", "c7 0d 03 93 a4 626f6f6c 91 03 c4 03 010001", {"$tensor": ["bool", [3], "010001"]}),
    bad("tensor.short", "c7 0b 03 93 a2 6634 91 01 c4 03 000000", "3 bytes for one f4"),
    bad("tensor.long", "c7 0d 03 93 a2 6634 91 01 c4 05 0000000000", "5 bytes for one f4"),
    bad("tensor.dtype", "c7 0b 03 93 a2 6633 91 01 c4 03 000000", "dtype f3"),
    bad("tensor.order", "c7 0d 03 93 a3 3e6634 91 01 c4 04 00000000", "a byte order in the dtype"),
    bad("tensor.negative", "c7 0c 03 93 a2 6634 91 ff c4 04 00000000", "a negative dimension"),
    bad(
        "tensor.float",
        "c7 14 03 93 a2 6634 91 cb 3ff0000000000000 c4 04 00000000",
        "a dimension that is a float",
    ),
    bad("tensor.true", "c7 09 03 93 a2 7531 91 c3 c4 01 00", "a dimension that is a boolean"),
    bad(
        "tensor.rank",
        "c7 2a 03 93 a2 7531 dc 0021" + "01" * 33 + "c4 01 00".replace(" ", ""),
        "33 dimensions",
    ),
    bad(
        "tensor.huge",
        "c7 19 03 93 a2 7531 92 cf ffffffffffffffff cf ffffffffffffffff c4 00",
        "a shape of 2^128 items",
    ),
    bad("tensor.str", "c7 08 03 93 a2 7531 91 01 a1 61", "data that is a string"),
    bad("tensor.two", "d6 03 92 a1 61 90", "two elements instead of three"),
    bad("tensor.map", "d4 03 80", "a map"),
]
for one in TENSORS:  # the inside's length stands in the third byte
    if one["id"] == "ext.bad.tensor.two":
        continue
    if one["hex"].startswith("c7"):
        one["hex"] = "c7" + f"{len(one['hex']) // 2 - 3:02x}" + one["hex"][4:]

FUNCTIONS = [
    both("function", "d7 04" + text("my_score"), {"$function": "my_score"}),
    both("function.1", "d4 04 66", {"$function": "f"}),
    both("function.umlaut", "d5 04 c3bc", {"$function": "\u00fc"}),
    both("function.128", ["c7 80 04", {"repeat": "66", "count": 128}], {"$function": "f" * 128}),
    bad("function.0", "c7 00 04", "no name"),
    bad("function.129", ["c7 81 04", {"repeat": "66", "count": 129}], "129 bytes"),
    bad("function.utf8", "d4 04 ff", "not UTF-8", "value_bad_extension", "value_bad_utf8"),
]

TAGGED = [
    tag("date", "date", fixstr("2026-02-28"), "2026-02-28"),
    tag("time", "time", fixstr("23:59:59.000001"), "23:59:59.000001"),
    tag("datetime", "datetime", fixstr("2026-02-28T12:00:00"), "2026-02-28T12:00:00", "without an offset"),
    tag("duration", "duration", "ce 000f4240", 1_000_000, "one second"),
    tag("duration.negative", "duration", "ff", -1),
    tag("tuple", "tuple", "92 01 a1 61", [1, "a"]),
    tag("tuple.empty", "tuple", "90", []),
    tag("set", "set", "92 01 02", [1, 2]),
    tag("set.of_sets", "set", "91" + tagged("set", "91 01"), [{"$tagged": ["set", [1]]}], "a set in a set"),
    tag("set.of_tuples", "set", "91" + tagged("tuple", "91 01"), [{"$tagged": ["tuple", [1]]}]),
    tag(
        "pairs", "pairs", "92 92 01 a1 61 92 02 a1 62", [[1, "a"], [2, "b"]], "a map whose keys are integers"
    ),
    tag(
        "uuid",
        "uuid",
        fixstr("00112233-4455-6677-8899-aabbccddeeff"),
        "00112233-4455-6677-8899-aabbccddeeff",
    ),
    tag(
        "prediction",
        "prediction",
        "81 a6 6669656c6473 81 a6 616e73776572 a2 3432",
        {"fields": {"answer": "42"}},
    ),
    tag(
        "prediction.whole",
        "prediction",
        "83"
        + fixstr("completions")
        + "91 81 a1 61 01"
        + fixstr("fields")
        + "81 a1 61 01"
        + fixstr("usage")
        + "80",
        {"completions": [{"a": 1}], "fields": {"a": 1}, "usage": {}},
    ),
    tag(
        "example",
        "example",
        "82" + fixstr("fields") + "81 a1 71 01" + fixstr("inputs") + "91 a1 71",
        {"fields": {"q": 1}, "inputs": ["q"]},
    ),
    tag(
        "prediction.trace",
        "prediction",
        "82"
        + fixstr("fields")
        + "81 a1 61 01"
        + fixstr("trace")
        + "91 83"
        + (fixstr("inputs") + "81 a1 71 01")
        + (fixstr("outputs") + "81 a1 61 01")
        + (fixstr("predictor") + fixstr("self")),
        {"fields": {"a": 1}, "trace": [{"inputs": {"q": 1}, "outputs": {"a": 1}, "predictor": "self"}]},
        "with the steps that led to it",
    ),
    tag(
        "image.bytes",
        "image",
        "82" + fixstr("bytes") + "c4 03 ffd8ff" + fixstr("media_type") + fixstr("image/jpeg"),
        {"bytes": {"$bin": "ffd8ff"}, "media_type": "image/jpeg"},
        "a picture as bytes",
    ),
    tag("unknown", "no_such_tag", "91 01", [1], "a tag that nobody knows stays a pair"),
    tag("in_tagged", "outer", tagged("inner", "07"), {"$tagged": ["inner", 7]}),
    both(
        "tagged.in_array",
        "92" + tagged("tuple", "90") + "c0",
        [{"$tagged": ["tuple", []]}, None],
        "the extension ends where its length says",
    ),
    both("tag.64", ["c7 44 05 92 d9 40", {"repeat": "74", "count": 64}, "01"], {"$tagged": ["t" * 64, 1]}),
    decode("tagged.wide", "c8 0004 05 92 a1 74 01", {"$tagged": ["t", 1]}, "ext 16 where fixext 4 would do"),
    bad("tagged.empty", "c7 00 05", "no content", "value_bad_extension", "value_truncated"),
    bad("tagged.nil", "d4 05 c0", "nil instead of a pair"),
    bad("tagged.one", "d5 05 91 01", "one element"),
    bad("tagged.three", "c7 05 05 93 a1 74 01 02", "three elements"),
    bad("tagged.map", "d6 05 81 a1 74 01", "a map"),
    bad("tagged.int", "c7 03 05 92 01 01", "a tag that is an integer"),
    bad("tagged.no_tag", "c7 03 05 92 a0 01", "an empty tag"),
    bad("tagged.65", ["c7 45 05 92 d9 41", {"repeat": "74", "count": 65}, "01"], "a tag of 65 bytes"),
    bad("tagged.rest", "c7 05 05 92 a1 74 01 02", "a byte after the pair"),
    bad(
        "tagged.cut", "c7 03 05 92 a1 74", "the pair ends too early", "value_bad_extension", "value_truncated"
    ),
    bad(
        "tagged.borrowed",
        "92 c7 03 05 92 a1 74 01",
        "the pair ends beyond its extension",
        "value_bad_extension",
        "value_truncated",
    ),
    bad("date", tagged("date", fixstr("2026-02-30")), "no such day"),
    bad("date.int", tagged("date", "01"), "a date that is an integer"),
    bad(
        "datetime.offset",
        tagged("datetime", fixstr("2026-02-28T12:00:00+01:00")),
        "with an offset it is a timestamp",
    ),
    bad("duration", tagged("duration", "cb 3ff0000000000000"), "a duration that is a float"),
    bad("tuple", tagged("tuple", "80"), "a tuple that is a map"),
    bad("set", tagged("set", "a1 61"), "a set that is a string"),
    bad("set.twice", tagged("set", "92 01 01"), "the same member twice"),
    bad("pairs", tagged("pairs", "91 91 01"), "a pair of one"),
    bad("pairs.twice", tagged("pairs", "92 92 01 01 92 01 02"), "the same key twice"),
    bad("uuid", tagged("uuid", fixstr("00112233445566778899aabbccddeeff")), "a UUID without its dashes"),
    bad("uuid.short", tagged("uuid", fixstr("0011")), "too short"),
]

VECTORS = [*TIMESTAMPS, *BIG_INTEGERS, *DECIMALS, *TENSORS, *FUNCTIONS, *TAGGED]
