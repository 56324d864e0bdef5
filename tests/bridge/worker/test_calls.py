"""Calls that run in a worker: one outcome each, items by credit, calls to the host."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from tests.support.fakes import Frame, read_frame

from dspex_bridge.host_functions import Returned
from dspex_bridge.worker.calls import CallTable, RunningCall, current_call
from dspex_bridge.worker.host_calls import WINDOW
from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    ITEM,
    REPLY,
    DSPexError,
    Meta,
    encode_failure,
    encode_value,
    error,
)


class Hop:
    """A call table whose frames are kept."""

    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.table = CallTable(self.send)

    def send(self, frame: bytes) -> None:
        self.sent.append(read_frame(frame))

    def call(self, call_id: int = 1, **meta: int) -> RunningCall:
        given: Meta = dict(meta)
        return RunningCall(call_id, given, self.send)

    def kinds(self) -> list[int]:
        return [frame.kind for frame in self.sent]


@pytest.fixture
def hop() -> Hop:
    return Hop()


async def turns(count: int = 5) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_the_work_returns_is_the_reply(hop: Hop) -> None:
    """With the time that it took."""

    async def work() -> object:
        return {"answer": 42}

    hop.table.start(hop.call(7), work())
    await turns()
    (reply,) = hop.sent
    assert (REPLY, 7, {"answer": 42}) == (reply.kind, reply.id, reply.value)
    assert isinstance(reply.meta["worker_ms"], float)
    assert 0 == len(hop.table)


@pytest.mark.parametrize(
    ("raised", "code"),
    [(error("unknown_lm", "none of that name"), "unknown_lm"), (ZeroDivisionError("1/0"), "program_failed")],
)
async def test_what_the_work_raises_is_the_failure(hop: Hop, raised: Exception, code: str) -> None:
    """Our errors as they are, others by their kind."""

    async def work() -> object:
        raise raised

    hop.table.start(hop.call(), work())
    await turns()
    assert [code] == [frame.code for frame in hop.sent]


async def test_a_result_without_a_form_on_the_wire_is_a_failure(hop: Hop) -> None:
    """Not a call without an outcome."""

    async def work() -> object:
        return object()

    hop.table.start(hop.call(), work())
    await turns()
    assert ["value_unencodable"] == [frame.code for frame in hop.sent]


async def test_what_the_supervisor_would_throw_away_is_a_failure(hop: Hop) -> None:
    """A result, an item, arguments for the host: by the limit that it announced."""
    hop.table.max_frame_bytes = 1000
    big = b"x" * 1000
    call = RunningCall(2, {"credit": 5}, hop.send, 1000)

    async def ask() -> object:
        current_call.set(hop.call(3))
        return await hop.table.call_host("f", {"x": big})

    hop.table.start(hop.call(1), asyncio.sleep(0, big))
    hop.table.start(call, call.emit({"x": big}))
    hop.table.start(hop.call(3), ask())
    await turns()
    assert {1: "result_too_large", 2: "result_too_large", 3: "result_too_large"} == {
        frame.id: frame.code for frame in hop.sent
    }
    assert not call.committed


async def test_cancelling_before_the_first_step(hop: Hop) -> None:
    """The work never begins, and the call still ends once."""
    begun: list[int] = []

    async def work() -> object:
        begun.append(1)
        return None

    hop.table.start(hop.call(), work())
    hop.table.cancel(1)
    await turns()
    assert [] == begun
    assert ["cancelled"] == [frame.code for frame in hop.sent]


async def test_cancelling_in_the_middle_and_again_afterwards(hop: Hop) -> None:
    """One outcome; unknown ids are ignored."""
    hop.table.start(hop.call(), asyncio.Event().wait())
    await turns()
    for call_id in (1, 1, 99):
        hop.table.cancel(call_id)
        await turns()
    assert ["cancelled"] == [frame.code for frame in hop.sent]


async def test_items_are_numbered_and_wait_for_credit(hop: Hop) -> None:
    """Two of three go; the third when credit comes."""
    call = hop.call(credit=2)

    async def work() -> object:
        for text in "abc":
            await call.emit({"text": text})
        return None

    hop.table.start(call, work())
    await turns()
    assert [ITEM, ITEM] == hop.kinds()
    hop.table.credit(1, 1)
    await turns()
    assert [ITEM, ITEM, ITEM, REPLY] == hop.kinds()
    assert [0, 1, 2] == [frame.meta["seq"] for frame in hop.sent[:3]]


async def test_credit_of_zero_lets_nobody_go(hop: Hop) -> None:
    """Nor does credit for another call."""
    call = hop.call(credit=1)

    async def work() -> object:
        await call.emit({})
        await call.emit({})
        return None

    hop.table.start(call, work())
    await turns()
    hop.table.credit(1, 0)
    hop.table.credit(2, 5)
    await turns()
    assert [ITEM] == hop.kinds()
    hop.table.cancel(1)
    await turns()
    assert [ITEM, FAIL] == hop.kinds()


async def test_two_that_wait_for_credit_are_both_let_go(hop: Hop) -> None:
    """Together, or one after the other."""
    call = hop.call()

    async def work() -> object:
        await asyncio.gather(*(call.emit({"n": n}) for n in range(3)))
        return None

    hop.table.start(call, work())
    await turns()
    for count in (2, 1):
        hop.table.credit(1, count)
        await turns()
    assert [ITEM, ITEM, ITEM, REPLY] == hop.kinds()


@pytest.mark.parametrize(("credit", "expected"), [(0, False), (1, True)])
def test_whether_a_stream_is_wanted(hop: Hop, credit: int, expected: bool) -> None:
    """As the CALL's meta says."""
    assert expected is hop.call(credit=credit).wants_items
    assert not hop.call().wants_items


