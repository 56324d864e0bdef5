"""Envelopes: each kind, each limit, and each rule broken once; the bytes are written by hand."""

from __future__ import annotations

from typing import Any

from .notation import Hex, Vector, vector

METHOD = "a3 612e62 ".replace(" ", "")  # a.b


def frame(
    kind: int, call_id: int, method: str | None, meta: Any = None, payload: Any = None
) -> dict[str, Any]:
    """The fields of a body."""
    return {"kind": kind, "id": call_id, "method": method, "meta": meta or {}, "payload": payload}


def good(
    name: str, data: Hex, means: dict[str, Any], about: str = "", direction: str = "both", **more: Any
) -> Vector:
    """A body and its meaning."""
    return vector(f"envelope.{name}", "2", data, about, frame=means, direction=direction, **more)


def wide(name: str, data: Hex, means: dict[str, Any], about: str) -> Vector:
    """Bytes that are legal although an encoder writes others."""
    return good(f"wide.{name}", data, means, about, "decode")


def bad(name: str, data: Hex, about: str, call: int | None = None, code: str = "envelope_invalid") -> Vector:
    """A broken body; `call` is the id that a FAIL answers."""
    answer = {"note": "system.fault"} if call is None else {"fail": call}
    return vector(f"envelope.bad.{name}", "2", data, about, error=code, answer=answer)


def entries(count: int) -> str:
    """Meta entries `k00` to nil, without the header."""
    return "".join(f"a36b{ord(str(n // 10)):02x}{ord(str(n % 10)):02x}c0" for n in range(count))


def named(count: int) -> dict[str, None]:
    """The meta of `entries`."""
    return {f"k{number:02d}": None for number in range(count)}


KINDS = [
    good(
        "call",
        "95 00 01 a3 612e62 80 07",
        frame(0, 1, "a.b", payload=7),
        "CALL 1 of a.b with 7",
        payload_at=8,
    ),
    good("reply", "95 01 01 c0 80 07", frame(1, 1, None, payload=7), payload_at=5),
    good(
        "fail",
        "95 02 01 c0 80 80",
        frame(2, 1, None, payload={}),
        "the payload is not the envelope's concern",
    ),
    good("item", "95 03 01 c0 81 a3 736571 00 a1 78", frame(3, 1, None, {"seq": 0}, "x")),
    good("cancel", "95 04 01 c0 80 c0", frame(4, 1, None)),
    good("credit", "95 05 01 c0 81 a1 6e 40 c0", frame(5, 1, None, {"n": 64})),
    good("note", "95 06 00 a3 612e62 80 c0", frame(6, 0, "a.b"), "a NOTE that belongs to no call has id 0"),
    good("note.of_call", "95 06 09 a3 612e62 80 c0", frame(6, 9, "a.b"), "a NOTE about call 9"),
]

LIMITS = [
    good("id.127", "95 01 7f c0 80 c0", frame(1, 127, None)),
    good("id.128", "95 01 cc80 c0 80 c0", frame(1, 128, None)),
    good("id.2^32", "95 01 cf0000000100000000 c0 80 c0", frame(1, 2**32, None)),
    good(
        "id.2^63-1",
        "95 01 cf7fffffffffffffff c0 80 c0",
        {**frame(1, 0, None), "id": {"$int": str(2**63 - 1)}},
    ),
    good(
        "method.characters",
        "95 06 00 a7 615f302e395f7a 80 c0",
        frame(6, 0, "a_0.9_z"),
        "letters, digits, underscores",
    ),
    good("method.words", "95 06 00 a7 612e622e632e64 80 c0", frame(6, 0, "a.b.c.d"), "more than two words"),
    good(
        "method.128",
        ["95 06 00 d980 612e", {"repeat": "62", "count": 126}, "80 c0"],
        frame(6, 0, "a." + "b" * 126),
        "128 bytes",
    ),
    good(
        "meta.scalars",
        "95 06 00" + METHOD + "85 a1 61 c0 a1 62 c3 a1 63 ff a1 64 cb3ff8000000000000 a1 65 a1 78" + "c0",
        frame(6, 0, "a.b", {"a": None, "b": True, "c": -1, "d": {"$float": "1.5"}, "e": "x"}),
        "each type that a meta value may have",
    ),
    good("meta.empty_key", "95 06 00" + METHOD + "81 a0 01 c0", frame(6, 0, "a.b", {"": 1})),
    good(
        "meta.64",
        "95 06 00" + METHOD + "de0040" + entries(64) + "c0",
        frame(6, 0, "a.b", named(64)),
        "64 entries",
    ),
    good(
        "bytes.4096",
        ["95 06 00", METHOD, "81 a1 78 da0ff3", {"repeat": "79", "count": 4083}, "c0"],
        frame(6, 0, "a.b", {"x": {"$text": ["y", 4083]}}),
        "an envelope of 4,096 bytes",
        payload_at=4096,
    ),
    good(
        "payload.large",
        ["95 01 01 c0 80 c5ffff", {"repeat": "ff", "count": 65535}],
        frame(1, 1, None, payload={"$bytes": ["ff", 65535]}),
        "the payload does not count",
        payload_at=5,
    ),
]

