"""The golden vectors: what the bytes in protocol/vectors mean to this codec."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from dspex_protocol import (
    CALL,
    FrameDecoder,
    Oversized,
    WireError,
    decode_envelope,
    decode_value,
    encode,
    encode_value,
)

from .notation import VECTORS, Vector, read_bytes, read_value, same, vectors

SHAPES = ("value", "body", "stream", "conversation")


def cases(shape: str) -> pytest.MarkDecorator:
    """A parameter for each vector of a shape, under its own name."""
    return pytest.mark.parametrize("vector", [pytest.param(one, id=one["id"]) for one in vectors(shape)])


@cases("value")
def test_value_vector(vector: Vector) -> None:
    """A payload means its value, or is refused with its code."""
    payload = read_bytes(vector)
    if "error" in vector:
        with pytest.raises(WireError) as refusal:
            decode_value(payload)
        assert refusal.value.code in [vector["error"], *vector.get("or", [])]
        return
    assert same(read_value(vector["value"]), decode_value(payload))
    if vector["direction"] == "both":
        assert payload == encode_value(read_value(vector["value"]))


@cases("body")
def test_body_vector(vector: Vector) -> None:
    """A body means its frame, or is refused with its code and what a FAIL needs."""
    body = read_bytes(vector)
    if "error" not in vector:
        check_frame(body, vector["frame"], vector["direction"], vector.get("payload_at"))
        return
    with pytest.raises(WireError) as refusal:
        decode_envelope(body)
    assert refusal.value.code in [vector["error"], *vector.get("or", [])]
    assert vector["answer"] == answer_to(refusal.value)


@cases("stream")
@pytest.mark.parametrize("slice_bytes", [1, 7, 1 << 20])
def test_stream_vector(vector: Vector, slice_bytes: int) -> None:
    """However a stream is cut, the same bodies come out and it ends in the same way."""
    stream = read_bytes(vector)
    decoder = FrameDecoder(vector.get("max_frame_bytes", 16 * 1024 * 1024))
    bodies: list[bytes | Oversized] = []
    end = "clean"
    try:
        for start in range(0, len(stream), slice_bytes):
            bodies += decoder.feed(stream[start : start + slice_bytes])
        decoder.finish()
    except WireError as fault:
        end = fault.code
    assert vector["end"] == end
    if end != "frame_too_large" or slice_bytes == 1:
        assert vector["bodies"] == [described(body) for body in bodies] or expanded(vector) == bodies


@cases("conversation")
def test_conversation_vector(vector: Vector) -> None:
    """Each step of a conversation is a frame that this codec reads and writes."""
    for step in vector["steps"]:
        check_frame(read_bytes(step), step["frame"], step["direction"], None)


def check_frame(body: bytes, frame: dict[str, Any], direction: str, payload_at: int | None) -> None:
    """The body means that frame, and the frame gives that body."""
    envelope = decode_envelope(body)
    means = read_value(frame)
    fields = {"kind": envelope.kind, "id": envelope.id, "method": envelope.method, "meta": envelope.meta}
    assert same(means, fields | {"payload": decode_value(body[envelope.payload_at :])})
    assert payload_at in (None, envelope.payload_at)
    if direction == "both":
        payload = encode_value(means["payload"])
        assert body == encode(means["kind"], means["id"], means["method"], means["meta"], payload)[4:]


def answer_to(refusal: WireError) -> dict[str, object]:
    """How a server answers a broken envelope: docs/protocol.md section 2."""
    if refusal.details.get("kind") == CALL:
        return {"fail": refusal.details["id"]}
    return {"note": "system.fault"}


def described(body: bytes | Oversized) -> object:
    """A body as a stream vector writes it."""
    if isinstance(body, Oversized):
        return {"error": "frame_too_large", "length": body.length}
    return body.hex() if body else {"error": "frame_empty"}


def expanded(vector: Vector) -> list[bytes]:
    """The bodies of a vector that builds one of them."""
    return [read_bytes(body) for body in vector["bodies"]]


def test_ids_are_unique() -> None:
    """An id names one vector over all files."""
    ids = [vector["id"] for shape in SHAPES for vector in vectors(shape)]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 150


def test_files_are_up_to_date() -> None:
    """The files are what the generator writes."""
    command = [sys.executable, str(VECTORS / "generate.py"), "--check"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "up to date\n" == finished.stdout, finished.stderr
