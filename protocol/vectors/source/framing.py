"""Streams of bytes and the bodies that come out of them; the bytes are written by hand."""

from __future__ import annotations

from typing import Any

from .notation import Hex, Vector, vector

NOTE = "95 06 00 a4 612e 6263 80 c0".replace(" ", "")  # NOTE a.bc, 10 bytes
NOTE_FRAME = "0000000a" + NOTE
PING = "95 00 01 ab 73797374656d2e70696e67 80 c0".replace(" ", "")  # CALL 1 system.ping, 17 bytes
PING_FRAME = "00000011" + PING
LIMIT = 4096


def stream(name: str, data: Hex, bodies: list[Any], about: str, end: str = "clean", **fields: Any) -> Vector:
    """What arrives, what comes out, and what an end of file after it is."""
    return vector(f"framing.{name}", "1", data, about, **fields, bodies=bodies, end=end)


def thrown_away(length: int) -> dict[str, Any]:
    """A body longer than the limit."""
    return {"error": "frame_too_large", "length": length}


EMPTY = {"error": "frame_empty"}

WHOLE = [
    stream("nothing", "", [], "a connection on which nothing was sent"),
    stream("one", NOTE_FRAME, [NOTE], "one frame"),
    stream("two", PING_FRAME + NOTE_FRAME, [PING, NOTE], "two frames in one read"),
    stream("three", PING_FRAME + NOTE_FRAME + PING_FRAME, [PING, NOTE, PING], "three frames in one read"),
    stream("one_byte", "00000001 c0", ["c0"], "the smallest body; that it is no envelope is found later"),
    stream("looks_like_length", "00000004 00000004", ["00000004"], "a body that looks like a length"),
    stream(
        "65536",
        ["00010000", {"repeat": "c0", "count": 65536}, NOTE_FRAME],
        [{"build": [{"repeat": "c0", "count": 65536}]}, NOTE],
        "a body of 64 KiB, and another frame",
    ),
    stream(
        "at_limit",
        ["00001000", {"repeat": "c0", "count": LIMIT}],
        [{"build": [{"repeat": "c0", "count": LIMIT}]}],
        "a body exactly at the limit",
        max_frame_bytes=LIMIT,
    ),
    stream("many", [{"repeat": NOTE_FRAME, "count": 20}], [NOTE] * 20, "twenty frames in one read"),
]

EMPTIES = [
    stream("empty", "00000000", [EMPTY], "a frame without a body; the connection goes on"),
    stream(
        "empty.between", NOTE_FRAME + "00000000" + PING_FRAME, [NOTE, EMPTY, PING], "between two good frames"
    ),
    stream("empty.twice", "00000000 00000000", [EMPTY, EMPTY], "twice"),
]

TOO_LONG = [
    stream(
        "drained",
        ["00001001", PING, {"repeat": "c0", "count": LIMIT + 1 - 17}, NOTE_FRAME],
        [thrown_away(LIMIT + 1), NOTE],
        "one byte over the limit: thrown away, the call it opened fails, the next frame is good",
        max_frame_bytes=LIMIT,
        answer={"fail": 1},
    ),
    stream(
        "drained.largest",
        ["00010000", PING, {"repeat": "c0", "count": 16 * LIMIT - 17}, PING_FRAME],
        [thrown_away(16 * LIMIT), PING],
        "sixteen times the limit: the longest that is read and thrown away",
        max_frame_bytes=LIMIT,
        answer={"fail": 1},
    ),
    stream(
        "drained.garbage",
        ["00002000", {"repeat": "00", "count": 0x2000}],
        [thrown_away(0x2000)],
        "without a readable envelope nobody can be answered but by a NOTE",
        max_frame_bytes=LIMIT,
        answer={"note": "system.fault"},
    ),
    stream(
        "drained.note",
        ["00001001", NOTE, {"repeat": "c0", "count": LIMIT + 1 - 10}],
        [thrown_away(LIMIT + 1)],
        "a NOTE opened no call",
        max_frame_bytes=LIMIT,
        answer={"note": "system.fault"},
    ),
    stream(
        "drained.cut",
        ["00001001", PING, {"repeat": "c0", "count": 100}],
        [],
        "the end comes while it is being thrown away",
        "frame_truncated",
        max_frame_bytes=LIMIT,
    ),
    stream(
        "closing",
        "00010001",
        [],
        "one byte over sixteen times the limit: such a length is never true",
        "frame_too_large",
        max_frame_bytes=LIMIT,
    ),
    stream("closing.16MiB", "10000001", [], "the same with the limit of 16 MiB", "frame_too_large"),
    stream("closing.largest", "ffffffff", [], "the largest length", "frame_too_large"),
    stream(
        "closing.text",
        "48656c6c6f2c20776f726c64210a",
        [],
        "a stray print: `Hell` reads as 1,214,606,444 bytes",
        "frame_too_large",
    ),
    stream(
        "closing.text.later",
        NOTE_FRAME + "5472616365626163 6b20286d6f7374".replace(" ", ""),
        [NOTE],
        "a stray traceback after a good frame",
        "frame_too_large",
    ),
]

CUT = [
    stream("cut.header.1", "00", [], "the end after one byte of a header", "frame_truncated"),
    stream("cut.header.3", "000000", [], "the end after three", "frame_truncated"),
    stream("cut.body.none", "0000000a", [], "the end after a header", "frame_truncated"),
    stream("cut.body.most", NOTE_FRAME[:-2], [], "the end before the last byte", "frame_truncated"),
    stream("cut.second.header", NOTE_FRAME + "0000", [NOTE], "in the second header", "frame_truncated"),
    stream("cut.second.body", NOTE_FRAME + PING_FRAME[:-2], [NOTE], "in the second body", "frame_truncated"),
]

VECTORS = [*WHOLE, *EMPTIES, *TOO_LONG, *CUT]
