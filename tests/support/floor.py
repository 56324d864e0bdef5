"""Slots and their upkeep between fakes: processes that the test bears, and time that it moves.

The wires are real socket pairs, so that frames go the way that they go in a server; nothing
else is. Jitter is off.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import cast

from dspex_pool.config import Config
from dspex_pool.greeting import HELLO_ID
from dspex_pool.host import Host
from dspex_pool.lifecycle import WorkerState
from dspex_pool.link import Link
from dspex_pool.ports import Alone, Ports, Process
from dspex_pool.slots import Slots
from dspex_pool.spawning import Spawner
from dspex_pool.upkeep import Upkeep
from dspex_pool.worker import Worker
from dspex_protocol import NOTE, REPLY, FrameDecoder, encode_frame

from .fakes import FakeProcess, Frame, Room, body_of, read_frame

WELCOME = {
    "protocol": "dspex",
    "version": 1,
    "pid": 1,
    "methods": ["system.echo", "program.predict"],
    "effects": [],
}


class Newborn:
    """A worker's process, and the far end of its wire."""

    def __init__(self, pid: int) -> None:
        self.process = FakeProcess(pid)
        self.wire, supervisor = socket.socketpair()
        self.descriptor = supervisor.detach()
        self.wire.setblocking(False)
        self._decoder = FrameDecoder(1 << 24)

    def hear(self) -> list[Frame]:
        """What it has been sent since the last time."""
        try:
            bodies = self._decoder.feed(self.wire.recv(1 << 20))
        except BlockingIOError:
            return []
        return [read_frame(encode_frame(body)) for body in bodies if isinstance(body, bytes)]

    def die(self, reason: str) -> None:
        self.process.on_exit(reason)
        self.wire.close()


class FakeSpawner(Spawner):
    """A spawner whose processes the test makes."""

    def __init__(self, room: Room) -> None:
        super().__init__(asyncio.get_running_loop(), room.log, use_zygote=False, environment={})
        self.requests: list[tuple[Callable[[Process, int], None], Callable[[str], None]]] = []
        self.forking = False

    @property
    def is_forking(self) -> bool:
        return self.forking

    def spawn(
        self,
        started: Callable[[Process, int], None],
        failed: Callable[[str], None],
        alone: Alone | None = None,
    ) -> None:
        self.requests.append((started, failed))


class FakeTimer:
    """Something that will happen, unless it is cancelled."""

    def __init__(
        self, loop: FakeLoop, delay_s: float, run: Callable[..., object], given: tuple[object, ...]
    ) -> None:
        self._loop = loop
        self.delay_s = delay_s
        self.due_s = loop.now_s + delay_s
        self.run = run
        self.given = given

    @property
    def name(self) -> str:
        """What it will do."""
        return getattr(self.run, "__name__", "")

    def cancel(self) -> None:
        if self in self._loop.timers:
            self._loop.timers.remove(self)

    def fire(self) -> None:
        self._loop.timers.remove(self)
        self.run(*self.given)


class FakeLoop:
    """Timers that run when the test says so; descriptors are nobody's."""

    def __init__(self, room: Room) -> None:
        self._clock = room.clock
        self.timers: list[FakeTimer] = []

    @property
    def now_s(self) -> float:
        return self._clock.now_s

    def time(self) -> float:
        return self.now_s

    def add_reader(self, descriptor: int, callback: object) -> None: ...

    def remove_reader(self, descriptor: int) -> None: ...

    def call_soon(self, run: Callable[..., object], *given: object) -> FakeTimer:
        return self.call_later(0.0, run, *given)

    def call_at(self, at_s: float, run: Callable[..., object], *given: object) -> FakeTimer:
        return self.call_later(at_s - self.now_s, run, *given)

    def call_later(self, delay_s: float, run: Callable[..., object], *given: object) -> FakeTimer:
        self.timers.append(FakeTimer(self, delay_s, run, given))
        return self.timers[-1]

    def run(self, name: str) -> float:
        """Run the one timer of that name; returns its delay."""
        (timer,) = [timer for timer in self.timers if timer.name == name]
        timer.fire()
        return timer.delay_s

    def advance(self, seconds: float) -> None:
        """Let time pass, and run what is due on the way, in order."""
        until_s = self.now_s + seconds
        while due := [timer for timer in self.timers if timer.due_s <= until_s]:
            timer = min(due, key=lambda one: one.due_s)
            self._clock.now_s = max(self.now_s, timer.due_s)
            timer.fire()
        self._clock.now_s = until_s


