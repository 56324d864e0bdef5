"""A link: frames over real descriptors, whatever the peer does."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from dspex_pool.link import Link
from dspex_protocol import FrameDecoder, Oversized, WireError, encode_frame

LIMIT = 4096


class Ends:
    """A link on one end of a socket pair, and the peer's end."""

    def __init__(self) -> None:
        self.peer, ours = socket.socketpair()
        self.peer.settimeout(30)
        self.dirty: list[Link] = []
        descriptor = ours.detach()
        self.link = Link(asyncio.get_running_loop(), descriptor, descriptor, self.dirty, LIMIT)
        self.batches: list[list[bytes | Oversized]] = []
        self.ends: list[WireError | None] = []
        self.ended = asyncio.Event()
        self.link.on_bodies = self.batches.append
        self.link.on_end = self._end
        self.link.start()

    def _end(self, reason: WireError | None) -> None:
        self.ends.append(reason)
        self.ended.set()

    def receive(self, size: int) -> bytes:
        """What the peer gets, up to a size."""
        data = b""
        while len(data) < size and (more := self.peer.recv(size - len(data))):
            data += more
        return data

    def close(self) -> None:
        self.link.close()
        self.peer.close()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    both = Ends()
    yield both
    both.close()


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0)


async def test_the_frames_of_one_read_come_together(ends: Ends) -> None:
    """Three frames in one write are one batch."""
    ends.peer.sendall(b"".join(map(encode_frame, (b"a", b"bb", b"ccc"))))
    await until(lambda: ends.batches)
    assert [[b"a", b"bb", b"ccc"]] == ends.batches


async def test_a_frame_that_comes_in_pieces_is_one_body(ends: Ends) -> None:
    """Byte by byte, the body is whole."""
    for byte in encode_frame(b"hello"):
        ends.peer.sendall(bytes((byte,)))
        await asyncio.sleep(0)
    await until(lambda: ends.batches)
    assert [[b"hello"]] == ends.batches


async def test_frames_leave_at_the_flush_in_order(ends: Ends) -> None:
    """`send` only queues, and makes the link dirty once."""
    frames = [encode_frame(bytes((n,))) for n in range(10)]
    for frame in frames:
        ends.link.send(frame)
    assert [ends.link] == ends.dirty
    ends.link.flush()
    assert b"".join(frames) == ends.receive(50)


async def test_a_slow_reader_gets_everything_in_order(ends: Ends) -> None:
    """More than the socket holds: the rest goes when the peer reads, and `on_drained` tells."""
    drained: list[int] = []
    ends.link.on_drained = lambda: drained.append(ends.link.waiting_bytes)
    frames = [encode_frame(bytes((n,)) * 4000) for n in range(250)]
    for frame in frames:
        ends.link.send(frame)
    ends.link.flush()
    assert ends.link.waiting_bytes > 0
    expected = b"".join(frames)
    assert expected == await asyncio.to_thread(ends.receive, len(expected))
    await until(lambda: drained and drained[-1] == 0)


async def test_a_pause_leaves_frames_with_the_peer(ends: Ends) -> None:
    """While paused nothing is read; `start` goes on."""
    ends.link.pause()
    ends.peer.sendall(encode_frame(b"x"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert [] == ends.batches
    ends.link.start()
    await until(lambda: ends.batches)
    assert [[b"x"]] == ends.batches


async def test_the_peers_end_is_told_once(ends: Ends) -> None:
    """End of file ends the link without a reason, and what is sent later is dropped."""
    ends.peer.close()
    await ends.ended.wait()
    ends.link.send(encode_frame(b"x"))
    ends.link.flush()
    assert not ends.link.read()
    assert [None] == ends.ends
    assert ends.link.closed


async def test_an_end_inside_a_frame_discards_it(ends: Ends) -> None:
    """Half a frame is never handed on."""
    ends.peer.sendall(encode_frame(b"hello")[:-1])
    ends.peer.close()
    await ends.ended.wait()
    assert [] == ends.batches


async def test_a_frame_over_the_limit_is_drained(ends: Ends) -> None:
    """It comes as `Oversized`, and the frame after it is whole."""
    ends.peer.sendall(encode_frame(bytes(LIMIT + 1)) + encode_frame(b"next"))
    await until(lambda: sum(map(len, ends.batches)) == 2)
    oversized, following = [body for batch in ends.batches for body in batch]
    assert isinstance(oversized, Oversized)
    assert (LIMIT + 1, b"next") == (oversized.length, following)


async def test_a_length_beyond_draining_ends_the_link_with_its_reason(ends: Ends) -> None:
    """What `on_end` sends still goes out before the descriptors close."""

    def say_why(reason: WireError | None) -> None:
        assert reason is not None
        ends.link.send(encode_frame(reason.code.encode()))
        ends.ended.set()

    ends.link.on_end = say_why
    ends.peer.sendall(b"Hello, world")
    await ends.ended.wait()
    assert [b"frame_too_large"] == FrameDecoder().feed(ends.receive(100))


async def test_frames_before_a_framing_fault_count(ends: Ends) -> None:
    """In one read with stray text, the frames before it are as good as any."""
    ends.peer.sendall(encode_frame(b"good") + b"Hello, world")
    await ends.ended.wait()
    assert [[b"good"]] == ends.batches
    assert ["frame_too_large"] == [reason.code for reason in ends.ends if reason]


async def test_a_framing_fault_by_a_peer_that_reads_no_more_ends_the_link(ends: Ends) -> None:
    """The last words cannot be written; that must not be tried for ever."""

    def say_bye(reason: WireError | None) -> None:
        ends.link.send(encode_frame(b"bye"))
        ends.ended.set()

    ends.link.on_end = say_bye
    ends.peer.sendall(b"Hello, world")
    ends.peer.close()
    await asyncio.wait_for(ends.ended.wait(), 30)
    assert ends.link.closed


async def test_writing_to_a_peer_that_is_gone_ends_the_link(ends: Ends) -> None:
    """The write finds out before the read does."""
    ends.peer.close()
    ends.link.send(encode_frame(b"x"))
    ends.link.flush()
    await ends.ended.wait()
    assert [None] == ends.ends


async def test_what_a_peer_wrote_before_it_was_gone_counts(ends: Ends) -> None:
    """Also where a write finds out first: a worker's reply and what it said it began are in there."""
    ends.peer.sendall(encode_frame(b"last words"))
    ends.peer.close()
    ends.link.send(encode_frame(b"x"))
    ends.link.flush()
    await ends.ended.wait()
    assert [[b"last words"]] == ends.batches


async def test_closing_gives_both_descriptors_back() -> None:
    """Of a link on two pipes none is left open, and closing twice is no error."""
    (read_end, to_us), (from_us, write_end) = os.pipe(), os.pipe()
    link = Link(asyncio.get_running_loop(), read_end, write_end, [], LIMIT)
    link.start()
    link.close()
    link.close()
    for descriptor in (read_end, write_end):
        with pytest.raises(OSError):
            os.fstat(descriptor)
    os.close(to_us)
    os.close(from_us)