WIDE = [
    wide("kind", "95 cc01 01 c0 80 c0", frame(1, 1, None), "kind as uint 8"),
    wide("kind.int64", "95 d30000000000000001 01 c0 80 c0", frame(1, 1, None), "kind as int 64"),
    wide("id", "95 01 cf0000000000000001 c0 80 c0", frame(1, 1, None), "id as uint 64"),
    wide("id.signed", "95 01 d20000007f c0 80 c0", frame(1, 127, None), "id as int 32"),
    wide("method", "95 06 00 da0003612e62 80 c0", frame(6, 0, "a.b"), "method as str 16"),
    wide("meta", "95 01 01 c0 df00000001 d90161 01 c0", frame(1, 1, None, {"a": 1}), "meta as map 32"),
    wide(
        "unknown_key",
        "95 01 01 c0 81 a3 7a7a7a 01 c0",
        frame(1, 1, None, {"zzz": 1}),
        "an unknown key is no fault",
    ),
]

FORM = [
    bad("nil", "c0", "a body that is nil"),
    bad("json", "5b302c312c22612e62222c7b7d2c6e756c6c5d", "JSON"),
    bad("array.4", "94 00 01" + METHOD + "80", "an array of four"),
    bad("array.6", "96 00 01" + METHOD + "80 c0 c0", "an array of six"),
    bad("array16", "dc0005 00 01" + METHOD + "80 c0", "the array's header has one byte, 0x95"),
    bad("map", "85", "a map"),
    bad("cut.array", "95", "nothing after the header"),
    bad("cut.kind", "95 00", "the end after kind"),
    bad("cut.id", "95 00 01", "the end after id", 1),
    bad("cut.method", "95 00 01" + METHOD, "the end after method", 1),
    bad("cut.in_method", "95 00 01 a361", "the end in method", 1),
    bad("cut.in_meta", "95 00 01" + METHOD + "81 a161", "the end in meta", 1),
    bad("cut.payload", "95 00 01" + METHOD + "80", "no payload", 1),
    bad("c1", "95 00 01 c1 80 c0", "the byte 0xC1", 1),
]

KIND_AND_ID = [
    bad("kind.7", "95 07 01 c0 80 c0", "kind 7"),
    bad("kind.-1", "95 ff 01 c0 80 c0", "kind -1"),
    bad("kind.256", "95 cd0100 01 c0 80 c0", "kind 256"),
    bad("kind.false", "95 c2 01" + METHOD + "80 c0", "kind false is not kind 0"),
    bad("kind.float", "95 cb0000000000000000 01" + METHOD + "80 c0", "kind 0.0"),
    bad("kind.str", "95 a0 01" + METHOD + "80 c0", "kind as a string"),
    bad("kind.nil", "95 c0 01" + METHOD + "80 c0", "kind nil"),
    bad("id.0", "95 00 00" + METHOD + "80 c0", "id 0 in a CALL: no FAIL may have it"),
    bad("id.0.reply", "95 01 00 c0 80 c0", "id 0 in a REPLY"),
    bad("id.-1", "95 00 ff" + METHOD + "80 c0", "id -1"),
    bad("id.2^63", "95 00 cf8000000000000000" + METHOD + "80 c0", "id 2^63"),
    bad("id.true", "95 00 c3" + METHOD + "80 c0", "id true is not id 1"),
    bad("id.float", "95 00 cb3ff0000000000000" + METHOD + "80 c0", "id 1.0"),
    bad("id.nil", "95 00 c0" + METHOD + "80 c0", "id nil"),
    bad("id.bigint", "95 00 d40101" + METHOD + "80 c0", "id as an extension"),
]

