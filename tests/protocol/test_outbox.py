"""The outbox: frames leave whole, in order, in few writes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dspex_protocol import Outbox


@given(st.lists(st.binary(min_size=1, max_size=300)), st.lists(st.integers(1, 200), min_size=1))
def test_any_writes_send_the_same_bytes(frames: list[bytes], counts: list[int]) -> None:
    """However much each write takes, the frames go out in order and once."""
    outbox, sent, turn = Outbox(), b"", 0
    for frame in frames:
        outbox.add(frame)
    while chunk := outbox.chunk():
        count = min(counts[turn % len(counts)], len(chunk))
        sent += bytes(chunk[:count])
        outbox.wrote(count)
        turn += 1
        assert sum(map(len, frames)) - len(sent) == outbox.waiting_bytes
    assert b"".join(frames) == sent


def test_small_frames_share_a_write() -> None:
    """A thousand small frames are one write."""
    outbox = Outbox()
    for _ in range(1000):
        outbox.add(b"0123456789")
    assert 10_000 == len(outbox.chunk())


def test_a_large_frame_is_not_copied() -> None:
    """A frame alone leaves as it is."""
    outbox, frame = Outbox(), bytes(1 << 20)
    outbox.add(frame)
    chunk = outbox.chunk()
    assert isinstance(chunk, memoryview)
    assert chunk.obj is frame


def test_what_is_added_between_partial_writes_goes_last() -> None:
    """A frame that was begun is finished first."""
    outbox = Outbox()
    outbox.add(b"first")
    outbox.chunk()
    outbox.wrote(2)
    outbox.add(b"second")
    assert b"rst" == bytes(outbox.chunk())
    outbox.wrote(3)
    assert b"second" == bytes(outbox.chunk())


def test_nothing_waits_at_first() -> None:
    """An empty outbox has nothing to write."""
    assert (b"", 0) == (Outbox().chunk(), Outbox().waiting_bytes)
