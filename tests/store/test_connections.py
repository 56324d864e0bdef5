"""Connections to a server, without one: who gets which, who waits, and who is told what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dspex_pool.store import Full, Refused, StoreError, Unavailable
from dspex_pool.store.connections import MOST_PAUSE_S, Connections, Lost

TIMEOUT_S = 5.0


class Line:
    """A connection to nothing; its answer is its number, when it is let go."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_waiting = False
        self.is_broken = False
        self.answering = asyncio.Event()
        self.questions = 0

    def is_usable(self) -> bool:
        return not self.is_broken

    def abort(self) -> None:
        self.is_broken = True

    async def close(self) -> None:
        self.abort()

    async def ask(self) -> int:
        assert not self.is_waiting, "two questions on one connection"
        assert not self.is_broken
        self.questions += 1
        self.is_waiting = True
        await self.answering.wait()
        self.is_waiting = False
        return self.number


class Exchange:
    """Makes lines, or fails to, as told."""

    def __init__(self, limit: int = 2, timeout_s: float = TIMEOUT_S) -> None:
        self.lines: list[Line] = []
        self.failure: Callable[[], Exception] | None = None
        self.attempts_s: list[float] = []
        self.at_once = 0
        self.are_answering = True
        self.connections = Connections("exchange", self.connect, limit, timeout_s)
        self.connections.open()

    async def connect(self) -> Line:
        self.attempts_s.append(asyncio.get_running_loop().time())
        self.at_once += 1
        assert self.at_once == 1, "two attempts at once"
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.failure is not None:
            raise self.failure()
        self.lines.append(Line(len(self.lines)))
        if self.are_answering:
            self.lines[-1].answering.set()
        return self.lines[-1]

    def ask(self, *, only_once: bool = False) -> asyncio.Task[int]:
        return asyncio.create_task(self.connections.ask(Line.ask, only_once=only_once))


async def turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_one_connection_serves_one_after_the_other() -> None:
    """The one that was used last, so that others may be idle."""
    exchange = Exchange()
    assert [0, 0, 0] == [await exchange.ask() for _ in range(3)]


async def test_there_are_no_more_than_the_limit() -> None:
    """Whoever comes later waits for a turn, and gets one in order."""
    exchange = Exchange(limit=3)
    exchange.are_answering = False
    asking = [exchange.ask() for _ in range(10)]
    await turns(30)
    assert 3 == len(exchange.lines)
    assert [1, 1, 1] == [line.questions for line in exchange.lines]
    for line in exchange.lines:
        line.answering.set()
    await asyncio.gather(*asking)
    assert 3 == len(exchange.lines)


async def test_who_leaves_takes_the_connection_along() -> None:
    """Nobody else asks on it, and the next one gets another."""
    exchange = Exchange(limit=1)
    exchange.are_answering = False
    leaving, staying = exchange.ask(), exchange.ask()
    await turns()
    leaving.cancel()
    exchange.are_answering = True
    assert 1 == await staying
    assert exchange.lines[0].is_broken
    assert leaving.cancelled()


async def test_who_leaves_while_waiting_takes_nothing() -> None:
    """Also in the moment in which its turn comes."""
    exchange = Exchange(limit=1)
    exchange.are_answering = False
    first, second, third = exchange.ask(), exchange.ask(), exchange.ask()
    await turns()
    exchange.lines[0].answering.set()
    await first
    second.cancel()
    assert 0 == await third
    assert 1 == len(exchange.lines)


async def test_an_answer_that_is_an_error_keeps_the_connection() -> None:
    """A server that is full still talks."""
    exchange = Exchange()

    async def full(_: Line) -> int:
        raise Full("no room")

    for _ in range(3):
        with pytest.raises(Full):
            await exchange.connections.ask(full)
    assert 1 == len(exchange.lines)


async def test_a_lost_answer_is_asked_for_once_more() -> None:
    """But not that of a commit, of which nobody knows whether it was made."""
    exchange = Exchange()

    async def lose(line: Line) -> int:
        line.is_waiting = True
        raise Lost("cut")

    for only_once, lines in ((False, 2), (True, 1)):
        exchange.lines.clear()
        with pytest.raises(Unavailable, match="cut") as caught:
            await exchange.connections.ask(lose, only_once=only_once)
        assert only_once == caught.value.maybe_applied
        assert lines == len(exchange.lines)


