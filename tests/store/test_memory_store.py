"""The memory store beside what all stores do: it never waits, and has no time but what it is given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from tests.support.stores import append, key, put

from dspex_pool.store import Conflict, Fence, Fenced, Held
from dspex_pool.store.limits import LEASE_MEMORY_S
from dspex_pool.store.memory import MemoryStore

Answer = TypeVar("Answer")


class Hand:
    """Drives a store without an event loop, as the simulation does."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.store = MemoryStore(lambda: self.now_s)

    def __call__(self, answer: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            answer.send(None)
        except StopIteration as end:
            value: Answer = end.value
            return value
        raise AssertionError("it waits for something")


def test_no_method_waits() -> None:
    """Each is over at its first step."""
    run = Hand()
    store = run.store
    run(store.open())
    assert [1, 1] == run(store.commit([put(), append()]))
    assert b"body" == run(store.get([key()]))[0].body  # type: ignore[union-attr]
    assert 1 == len(run(store.scan("thing"))) == len(run(store.entries("j")))
    lease = run(store.lease("s", "me", 1.0))
    run(store.release(lease))
    assert 0 == run(store.expire())
    run(store.close())


def test_errors_come_at_the_first_step_too() -> None:
    """They are no answers that are waited for."""
    run = Hand()
    run(run.store.lease("s", "me", 1.0))
    with pytest.raises(Held):
        run(run.store.lease("s", "you", 1.0))
    with pytest.raises(Conflict):
        run(run.store.commit([put(expect=1)]))


def test_time_is_what_it_is_given() -> None:
    """To the second: over at the end of its time, not before."""
    run = Hand()
    run(run.store.commit([put(ttl_s=10.0)]))
    run.now_s = 9.999
    assert run(run.store.get([key()]))[0] is not None
    run.now_s = 10.0
    assert [None] == run(run.store.get([key()]))
    assert 1 == run(run.store.expire())


def test_a_lease_is_forgotten_after_an_hour() -> None:
    """Its fence is refused from then on, and the next epoch is larger all the same."""
    run = Hand()
    lease = run(run.store.lease("s", "me", 10.0))
    run.now_s = 10.0 + LEASE_MEMORY_S - 1.0
    assert 0 == run(run.store.expire())
    run(run.store.commit([put()], [Fence("s", lease.epoch)]))
    run.now_s += 1.0
    assert 1 == run(run.store.expire())
    with pytest.raises(Fenced):
        run(run.store.commit([put()], [Fence("s", lease.epoch)]))
    assert run(run.store.lease("s", "me", 10.0)).epoch > lease.epoch


def test_it_imports_no_event_loop() -> None:
    """Nor threads: the simulation has its own."""
    program = "import sys, dspex_pool.store.memory; print({'asyncio', 'threading'} & set(sys.modules))"
    command = [sys.executable, "-c", program]
    assert "set()" == subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