class FakeWeighing:
    """Whose memory is watched."""

    def __init__(self) -> None:
        self.watched: dict[int, int] = {}

    def watch(self, number: int, pid: int) -> None:
        self.watched[number] = pid

    def forget(self, number: int) -> None:
        self.watched.pop(number, None)


class Steady(Random):
    """No jitter, unless it is wanted."""

    jitters = False

    def uniform(self, a: float, b: float) -> float:
        return super().uniform(a, b) if self.jitters else 1.0


class Floor:
    """Slots between fakes, and no jitter.

    Args:
        start: Slots that are open at first.
        settings: As in the file of settings; `workers` are slots here.
    """

    def __init__(self, start: int = 1, **settings: object) -> None:
        self.room = Room(workers=0, config=replace(Config(), **settings))  # type: ignore[arg-type]
        self.loop = FakeLoop(self.room)
        self.spawner = FakeSpawner(self.room)
        loop = cast("asyncio.AbstractEventLoop", self.loop)
        self._random = Steady()
        self.weighing = FakeWeighing()
        self.newborns: list[Newborn] = []
        self.orphans: list[int] = []  # how many each look finds; none when it is empty
        self.ports = ports = Ports(
            timers=loop,
            processes=self.spawner,
            open_link=lambda wire: Link(loop, wire, wire, self.room.dirty, 1 << 20),
            sweep=lambda own, groups: self.orphans.pop(0) if self.orphans else 0,
            weighing=self.weighing,
            log=self.room.log,
            random=self._random,
            stored=self.room.stored,
        )
        self.slots = Slots(self.room.config, ports, self.room.switchboard, Host(""))
        self.upkeep = Upkeep(self.room.config, ports, self.slots, self.room.switchboard)
        self.room.switchboard.placing.on_no_room = self.upkeep.scale_soon
        self.slots.start(start)

    def jitter(self) -> None:
        """From now on limits and waits differ, as they do in a server."""
        self._random.jitters = True

    def bear(self) -> Newborn:
        """The process that was asked for last comes to be, is greeted, and warms up where it is to."""
        newborn = self.greet()
        if self.worker_of(newborn).state is WorkerState.STARTING:
            self.say(newborn, body_of(REPLY, HELLO_ID + 1, None, {}, None))
        return newborn

    def greet(self) -> Newborn:
        """The process that was asked for last comes to be, and answers hello."""
        started, _ = self.spawner.requests.pop()
        newborn = Newborn(90_000 + len(self.room.log.lines))
        self.newborns.append(newborn)
        started(newborn.process, newborn.descriptor)
        self.say(newborn, body_of(REPLY, HELLO_ID, None, {}, WELCOME))
        return newborn

    def prove(self, newborn: Newborn) -> None:
        """It says that it has begun a call: it is of use."""
        self.say(newborn, body_of(NOTE, 0, "call.started", {"up_to": 1}, None))

    def bear_all(self) -> list[Newborn]:
        """All that were asked for."""
        return [self.bear() for _ in list(self.spawner.requests)]

    def say(self, newborn: Newborn, body: bytes) -> None:
        """The worker writes a frame, and it is read."""
        newborn.wire.sendall(encode_frame(body))
        self.worker_of(newborn).link.read()

    def reply(self, newborn: Newborn, value: object = None) -> None:
        """The worker answers the call that it has had longest."""
        self.say(newborn, body_of(REPLY, next(iter(self.worker_of(newborn).calls)), None, {}, value))

    def start_all(self, newborn: Newborn) -> None:
        """The worker begins all that it has."""
        up_to = self.worker_of(newborn).last_id
        self.say(newborn, body_of(NOTE, 0, "call.started", {"up_to": up_to}, None))

    def bury(self) -> list[Newborn]:
        """Those that were killed die, and are returned."""
        killed = [newborn for newborn in self.newborns if newborn.process.killed]
        for newborn in killed:
            self.newborns.remove(newborn)
            newborn.die("SIGKILL")
        return killed

    def close(self) -> None:
        """Close what is open."""
        for newborn in self.newborns:
            newborn.wire.close()
        for worker in self.slots.workers:
            worker.link.close()

    def worker_of(self, newborn: Newborn) -> Worker:
        """The worker as the slots see it."""
        (worker,) = [worker for worker in self.slots.workers if worker.process is newborn.process]
        return worker

    def calls_of(self, newborn: Newborn) -> int:
        """How many it has."""
        return self.worker_of(newborn).load