async def test_what_was_not_sent_is_sent_on_another() -> None:
    """A commit too: it has not happened."""
    exchange = Exchange()

    async def on_the_third(line: Line) -> int:
        if line.number < 2:
            raise Lost("closed while idle")
        return line.number

    assert 2 == await exchange.connections.ask(on_the_third, only_once=True)


async def test_a_server_that_closes_at_once_is_left_alone() -> None:
    """It lets everybody in, and nobody ask."""
    exchange = Exchange()

    async def never_sent(_: Line) -> int:
        raise Lost("closed")

    with pytest.raises(Unavailable, match="closed") as caught:
        await exchange.connections.ask(never_sent, only_once=True)
    assert not caught.value.maybe_applied
    assert 3 == len(exchange.lines)


async def test_after_a_loss_all_others_are_distrusted() -> None:
    """Those that are idle, and those in use when they come back."""
    exchange = Exchange(limit=3)
    exchange.are_answering = False
    asking = [exchange.ask() for _ in range(3)]
    await turns(30)
    first, second, third = exchange.lines
    first.answering.set()
    await asking[0]
    asking[1].cancel()  # that is no loss
    await turns()
    assert not first.is_broken

    async def lose(line: Line) -> int:
        line.is_waiting = True
        raise Lost("cut")

    with pytest.raises(Unavailable):
        await exchange.connections.ask(lose)
    third.answering.set()
    await asking[2]
    assert [True, True, True] == [line.is_broken for line in (first, second, third)]


async def test_many_share_one_attempt() -> None:
    """And hear of its failure, each with an error of its own."""
    exchange = Exchange()
    exchange.failure = lambda: Refused("not you")
    ends = await asyncio.gather(*(exchange.ask() for _ in range(100)), return_exceptions=True)
    assert {Refused} == {type(end) for end in ends}
    assert 100 == len({id(end) for end in ends})
    assert 1 == len(exchange.attempts_s)


@pytest.mark.slow
async def test_attempts_are_spaced_out_up_to_a_limit() -> None:
    """Doubling, with jitter, and never more than half a second: then it would be found too late."""
    exchange = Exchange()
    exchange.failure = lambda: Lost("refused")
    for _ in range(9):
        with pytest.raises(Unavailable, match="refused"):
            await exchange.ask()
    pauses_s = [
        later - earlier for earlier, later in zip(exchange.attempts_s, exchange.attempts_s[1:], strict=False)
    ]
    assert 9 == len(exchange.attempts_s)
    assert pauses_s[-1] > MOST_PAUSE_S / 4
    assert all(pause_s > MOST_PAUSE_S / 100 for pause_s in pauses_s)
    exchange.failure = None
    assert 0 == await exchange.ask()


async def test_a_server_that_is_slow_to_connect_to() -> None:
    """Who has the time gets the next attempt."""
    exchange = Exchange()
    failures = iter([TimeoutError, TimeoutError])

    async def connect() -> Line:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await exchange.connect()

    exchange.connections._connect = connect
    assert 0 == await exchange.ask()


async def test_a_server_that_takes_no_more_is_used_as_it_is() -> None:
    """Who waits gets a connection that is given back."""
    exchange = Exchange(limit=4)
    exchange.are_answering = False
    asking = [exchange.ask()]
    await turns()
    exchange.failure = lambda: Unavailable("too many")
    asking += [exchange.ask() for _ in range(5)]
    await turns(30)
    exchange.lines[0].answering.set()
    assert [0] * 6 == await asyncio.gather(*asking)


async def test_time_is_limited() -> None:
    """Of waiting for a connection, and of waiting for an answer: only then it may have happened."""
    exchange = Exchange(limit=1, timeout_s=0.05)
    exchange.are_answering = False
    asking = [exchange.ask(only_once=True), exchange.ask(only_once=True)]
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert [True, False] == [end.maybe_applied for end in ends if isinstance(end, Unavailable)]


async def test_closing_ends_everything() -> None:
    """Idle, in use and waited for; nothing is made after it."""
    exchange = Exchange(limit=1)
    await exchange.ask()
    exchange.lines[0].answering.clear()
    asking, waiting = exchange.ask(), exchange.ask()
    await turns()
    await exchange.connections.close()
    assert exchange.lines[0].is_broken
    with pytest.raises(StoreError):
        await waiting
    with pytest.raises(Unavailable, match="not open"):
        await exchange.ask()
    asking.cancel()
    assert 1 == len(exchange.lines)
    exchange.connections.open()
    assert 1 == await exchange.ask()
