"""A wire that is no pipe: /dev/null and regular files, as a shell user redirects them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dspex_protocol import (
    CALL,
    REPLY,
    FrameDecoder,
    Oversized,
    decode_envelope,
    decode_value,
    encode,
    encode_value,
)

SERVE = (sys.executable, "-m", "dspex_pool", "serve")


def _bodies(data: bytes) -> list[bytes]:
    return [body for body in FrameDecoder().feed(data) if not isinstance(body, Oversized)]


def test_an_empty_wire_ends_the_server_quietly() -> None:
    """`dspex serve < /dev/null`: the client is gone before it came, which is no fault."""
    ended = subprocess.run(SERVE, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    assert (0, b"", b"") == (ended.returncode, ended.stdout, ended.stderr)


def test_frames_in_a_file_are_answered_into_a_file(tmp_path: Path) -> None:
    """`dspex serve < calls > replies`: hello and ping are answered before the end of the file counts."""
    calls, replies = tmp_path / "calls", tmp_path / "replies"
    hello = encode_value({"protocol": "dspex", "versions": [1]})
    calls.write_bytes(
        encode(CALL, 1, "system.hello", {}, hello) + encode(CALL, 2, "system.ping", {}, encode_value("here"))
    )
    with calls.open("rb") as stdin, replies.open("wb") as stdout:
        ended = subprocess.run(SERVE, stdin=stdin, stdout=stdout, timeout=30, check=False)
    bodies = _bodies(replies.read_bytes())
    envelopes = [decode_envelope(body) for body in bodies]
    assert 0 == ended.returncode
    assert [(REPLY, 1), (REPLY, 2)] == [(envelope.kind, envelope.id) for envelope in envelopes]
    assert "here" == decode_value(bodies[1][envelopes[1].payload_at :])
