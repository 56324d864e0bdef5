"""What must hold of any bytes: they are refused with a WireError, or read and written alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dspex_protocol import (
    FrameDecoder,
    Oversized,
    WireError,
    decode_envelope,
    decode_value,
    encode,
    encode_value,
)
from dspex_protocol.limits import MAX_DECIMAL_BYTES, MAX_ENVELOPE_BYTES
from dspex_protocol.scan import scan


def check_value(payload: bytes) -> bool:
    """`decode_value` accepts what `scan` accepts, and what it read is written and read again.

    Returns:
        Whether the payload was accepted.
    """
    refusal = _refusal(scan, payload)
    try:
        value = decode_value(payload)
    except WireError as fault:
        # The scan does not look into the content of extensions: that is the one difference.
        assert refusal is not None or fault.code == "value_bad_extension", fault
        return False
    assert refusal is None, f"decoded, although the scan says {refusal}"
    try:
        written = encode_value(value)
    except WireError as fault:
        # A decimal at its limit may be longer in the form that Python writes.
        assert len(payload) >= MAX_DECIMAL_BYTES, fault
        return True
    assert encode_value(decode_value(written)) == written
    return True


def check_envelope(body: bytes) -> bool:
    """An envelope that is accepted is the same when written again. Returns whether it was."""
    try:
        envelope = decode_envelope(body)
    except WireError:
        return False
    payload = body[envelope.payload_at :]
    written = encode(envelope.kind, envelope.id, envelope.method, envelope.meta, payload)[4:]
    if len(written) - len(payload) > MAX_ENVELOPE_BYTES:  # float 32 became float 64
        return True
    again = decode_envelope(written)
    assert repr(again[:4]) == repr(envelope[:4])
    assert written[again.payload_at :] == payload
    return True


def check_stream(data: bytes, max_frame_bytes: int = 4096) -> int:
    """However a stream is cut, the same bodies come out. Returns how many.

    Its first byte says how it is cut.
    """
    cut, stream = data[:1], data[1:]
    whole = read_stream([stream], max_frame_bytes)
    assert whole == read_stream(_slices(stream, cut[0] % 17 + 1 if cut else 1), max_frame_bytes)
    return len(whole[0])


def read_stream(
    pieces: Iterator[bytes] | list[bytes], max_frame_bytes: int
) -> tuple[list[bytes | Oversized], str]:
    """The bodies of a stream and the code that it ends with, empty for a clean end."""
    decoder = FrameDecoder(max_frame_bytes)
    bodies: list[bytes | Oversized] = []
    try:
        for piece in pieces:
            bodies += decoder.feed(piece)
        decoder.finish()
    except WireError as fault:
        return bodies + decoder.complete, fault.code
    return bodies, ""


def _slices(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[start : start + size] for start in range(0, len(stream), size))


def _refusal(check: Callable[[bytes], object], payload: bytes) -> WireError | None:
    try:
        check(payload)
    except WireError as fault:
        return fault
    return None


CHECKS: tuple[Callable[[bytes], object], ...] = (check_value, check_envelope, check_stream)


def check(data: bytes) -> None:
    """One input of a fuzzer: its first byte says which check the rest is for."""
    if data:
        CHECKS[data[0] % len(CHECKS)](data[1:])
