"""One server of a simulated world: a supervisor, its workers and clients, and what is checked of them all."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING, Final

from dspex_pool.logs import Log
from dspex_pool.ports import Ports, Stored
from dspex_pool.supervisor import Supervisor

from .clients import SimClient
from .connections import Connection
from .links import WatchedLink
from .records import CallRecord, Violation, WriteRecord
from .store import SimStore
from .tasks import SimTasks
from .weather import Scales, Weather
from .world import World

if TYPE_CHECKING:
    from dspex_pool.link import Link
    from dspex_pool.ports import Timer

    from .common import Common
    from .job_records import JobCall

MAX_UNREAD_BYTES: Final = 10_000
EARLY_END_S: Final = 2.0


class SimLog(Log):
    """A log into the trace."""

    def __init__(self, world: World) -> None:
        super().__init__("error")
        self._world = world

    def _add(self, level: str, event: str, fields: dict[str, object]) -> None:
        if self.listener is not None:
            self.listener(level, event, fields)
        self._world.trace("log", level, event, *map(str, fields.values()))

    def raw(self, text: bytes) -> None:
        """Nothing comes from simulated processes."""


class SimServer:
    """A server.

    Attributes:
        world: Its surroundings.
        supervisor: It.
        clients: Who uses it; the first has started it.
        is_closed: It is at its end, and nothing of it is left.
    """

    def __init__(self, seed: int, common: Common, number: int) -> None:
        self.world = world = World(seed, common, number)
        scales = Scales()
        self._dirty: list[Link] = []
        self.has_ended = False
        self.is_closed = False
        self._connections: list[Connection] = []
        self._tasks = SimTasks(world.loop, world.random)
        ids = itertools.count(1)
        world.store = SimStore(world, common.memory, common.ledger, self._tasks)
        ports = Ports(
            timers=world.loop,
            processes=world.processes,
            open_link=self._open_worker_link,
            sweep=world.processes.sweep,
            weighing=scales,
            log=SimLog(world),
            random=Random(seed + 1),
            stored=Stored(
                store=world.store,
                tasks=self._tasks,
                wall_ms=lambda: 1_700_000_000_000,
                new_id=lambda: f"{number}-{next(ids)}",
            ),
        )
        self.supervisor = Supervisor(world.config, ports, self._dirty, ended=self._end)
        self.clients: list[SimClient] = []
        library = self.supervisor._switchboard.library
        world.serving = self._serving
        world.knows = lambda reference: library.known(reference) is not None
        world.has_room = self._has_room
        self._weather = Weather(world, scales, self.supervisor.weigh)
        self._early: Timer | None = None

    def __repr__(self) -> str:
        return repr(self.world)

    # Its life

    def start(self, calls: int) -> None:
        """Begin, with clients that have so many calls to make."""
        world, random = self.world, self.world.random
        number = random.randint(1, 3)
        for at in range(number):
            self.clients.append(SimClient(world, at, self._connect, calls // number, stays=at == 0))
        self.supervisor.start()
        self._weather.start()
        if random.random() < 0.2:
            self._early = world.loop.call_later(random.uniform(0, EARLY_END_S), self._end_early)
        elif world.number and random.random() < 0.3:  # one of two: else nobody would tell
            self._early = world.loop.call_later(random.uniform(0, EARLY_END_S), self._crash)

    @property
    def is_done(self) -> bool:
        """Its clients have made their calls and had their outcomes, or it has ended."""
        return self.has_ended or all(client.is_done for client in self.clients)

    @property
    def is_asleep(self) -> bool:
        """Nothing will happen here any more."""
        return self.world.loop.next_us is None

    @property
    def is_to_stay(self) -> bool:
        """Nobody has told it to end."""
        return not self.world.is_draining

    def calm_down(self) -> None:
        """From now on nothing goes wrong any more."""
        self._weather.stop()
        if self._early is not None:
            self._early.cancel()
        self.world.calm_down()
        if self.world.common.has_jobs:  # else one might wait for ever for somebody who answers it
            number = len(self.clients)
            host = SimClient(self.world, number, self._connect, 0, stays=True, is_host=True)
            self.clients.append(host)

    def leave(self) -> None:
        """The clients leave, one way or another."""
        world = self.world
        world.is_draining = True
        way = world.random.choice(("goodbye", "hang up", "terminate", "drain"))
        here = [client for client in self.clients if client.may_ask]
        if way == "goodbye":
            self.clients[0].stop()
            self.clients[0].goodbye()
        elif way == "drain" and here:
            self._drains_for(world.config.drain_s)
            world.random.choice(here).drain()
        elif way in ("drain", "terminate"):
            self._drains_for(world.config.grace_s)
            self.supervisor.terminate()
        else:
            self.clients[0].stop()
            self.clients[0].hang_up()

    def _drains_for(self, at_most_s: float) -> None:
        self.world.draining_until_s = self.world.now_s + at_most_s

    def _end_early(self) -> None:
        """The server is told to end, or its last client leaves, in the middle of work."""
        self.world.trace("end early")
        self.leave()

    def _crash(self) -> None:
        """The machine is gone, with whatever it was about to do, and gives nothing back."""
        self.world.trace("crash")
        self.world.is_draining = self.has_ended = self.is_closed = True
        for connection in self._connections:
            self.world.history.connection_lost(connection)
        self.world.loop.end()

    def _end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self.world.loop.call_soon(self.close)

    def close(self) -> None:
        """It is at its end: nothing of it is left, and its sessions are given back."""
        if self.is_closed:
            return
        self.is_closed = True
        self._weather.stop()
        self.supervisor.close()
        for worker in [*self.world.workers, *self.world.guests]:
            if not worker.process.killed:
                raise Violation("P4", f"{worker} is left behind")
        self._check_bytes()
        self.world.loop.end()
        for work in self.supervisor.release_leases():
            self._tasks.start(work)

    def forget(self) -> None:
        """The world is over."""
        self._tasks.drop()
        for guest in self.world.guests:
            guest.drop()

    # Its ports

    def _connect(self, name: str, owner: SimClient) -> Connection:
        connection = Connection(self.world, name, owner, self._dirty)
        self._connections.append(connection)
        # The first is the one that started the server; the others come by socket.
        self.supervisor.add_client(connection.link, peer_pid=None if not self.clients else 1)
        return connection

    def _open_worker_link(self, wire: int) -> WatchedLink:
        link = WatchedLink(self.world, wire, self._dirty)
        worker = self.world.processes.worker_of(wire)
        link.said = lambda frame: worker.was_told(frame, hears=not link.closed)
        return link

    def _serving(self) -> set[int]:
        """Numbers of the workers that take calls, as the supervisor sees it."""
        workers = self.supervisor.info()["workers"]
        assert isinstance(workers, list)
        return {row["worker"] for row in workers if row["state"] in ("ready", "busy")}

    def _has_room(self, number: int) -> bool:
        """Whether a worker has room for a call, as the supervisor sees it."""
        return any(
            worker.number == number
            and worker.load < self.world.config.calls_per_worker
            and worker.is_accepting
            and not worker.is_clogged
            for worker in self.supervisor._switchboard.placing.workers
        )

    # What is checked of it when all is calm

    def probe(
        self,
        method: str,
        script: Mapping[str, object] | None = None,
        *,
        write: WriteRecord | None = None,
        about: JobCall | None = None,
        **meta: object,
    ) -> CallRecord:
        """A plain call that must succeed."""
        return self.clients[0].probe(method, {"ms": 1} if script is None else script, write, about, **meta)

    def check_quiet(self) -> None:
        """Nothing is open, and nothing is kept for what has ended.

        Raises:
            Violation: when something is.
        """
        info = self.supervisor.info()
        workers = info["workers"]
        assert isinstance(workers, list)
        busy = [row for row in workers if row["calls"]]
        kept = {name: info[name] for name in ("waiting", "open_bytes") if info[name]}
        if busy or kept:
            raise Violation("P1", f"all calls have ended, and still: {busy} {kept}")
        self._check_workers(workers)
        self._check_connections(len(workers))
        wheel = self.supervisor._switchboard._wheel
        if len(wheel):
            raise Violation("P16", f"the wheel keeps {len(wheel)} entries")
        stored = self.supervisor._switchboard.stored
        left = {
            # The look for jobs that nobody runs comes again and again.
            "coroutines": self._tasks.waiting - self.supervisor._jobs._is_looking,
            "fetches": stored.waiting,
            "sessions": len(stored.sessions),
            "workers of jobs": len(self.world.guests),
        }
        if any(left.values()):
            raise Violation("P16", f"all calls have ended, and still: {left}")

    def _check_workers(self, workers: list[dict[str, object]]) -> None:
        config = self.world.config
        most = config.workers
        least = most if config.min_workers is None else config.min_workers
        serving = sum(row["state"] in ("ready", "busy") for row in workers)
        if (
            not least <= serving <= most or len(workers) > 3 * most
        ):  # one drains, one is not proved, one starts
            raise Violation("P3", f"{serving} workers serve, of {least} to {most}: {workers}")

    def _check_connections(self, workers: int) -> None:
        for served in self.supervisor.connections:
            if served.calls or served.callbacks:
                raise Violation("P1", f"a connection keeps {served.calls} {served.callbacks}")
        for connection in self._connections:
            if connection.callbacks or connection.asked_by_jobs:
                left = connection.callbacks, connection.asked_by_jobs
                raise Violation("P1", f"{connection.name} was left with callbacks {left}")
        ours = sum(not connection.link.closed for connection in self._connections)
        if len(self.world.kernel.open) > ours + workers:
            raise Violation("P16", f"{len(self.world.kernel.open)} descriptors are open")

    def _check_bytes(self) -> None:
        """P9: what was kept for clients that did not read is bounded."""
        config = self.world.config
        frame_bytes = 1200  # an item, an echo, a predict with its padding
        running = config.workers * config.calls_per_worker * 4 + config.max_queue
        bound = MAX_UNREAD_BYTES + 2 * self.world.kernel.capacity + running * frame_bytes
        for connection in self._connections:
            if connection.link.most_waiting > bound:
                most = connection.link.most_waiting
                raise Violation("P9", f"{most} bytes waited for {connection.name}, more than {bound}")
