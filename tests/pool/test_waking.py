"""The supervisor's one timer, on the loop that servers run on."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from tests.support.fakes import stored_in
from tests.support.tasks import HandTasks

from dspex_pool.config import Config
from dspex_pool.logs import Log
from dspex_pool.ports import Alone, Ports
from dspex_pool.store.memory import MemoryStore
from dspex_pool.supervisor import Supervisor

uvloop = pytest.importorskip("uvloop")


class NoProcesses:
    """A machine on which nothing can be started."""

    mode = "none"
    is_forking = False
    own_pids: set[int]

    def __init__(self) -> None:
        self.own_pids = set()

    def start(self) -> None:
        """Nothing."""

    def spawn(
        self, started: Callable[..., None], failed: Callable[..., None], alone: Alone | None = None
    ) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class NoScales:
    """Nobody's memory is watched."""

    def watch(self, number: int, pid: int) -> None:
        """Nothing."""

    def forget(self, number: int) -> None:
        """Nothing."""


def test_a_wake_up_that_is_due_already_can_be_asked_for_again() -> None:
    """For a time that is over uvloop gives another kind of handle, which does not know its time."""
    loop = uvloop.new_event_loop()
    try:
        ports = Ports(
            timers=loop,
            processes=NoProcesses(),
            open_link=lambda wire: pytest.fail("there is no worker"),
            sweep=lambda own, groups: False,
            weighing=NoScales(),
            log=Log("error"),
            random=Random(1),
            stored=stored_in(MemoryStore(loop.time), HandTasks()),
        )
        supervisor = Supervisor(Config(), ports, [], ended=lambda: None)
        for at_s in (loop.time(), loop.time() - 1, loop.time() + 1):
            supervisor._wake_at(at_s)
        assert supervisor._wake_s < loop.time()
    finally:
        loop.close()
