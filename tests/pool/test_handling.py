"""Calls that the supervisor answers itself: a few at once, tenants in turn, and nobody for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import pytest
from tests.support.tasks import HandPromise, HandTasks

from dspex_pool.calls import Call, Caller
from dspex_pool.handling import AT_ONCE, Handling, Lines
from dspex_pool.tasks import LoopTasks
from dspex_pool.tenants import Tenant
from dspex_protocol import DSPexError, error

ONE, OTHER = Tenant("one"), Tenant("other")


CONNECTION: Final = cast("Caller", None)  # nobody answers it here


class Counter:
    """Where calls are handled: each waits until the test ends it.

    Attributes:
        begun: The ids of the calls, in order.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.tasks = HandTasks(call_soon)
        self.handling = Handling(self.tasks, self._handle)
        self.begun: list[int] = []
        self._ends: dict[int, HandPromise[None]] = {}
        self._last_id = 0

    async def _handle(self, call: Call) -> None:
        self.begun.append(call.id)
        end = self._ends[call.id] = self.tasks.promise()
        await end

    def enter(self, tenant: Tenant = ONE, depth: int = 0) -> Call:
        self._last_id += 1
        call = Call(CONNECTION, self._last_id, "program.get", {}, b"", 0.0)
        call.tenant, call.depth = tenant, depth
        self.handling.enter(call)
        return call

    def end(self, call_id: int) -> None:
        self._ends.pop(call_id).set_result(None)


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_a_few_are_handled_at_once(counter: Counter) -> None:
    """The others in the order in which they came, as soon as one has ended."""
    for _ in range(AT_ONCE + 3):
        counter.enter()
    assert (list(range(1, AT_ONCE + 1)), 3) == (counter.begun, len(counter.handling))
    counter.end(5)
    assert (AT_ONCE + 1, 2) == (counter.begun[-1], len(counter.handling))


def test_one_begins_in_each_round() -> None:
    """Between two of them the event loop has seen to everything else."""
    soon: list[Callable[[], None]] = []
    counter = Counter(soon.append)
    for _ in range(3):
        counter.enter()
    begun: list[int] = []
    while soon:
        now, soon[:] = list(soon), []
        for step in now:
            step()
        begun.append(len(counter.begun))
    assert [1, 2, 3] == begun


def test_tenants_are_served_in_turn(counter: Counter) -> None:
    """Whoever has few calls does not wait for all of those who have many."""
    for _ in range(AT_ONCE + 5):
        counter.enter(ONE)
    last = counter.enter(OTHER)
    counter.end(1)
    counter.end(2)
    assert last.id in counter.begun


def test_a_call_within_a_call_waits_for_nobody(counter: Counter) -> None:
    """What it waited for might wait for it."""
    for _ in range(AT_ONCE + 1):
        counter.enter()
    assert counter.enter(depth=1).id in counter.begun


def test_a_call_that_has_ended_waits_no_more(counter: Counter) -> None:
    """It is never begun, and others are not kept from it by that."""
    calls = [counter.enter() for _ in range(AT_ONCE + 2)]
    counter.handling.leave(calls[-2])
    counter.handling.leave(calls[0])  # which does not wait
    assert ([calls[-1]], 1) == (counter.handling.waiting(), len(counter.handling))
    counter.end(1)
    assert (calls[-1].id, 0) == (counter.begun[-1], len(counter.handling))


def test_whoever_waits_for_something_else_lets_others_go_on(counter: Counter) -> None:
    """As many as wait for a worker, say."""
    for _ in range(AT_ONCE + 1):
        counter.enter()
    with counter.handling.aside():
        assert AT_ONCE + 1 == counter.begun[-1]
    counter.enter()
    counter.end(1)
    assert AT_ONCE + 1 == counter.begun[-1]  # there is one too many still
    counter.end(2)
    assert AT_ONCE + 2 == counter.begun[-1]


class Queue:
    """Some who go one after another, each until the test ends it."""

    def __init__(self) -> None:
        counter = Counter()
        self.tasks = counter.tasks
        self.lines = Lines(counter.tasks, counter.handling)
        self.log: list[str] = []
        self._ends: dict[str, HandPromise[None]] = {}

    def go(self, who: str, name: str = "p") -> None:
        self.tasks.start(self._go(who, name))

    async def _go(self, who: str, name: str) -> None:
        try:
            async with self.lines.turn(name):
                self.log.append(who)
                end = self._ends[who] = self.tasks.promise()
                await end
        except DSPexError as failure:
            self.log.append(f"{who}: {failure.code} {failure.maybe_executed}")

    def end(self, who: str, failure: DSPexError | None = None) -> None:
        end = self._ends.pop(who)
        end.set_result(None) if failure is None else end.set_exception(failure)


def test_they_go_one_after_another() -> None:
    """Those who go for something else do not wait for them."""
    queue = Queue()
    for who in "abc":
        queue.go(who)
    queue.go("x", "other")
    assert ["a", "x"] == queue.log
    queue.end("a")
    queue.end("b", error("version_conflict", "no"))
    queue.end("c")
    queue.end("x")
    assert ["a", "x", "b", "c"] == [line for line in queue.log if ":" not in line]
    assert ["b: version_conflict False"] == [line for line in queue.log if ":" in line]
    assert 0 == len(queue.lines)


async def test_who_is_cancelled_in_the_line_is_passed_over() -> None:
    """As when the server ends; the others go on, and nothing is left of the line."""
    tasks = LoopTasks(asyncio.get_running_loop())
    lines = Lines(tasks, Handling(tasks, lambda call: _nothing()))
    log: list[str] = []
    first_may_end = asyncio.Event()

    async def go(who: str) -> None:
        async with lines.turn("p"):
            log.append(who)
            if who == "a":
                await first_may_end.wait()

    going = [asyncio.ensure_future(go(who)) for who in "abc"]
    await asyncio.sleep(0)
    going[1].cancel()
    first_may_end.set()
    ends = await asyncio.gather(*going, return_exceptions=True)
    assert [None, asyncio.CancelledError, None] == [end if end is None else type(end) for end in ends]
    assert (["a", "c"], 0) == (log, len(lines))


async def _nothing() -> None:
    pass


def test_a_store_that_is_down_is_told_to_all_who_wait() -> None:
    """Each would need a second to find it out; and none of them has done anything."""
    queue = Queue()
    for who in "abc":
        queue.go(who)
    queue.end("a", error("store_unavailable", "it is down", maybe_executed=True))
    told = ["b: store_unavailable False", "c: store_unavailable False", "a: store_unavailable True"]
    assert ["a", *told] == queue.log
    queue.go("d")
    assert "d" == queue.log[-1]
