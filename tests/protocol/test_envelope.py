"""Envelopes: written and read alike, broken ones answered, payloads untouched."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_protocol import CALL, NIL, NOTE, Kind, Meta, WireError, decode_envelope, encode

METAS = st.dictionaries(
    st.text(max_size=8),
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    max_size=8,
)


@given(st.sampled_from(Kind), st.integers(1, 2**63 - 1), METAS, st.binary(min_size=1, max_size=50))
def test_round_trip(kind: Kind, call_id: int, meta: Meta, payload: bytes) -> None:
    """What was written is read again, and the payload's bytes are not looked at."""
    method = "program.predict" if kind in (Kind.CALL, Kind.NOTE) else None
    frame = encode(kind, call_id, method, meta, payload)
    envelope = decode_envelope(frame[4:])
    assert (kind, call_id, method, meta) == envelope[:4]
    assert payload == frame[4 + envelope.payload_at :]
    assert len(frame) - 4 == int.from_bytes(frame[:4], "big")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tail: bytes) -> None:
    """Nothing but WireError comes of bytes that begin like a body."""
    try:
        decode_envelope(b"\x95" + tail)
    except WireError as fault:
        assert fault.code == "envelope_invalid"


@pytest.mark.parametrize("cut", range(1, 30))
def test_each_cut_is_refused(cut: int) -> None:
    """A body that ends anywhere in its envelope, or before its payload, is refused."""
    body = encode(CALL, 7, "system.ping", {"deadline_ms": 5}, NIL)[4:]
    assert len(body) == 30
    with pytest.raises(WireError) as fault:
        decode_envelope(body[:cut])
    assert "envelope_invalid" == fault.value.code
    assert ({"kind": CALL, "id": 7} if cut >= 3 else {}) == fault.value.details


def test_no_body_is_frame_empty() -> None:
    """An empty frame has a code of its own."""
    with pytest.raises(WireError) as fault:
        decode_envelope(b"")
    assert "frame_empty" == fault.value.code


def test_methods_are_checked_each_time() -> None:
    """A method that was refused once is refused again; a good one stays good."""
    for _ in range(2):
        decode_envelope(encode(NOTE, 0, "good.method", {}, NIL)[4:])
        with pytest.raises(WireError, match="method must be"):
            decode_envelope(encode(NOTE, 0, "Bad.method", {}, NIL)[4:])


def test_a_large_payload_is_not_copied() -> None:
    """Reading an envelope before 8 MiB of payload costs a few KiB."""
    body = encode(CALL, 1, "system.echo", {}, bytes(8 << 20))[4:]
    tracemalloc.start()
    decode_envelope(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 1024