def start_asking(hop: Hop, call_id: int = 1) -> None:
    """A call that asks the host for `f` and returns what it says."""
    call = hop.call(call_id)

    async def work() -> object:
        current_call.set(call)
        return await hop.table.call_host("f", {"x": call_id})

    hop.table.start(call, work())


async def test_a_call_to_the_host_and_back(hop: Hop) -> None:
    """It names its parent; the answer is what the work gets."""
    start_asking(hop, 7)
    await turns()
    (asked,) = hop.sent
    assert (CALL, "function.call", {"parent": 7}) == (asked.kind, asked.method, asked.meta)
    assert {"function": "f", "args": {"x": 7}} == asked.value
    hop.table.host_replied(asked.id, encode_value("yes"))
    hop.table.host_replied(asked.id, encode_value("again"))
    await turns()
    assert (REPLY, 7, "yes") == (hop.sent[-1].kind, hop.sent[-1].id, hop.sent[-1].value)
    assert {} == hop.table._callbacks


async def test_answers_find_their_own_calls(hop: Hop) -> None:
    """In whatever order they come."""
    for call_id in (1, 2, 3):
        start_asking(hop, call_id)
    await turns()
    for asked in reversed(list(hop.sent)):
        hop.table.host_replied(asked.id, encode_value(asked.meta["parent"]))
    await turns()
    assert {1: 1, 2: 2, 3: 3} == {frame.id: frame.value for frame in hop.sent if frame.kind == REPLY}


@pytest.mark.parametrize(
    ("payload", "code"),
    [(encode_failure(error("function_timeout", "late")), "function_timeout"), (b"\xc1", "internal")],
)
async def test_the_hosts_error_is_raised_in_the_work(hop: Hop, payload: bytes, code: str) -> None:
    """Also one that cannot be read."""
    start_asking(hop)
    await turns()
    hop.table.host_failed(hop.sent[0].id, payload)
    await turns()
    assert code == hop.sent[-1].code


async def test_an_answer_that_cannot_be_read_is_an_error(hop: Hop) -> None:
    """It does not leave the call waiting."""
    start_asking(hop)
    await turns()
    hop.table.host_replied(hop.sent[0].id, b"\xc1")
    await turns()
    assert "value_reserved_byte" == hop.sent[-1].code


