"""Frames: whole, byte by byte, glued, cut, empty and too long."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_protocol import FrameDecoder, Oversized, WireError, encode_frame
from dspex_protocol.frame import HEAD_BYTES

BODIES = [b"a", b"bc" * 40, b"\x00\x00\x00\x04", b"d" * 300]
STREAM = b"".join(map(encode_frame, BODIES))


def fed(stream: bytes, size: int, max_frame_bytes: int = 4096) -> list[bytes | Oversized]:
    """What comes out when the stream comes in slices of that size."""
    decoder = FrameDecoder(max_frame_bytes)
    slices = (stream[start : start + size] for start in range(0, len(stream), size))
    out = [body for piece in slices for body in decoder.feed(piece)]
    decoder.finish()
    return out


@pytest.mark.parametrize("size", [*range(1, 18), len(STREAM)])
def test_slices_give_the_same_bodies(size: int) -> None:
    """Slices of 1 to 17 bytes, and all at once, give what was sent."""
    assert BODIES == fed(STREAM, size)


@given(st.lists(st.binary(min_size=1, max_size=200)), st.randoms(use_true_random=False))
def test_any_bodies_in_any_slices(bodies: list[bytes], chance: random.Random) -> None:
    """Any bodies come out in order, wherever the stream is cut."""
    stream, decoder, out = b"".join(map(encode_frame, bodies)), FrameDecoder(), []
    while stream:
        size = chance.randint(1, 40)
        out += decoder.feed(stream[:size])
        stream = stream[size:]
    assert bodies == out


@pytest.mark.parametrize("cut", range(len(STREAM)))
def test_end_at_each_position(cut: int) -> None:
    """A partial frame never comes out, and an end inside a frame is told."""
    decoder = FrameDecoder()
    out = decoder.feed(STREAM[:cut])
    ends = [sum(len(body) + 4 for body in BODIES[:count]) for count in range(len(BODIES))]
    whole = sum(end <= cut for end in ends) - 1
    assert BODIES[:whole] == out
    if cut in ends:
        decoder.finish()
    else:
        with pytest.raises(WireError, match="inside a frame") as fault:
            decoder.finish()
        assert "frame_truncated" == fault.value.code


def test_an_empty_frame_is_an_empty_body() -> None:
    """It is for the envelope to refuse; the frames around it are good."""
    assert [b"a", b"", b"b"] == fed(b"\0\0\0\1a\0\0\0\0\0\0\0\1b", 3)


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize("length", [4097, 5000, 16 * 4096])
def test_a_long_frame_is_thrown_away(length: int, size: int) -> None:
    """Up to 16 times the limit: its length and head are told, the next frame is good."""
    body = bytes(range(256)) * (length // 256 + 1)
    stream = encode_frame(body[:length]) + encode_frame(b"next")
    assert [Oversized(length, body[:HEAD_BYTES]), b"next"] == fed(stream, size)


@pytest.mark.parametrize("size", [1, 6, 1 << 20])
def test_stray_text_ends_the_stream(size: int) -> None:
    """A length beyond what is drained is refused; the bodies before it are kept."""
    decoder, out = FrameDecoder(), []
    stream = encode_frame(b"good") + b"Hello, world!\n"
    with pytest.raises(WireError) as fault:  # noqa: PT012  which of the pieces raises depends on their size
        for start in range(0, len(stream), size):
            out += decoder.feed(stream[start : start + size])
    assert "frame_too_large" == fault.value.code
    assert {"length": 0x48656C6C, "limit": 16 * 1024 * 1024} == fault.value.details
    assert [b"good"] == out + decoder.complete


def test_draining_keeps_only_the_head() -> None:
    """A frame that is thrown away costs no memory, however small the reads are."""
    decoder = FrameDecoder(4096)
    decoder.feed((16 * 4096).to_bytes(4, "big"))
    tracemalloc.start()
    for _ in range(16 * 1024 - 1):
        decoder.feed(b"abcd")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_384


def test_small_reads_of_a_long_frame_cost_its_length() -> None:
    """A body of 1 MiB in reads of two bytes is not held as half a million objects."""
    decoder = FrameDecoder()
    decoder.feed((1 << 20).to_bytes(4, "big"))
    tracemalloc.start()
    for _ in range((1 << 19) - 1):
        decoder.feed(b"ab"[:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20