METHODS = [
    bad("method.nil", "95 00 05 c0 80 c0", "a CALL without a method", 5),
    bad("method.note.nil", "95 06 00 c0 80 c0", "a NOTE without a method"),
    bad("method.reply", "95 01 05" + METHOD + "80 c0", "a REPLY with a method"),
    bad("method.fail", "95 02 05" + METHOD + "80 c0", "a FAIL with a method"),
    bad("method.item", "95 03 05" + METHOD + "80 c0", "an ITEM with a method"),
    bad("method.cancel", "95 04 05" + METHOD + "80 c0", "a CANCEL with a method"),
    bad("method.credit", "95 05 05" + METHOD + "80 c0", "a CREDIT with a method"),
    bad("method.empty", "95 00 05 a0 80 c0", "an empty method", 5),
    bad("method.one_word", "95 00 05 a470696e67 80 c0", "one word", 5),
    bad("method.dot.first", "95 00 05 a22e61 80 c0", "a dot at the beginning", 5),
    bad("method.dot.last", "95 00 05 a2612e 80 c0", "a dot at the end", 5),
    bad("method.dots", "95 00 05 a4612e2e62 80 c0", "two dots", 5),
    bad("method.capital", "95 00 05 a3412e62 80 c0", "a capital", 5),
    bad("method.dash", "95 00 05 a5612d622e63 80 c0", "a dash", 5),
    bad("method.newline", "95 00 05 a4612e620a 80 c0", "a newline at the end", 5),
    bad("method.umlaut", "95 00 05 a4612ec3bc 80 c0", "a letter outside a-z", 5),
    bad("method.utf8", "95 00 05 a3612eff 80 c0", "not UTF-8", 5),
    bad("method.bin", "95 00 05 c403612e62 80 c0", "bytes", 5),
    bad("method.int", "95 00 05 07 80 c0", "an integer", 5),
    bad("method.array", "95 00 05 90 80 c0", "an array", 5),
    bad("method.map", "95 00 05 80 80 c0", "a map", 5),
    bad("method.129", ["95 00 05 d981 612e", {"repeat": "62", "count": 127}, "80 c0"], "129 bytes", 5),
]

METAS = [
    bad("meta.nil", "95 00 05" + METHOD + "c0 c0", "meta nil", 5),
    bad("meta.array", "95 00 05" + METHOD + "90 c0", "meta as an array", 5),
    bad("meta.str", "95 00 05" + METHOD + "a161 c0", "meta as a string", 5),
    bad("meta.value.array", "95 00 05" + METHOD + "81 a161 90 c0", "an array in meta", 5),
    bad("meta.value.map", "95 00 05" + METHOD + "81 a161 80 c0", "a map in meta", 5),
    bad("meta.value.bin", "95 00 05" + METHOD + "81 a161 c40100 c0", "bytes in meta", 5),
    bad("meta.value.timestamp", "95 00 05" + METHOD + "81 a161 d6ff00000000 c0", "a timestamp in meta", 5),
    bad("meta.value.ext", "95 00 05" + METHOD + "81 a161 d40107 c0", "a big integer in meta", 5),
    bad("meta.value.utf8", "95 00 05" + METHOD + "81 a161 a1ff c0", "a value that is not UTF-8", 5),
    bad("meta.key.int", "95 00 05" + METHOD + "81 01 01 c0", "a key that is an integer", 5),
    bad("meta.key.bin", "95 00 05" + METHOD + "81 c40161 01 c0", "a key that is bytes", 5),
    bad("meta.key.nil", "95 00 05" + METHOD + "81 c0 01 c0", "a key that is nil", 5),
    bad("meta.key.utf8", "95 00 05" + METHOD + "81 a1ff 01 c0", "a key that is not UTF-8", 5),
    bad("meta.key.twice", "95 00 05" + METHOD + "82 a161 01 a161 01 c0", "a key twice", 5),
    bad(
        "meta.key.twice.header",
        "95 00 05" + METHOD + "82 a161 01 d90161 01 c0",
        "a key twice, two headers",
        5,
    ),
    bad("meta.65", "95 00 05" + METHOD + "de0041" + entries(65) + "c0", "65 entries", 5),
    bad("meta.bomb", "95 00 05" + METHOD + "df7fffffff a161 01 c0", "2,147,483,647 entries are announced", 5),
    bad("meta.bomb.note", "95 06 05" + METHOD + "de0041" + entries(65) + "c0", "65 entries in a NOTE"),
]

TOO_LARGE = [
    bad(
        "bytes.4097",
        ["95 00 05", METHOD, "81 a1 78 da0ff4", {"repeat": "79", "count": 4084}, "c0"],
        "an envelope of 4,097 bytes",
        5,
        "envelope_too_large",
    ),
    bad(
        "bytes.long_method",
        ["95 00 05 da7fff 612e", {"repeat": "62", "count": 32765}, "80 c0"],
        "a method of 32 KiB",
        5,
        "envelope_too_large",
    ),
    bad(
        "bytes.note",
        ["95 06 05", METHOD, "81 a1 78 da2000", {"repeat": "79", "count": 8192}, "c0"],
        "a NOTE opened no call",
        None,
        "envelope_too_large",
    ),
]
for one in TOO_LARGE:
    one["or"] = ["envelope_invalid"]

VECTORS = [*KINDS, *LIMITS, *WIDE, *FORM, *KIND_AND_ID, *METHODS, *METAS, *TOO_LARGE]