async def test_cancelling_a_call_cancels_what_it_asked_the_host(hop: Hop) -> None:
    """And a late answer goes nowhere."""
    start_asking(hop)
    await turns()
    hop.table.cancel(1)
    await turns()
    assert [CALL, CANCEL, FAIL] == hop.kinds()
    hop.table.host_replied(hop.sent[0].id, encode_value("late"))
    assert 3 == len(hop.sent)


async def test_work_may_catch_the_hosts_error(hop: Hop) -> None:
    """It is an exception like any other."""
    call = hop.call()

    async def work() -> object:
        current_call.set(call)
        try:
            return await hop.table.call_host("f", {})
        except DSPexError as failure:
            return failure.code

    hop.table.start(call, work())
    await turns()
    hop.table.host_failed(hop.sent[0].id, encode_failure(error("function_failed", "no")))
    await turns()
    assert "function_failed" == hop.sent[-1].value


class Listening:
    """A call that listens to what the host's `f` sends, as far as the test lets it.

    Attributes:
        heard: What it has taken.
        reads: Whether it takes more.
    """

    def __init__(self, hop: Hop) -> None:
        self.heard: list[object] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._hop = hop
        self._call = hop.call()
        hop.table.start(self._call, self._work())

    async def _work(self) -> object:
        current_call.set(self._call)
        async with aclosing(self._hop.table.stream_host("f", {})) as pieces:
            async for piece in pieces:
                if isinstance(piece, Returned):
                    return piece.value
                self.heard.append(piece)
                await self.reads.wait()
        return None


async def listening(hop: Hop) -> tuple[Listening, int]:
    """One, and the id of its call of the host."""
    listener = Listening(hop)
    await turns()
    (asked,) = hop.sent
    assert {"parent": 1, "credit": WINDOW} == asked.meta
    return listener, asked.id


async def test_the_hosts_pieces_come_before_its_answer(hop: Hop) -> None:
    """In order, also where all of it comes in one read."""
    listener, asked = await listening(hop)
    hop.table.host_sent(asked, encode_value("for"))
    hop.table.host_sent(asked, encode_value("ty"))
    hop.table.host_replied(asked, encode_value("done"))
    await turns()
    assert (["for", "ty"], "done") == (listener.heard, hop.sent[-1].value)
    assert {} == hop.table._callbacks


async def test_pieces_come_before_the_hosts_error(hop: Hop) -> None:
    """What was sent has been heard."""
    listener, asked = await listening(hop)
    hop.table.host_sent(asked, encode_value("for"))
    hop.table.host_failed(asked, encode_failure(error("function_failed", "no")))
    await turns()
    assert (["for"], "function_failed") == (listener.heard, hop.sent[-1].code)
    assert [CALL, FAIL] == hop.kinds()


async def test_credit_is_given_for_what_was_taken(hop: Hop) -> None:
    """Half a window at a time; none while nobody reads."""
    listener, asked = await listening(hop)
    listener.reads.clear()
    for _ in range(WINDOW):
        hop.table.host_sent(asked, encode_value("x"))
    await turns()
    assert [CALL] == hop.kinds()
    listener.reads.set()
    await turns()
    granted = [frame for frame in hop.sent if frame.kind == CREDIT]
    assert [(asked, WINDOW // 2)] * 2 == [(frame.id, frame.meta["n"]) for frame in granted]


async def test_a_halted_call_halts_the_hosts_stream(hop: Hop) -> None:
    """The host is told once; what comes late goes nowhere."""
    listener, asked = await listening(hop)
    hop.table.host_sent(asked, encode_value("x"))
    await turns()
    hop.table.cancel(1)
    await turns()
    hop.table.host_sent(asked, encode_value("late"))
    assert [CALL, CANCEL, FAIL] == hop.kinds()
    assert (["x"], {}) == (listener.heard, hop.table._callbacks)


async def test_a_piece_that_cannot_be_read_ends_the_hosts_stream(hop: Hop) -> None:
    """The call has the error, and the host is told to stop."""
    _, asked = await listening(hop)
    hop.table.host_sent(asked, b"\xc1")
    await turns()
    assert [CALL, CANCEL, FAIL] == hop.kinds()
    assert "value_reserved_byte" == hop.sent[-1].code
