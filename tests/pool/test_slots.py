"""Slots: workers are replaced at once, or later and later when they do not start."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from random import Random
from typing import cast

import pytest
from tests.support.fakes import FakeProcess, Room, body_of

from dspex_pool.host import Host
from dspex_pool.slots import BREAKER_FAILURES, EARLY_DEATH_S, MAX_BACKOFF_S, SWEEP_AGAIN_S, Slots
from dspex_pool.spawning import ChildProcess, Spawner
from dspex_protocol import NOTE, REPLY, encode_frame

WELCOME = {"protocol": "dspex", "version": 1, "pid": 1, "methods": ["system.echo"], "effects": []}


class Newborn:
    """A worker's process, and the far end of its wire."""

    def __init__(self, pid: int) -> None:
        self.process = FakeProcess(pid)
        self.wire, supervisor = socket.socketpair()
        self.descriptor = supervisor.detach()

    def die(self, reason: str) -> None:
        self.process.on_exit(reason)
        self.wire.close()


class FakeSpawner(Spawner):
    """A spawner whose processes the test makes."""

    def __init__(self, room: Room) -> None:
        super().__init__(asyncio.get_running_loop(), room.log, use_zygote=False, environment={})
        self.requests: list[tuple[Callable[[ChildProcess, int], None], Callable[[str], None]]] = []
        self.forking = False

    @property
    def is_forking(self) -> bool:
        return self.forking

    def spawn(self, started: Callable[[ChildProcess, int], None], failed: Callable[[str], None]) -> None:
        self.requests.append((started, failed))


class FakeLoop:
    """Timers that run when the test says so; descriptors are nobody's."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[..., object], tuple[object, ...]]] = []
        self.now_s = 100.0

    def time(self) -> float:
        return self.now_s

    def add_reader(self, descriptor: int, callback: object) -> None: ...

    def remove_reader(self, descriptor: int) -> None: ...

    def call_later(self, delay_s: float, run: Callable[..., object], *given: object) -> FakeTimer:
        self.timers.append((delay_s, run, given))
        return FakeTimer(self, self.timers[-1])

    def run(self, name: str) -> float:
        """Run the one timer of that name; returns its delay."""
        (timer,) = [timer for timer in self.timers if getattr(timer[1], "__name__", "") == name]
        self.timers.remove(timer)
        timer[1](*timer[2])
        return timer[0]


class FakeTimer:
    """One of them."""

    def __init__(
        self, loop: FakeLoop, entry: tuple[float, Callable[..., object], tuple[object, ...]]
    ) -> None:
        self._loop, self._entry = loop, entry

    def cancel(self) -> None:
        if self._entry in self._loop.timers:
            self._loop.timers.remove(self._entry)


class Floor:
    """One slot between fakes, and no jitter."""

    def __init__(self) -> None:
        self.room = Room(workers=0)
        self.loop = FakeLoop()
        self.spawner = FakeSpawner(self.room)
        loop = cast("asyncio.AbstractEventLoop", self.loop)
        random = Random()
        random.uniform = lambda a, b: 1.0  # type: ignore[method-assign]
        self.slots = Slots(
            loop, self.room.config, self.spawner, self.room.switchboard, Host(""), [], self.room.log, random
        )
        self.slots._fill(0)

    def bear(self) -> Newborn:
        """The process that was asked for comes to be, and gets ready."""
        started, _ = self.spawner.requests.pop()
        newborn = Newborn(90_000 + len(self.room.log.lines))
        started(cast("ChildProcess", newborn.process), newborn.descriptor)
        self.say(newborn, body_of(REPLY, 1, None, {}, WELCOME))
        return newborn

    def say(self, newborn: Newborn, body: bytes) -> None:
        """The worker writes a frame, and it is read."""
        newborn.wire.sendall(encode_frame(body))
        (worker,) = self.slots._workers.values()
        worker.link.read()


@pytest.fixture
async def floor() -> Floor:
    return Floor()


async def test_a_boot_that_fails_is_tried_later_and_later(floor: Floor) -> None:
    """Twice as long each time, up to a bound."""
    delays: list[float] = []
    for _ in range(8):
        floor.spawner.requests.pop()[1]("no descriptors")
        delays.append(floor.loop.run("_fill"))
    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_BACKOFF_S, MAX_BACKOFF_S] == delays


async def test_waiting_calls_are_told_when_workers_do_not_start(floor: Floor) -> None:
    """After five failures within a minute, and not after four."""
    client = floor.room.add_client()
    call = client.call()
    told: list[int] = []
    for _ in range(BREAKER_FAILURES):
        floor.spawner.requests.pop()[1]("no descriptors")
        floor.loop.run("_fill")
        told.append(len(client.outcomes(call)))
    assert [0, 0, 0, 0, 1] == told
    assert "boot_failed" == client.outcome(call).code


async def test_failures_that_are_long_ago_tell_nobody(floor: Floor) -> None:
    """Five in an hour are accidents."""
    client = floor.room.add_client()
    call = client.call()
    for _ in range(BREAKER_FAILURES):
        floor.spawner.requests.pop()[1]("no descriptors")
        floor.loop.run("_fill")
        floor.loop.now_s += 20
    assert [] == client.outcomes(call)


async def test_a_worker_that_ends_as_soon_as_it_is_ready_is_replaced_later(floor: Floor) -> None:
    """And later each time; it must not be started a hundred times a second."""
    delays: list[float] = []
    for _ in range(3):
        floor.bear().die("exit code 1")
        assert [] == floor.spawner.requests
        delays.append(floor.loop.run("_fill"))
    assert [0.1, 0.2, 0.4] == delays


@pytest.mark.parametrize("ours", [False, True])
async def test_a_worker_that_was_killed_is_replaced_at_once(floor: Floor, ours: bool) -> None:
    """By somebody else, that is: one that we had to kill so soon would need it again."""
    newborn = floor.bear()
    newborn.process.killed = ours
    newborn.die("SIGKILL")
    assert (0 if ours else 1) == len(floor.spawner.requests)


async def test_a_worker_that_was_of_use_is_replaced_at_once(floor: Floor) -> None:
    """It had begun a call, or answered one, or lived a while."""
    client = floor.room.add_client()
    newborn = floor.bear()
    floor.say(newborn, body_of(NOTE, 0, "call.started", {"up_to": 2}, None))
    newborn.die("exit code 1")
    assert 1 == len(floor.spawner.requests)
    newborn = floor.bear()
    client.call()
    (worker,) = floor.slots._workers.values()
    floor.say(newborn, body_of(REPLY, worker.last_id, None, {}, None))
    newborn.die("exit code 1")
    assert 1 == len(floor.spawner.requests)
    newborn = floor.bear()
    assert EARLY_DEATH_S == floor.loop.run("_proved")
    newborn.die("exit code 1")
    assert 1 == len(floor.spawner.requests)


async def test_orphans_are_looked_for_until_there_are_none(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a death; not while a fork is under way, whose child is nobody's yet."""
    found = [2, 0]
    looks: list[int] = []

    def kill(own: object, groups: object) -> int:
        looks.append(found.pop(0))
        return looks[-1]

    monkeypatch.setattr("dspex_pool.slots.kill_children", kill)
    floor.bear().die("SIGKILL")
    floor.spawner.forking = True
    assert SWEEP_AGAIN_S == floor.loop.run("_sweep")
    assert [] == looks
    floor.spawner.forking = False
    floor.loop.run("_sweep")
    floor.loop.run("_sweep")
    assert [2, 0] == looks
    assert [] == [timer for timer in floor.loop.timers if timer[1] == floor.slots._sweep]
