"""The supervisor: switchboard, slots and connections put together, without an operating system.

What is outside comes in as ports: time, processes, links, the way to sweep. `server.py` puts
the real ones in, tests and the simulation others.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Coroutine
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from dspex_protocol import Hello, Meta, Welcome, decode_value, encode_value, invalid_argument
from dspex_protocol.states import ConnectionState

from .clerk.desk import Desk
from .config import Config
from .connections import Connection
from .host import Host
from .jobs.runner import Runner
from .link import Link
from .ports import Ports, Timer
from .recycling import RecycleReason
from .slots import Slots
from .switchboard import Switchboard
from .upkeep import Upkeep


class Supervisor:
    """All of a server that decides. Building it starts nothing.

    Args:
        config: The settings.
        ports: The world; what its `weighing` reads goes to `weigh`, and clients are told of the lines of
            its `log` where they want to know.
        dirty: Links with something to write; all links of this server share it.
        ended: Is called when there is no reason to go on; more than once at most by mistake.

    Attributes:
        connections: The clients.
    """

    def __init__(self, config: Config, ports: Ports, dirty: list[Link], ended: Callable[[], None]) -> None:
        self._config = config
        self._timers = ports.timers
        self._processes = ports.processes
        self._log = ports.log
        self._log.listener = self._tell_clients
        self._end = ended
        self._timer: Timer | None = None
        self._wake_s = 0.0
        # Read once: it is in a file, and a hello must not fail because none can be opened.
        self._server = f"dspex/{_own_version()}"
        self._instance = secrets.token_hex(8)
        self._started_s = self._timers.time()
        self._host = Host(config.lm)
        self._switchboard = Switchboard(
            config, self._timers.time, self._wake_at, dirty, self._log, ports.stored
        )
        self._slots = Slots(config, ports, self._switchboard, self._host)
        self._upkeep = Upkeep(config, ports, self._slots, self._switchboard)
        self._switchboard.placing.on_no_room = self._upkeep.scale_soon
        self._jobs = Runner(
            config,
            ports,
            self._switchboard,
            self._host,
            next_number=self._slots.next_number,
            orphans=self._slots.sweep_soon,
        )
        stored = self._switchboard.stored
        stored.clerk = self._clerk = Desk(
            config, ports, stored.deliveries, stored.long_reads, next_number=self._slots.next_number
        )
        self._slots.guests = lambda: self._jobs.pids | self._clerk.pids
        self._switchboard.conclude("lm.list", self._with_owners)
        self._draining = False
        self._last_client = 0
        self.connections: list[Connection] = []

    def start(self) -> None:
        """Start the workers."""
        self._slots.start(self._config.least_workers)
        self._upkeep.start()
        self._jobs.start()
        self._switchboard.flush()

    def close(self) -> None:
        """Kill the workers and start none; who is still here is told that it is over."""
        for connection in [connection for connection in self.connections if connection.peer_pid is not None]:
            if connection.state is not ConnectionState.DRAINING:  # else it has been told
                connection.close("draining", "the server ends with the client that started it")
        self._jobs.close()
        self._clerk.close()
        self._slots.close()

    def weigh(self, readings: dict[int, int]) -> None:
        """Take readings of the workers' memory: bytes of its own by worker's number."""
        self._upkeep.weigh(readings)
        self._jobs.weigh(readings)
        self._clerk.weigh(readings)

    def release_leases(self) -> list[Coroutine[object, object, None]]:
        """What gives sessions and jobs back, so that others need not wait for a lease to end; for its end."""
        return [*self._switchboard.stored.sessions.release_all(), *self._jobs.release_all()]

    def add_client(self, link: Link, peer_pid: int | None = None) -> Connection:
        """Begin to serve a client on a link that is not started yet.

        Args:
            link: Its wire.
            peer_pid: Its process where it came by socket; one on stdio (None) takes the server
                with it when it goes.
        """
        self._last_client += 1
        connection = Connection(link, self._switchboard, self, self._last_client, peer_pid)
        self.connections.append(connection)
        if self._draining:
            connection.close("draining", "the server is ending; it takes no more clients")
        else:
            link.start()
        return connection

    # What connections ask for

    def recycle(self, worker: int | None) -> list[int]:
        """Replace a worker, or all that serve.

        Raises:
            CallerError: `invalid_argument` when no worker with that number serves.
        """
        chosen = [one for one in self._slots.serving if worker in (None, one.number)]
        if worker is not None and not chosen:
            numbers = ", ".join(str(one.number) for one in self._slots.serving)
            raise invalid_argument("worker", f"the number of a worker that serves ({numbers})", worker)
        return [one.number for one in chosen if self._slots.recycle(one, RecycleReason.ASKED)]

    def greet(self, connection: Connection, hello: Hello) -> Welcome:
        """Take what a client offers and say what it gets."""
        if self._host.accept(connection, hello):
            self._slots.reconfigure()
            self._jobs.reconfigure()
        return Welcome(
            server=self._server,
            instance=self._instance,
            max_frame_bytes=self._config.max_frame_bytes,
            max_queue=self._config.max_queue,
            workers=self._config.workers,
            default_deadline_ms=self._config.default_deadline_ms,
        )

    def info(self) -> dict[str, object]:
        """A snapshot for `system.info`."""
        return {
            "server": self._server,
            "instance": self._instance,
            "pid": os.getpid(),
            "uptime_s": round(self._timers.time() - self._started_s, 3),
            "loop": type(self._timers).__module__.partition(".")[0],
            "spawning": self._processes.mode,
            "workers": self._slots.snapshot(),
            "scale": self._slots.scale(self._config.least_workers),
            "restarts": self._slots.restarts,
            "recycles": {str(reason): count for reason, count in self._slots.recycles.items()},
            "jobs": self._jobs.snapshot(),
            "job_counts": self._jobs.counts(),
            "clerk": self._clerk.snapshot(),
            "draining": self._draining,
            "clients": [connection.snapshot() for connection in self.connections],
            **self._switchboard.snapshot(),
        }

    def _with_owners(self, meta: Meta, listed: bytes) -> bytes:
        """Complete a worker's answer to `lm.list` with who offers each: it does not know clients."""
        rows = cast("list[dict[str, object]]", decode_value(listed))
        for row in rows:
            from_settings, owners = self._host.owners(str(row["name"]))
            row["settings"] = from_settings
            row["clients"] = [owner.number for owner in owners if isinstance(owner, Connection)]
        return encode_value(rows)

    def leave(self, connection: Connection) -> None:
        """The client has had all its outcomes: part when its last frame is out."""
        self._timers.call_soon(self._leave_when_written, connection)

    def _leave_when_written(self, connection: Connection) -> None:
        connection.link.flush()
        if connection.link.waiting_bytes and not connection.link.closed:
            connection.link.on_drained = lambda: self._leave_when_written(connection)
        elif connection.awaits_drain or (self._draining and connection.peer_pid is None):
            # Who asked for the drain stays until it is answered. On stdio one always does: once
            # it hung up, the guardian would give the others half a second.
            self._end_if_idle()
        elif connection.peer_pid is not None:
            connection.hang_up()
        else:
            self._end()

    def lost(self, connection: Connection) -> None:
        """The client is gone, and with the last one on stdio the reason to be here."""
        self.connections.remove(connection)
        if self._host.withdraw(connection):
            self._slots.reconfigure()
            self._jobs.reconfigure()
        self._jobs.client_gone(connection)
        if self._draining:
            self._end_if_idle()
        elif connection.peer_pid is None and all(other.peer_pid is not None for other in self.connections):
            self._end()

    def _tell_clients(self, level: str, event: str, fields: dict[str, object]) -> None:
        for connection in self.connections:
            connection.tell(level, event, fields)
        # Whoever logged may not be about to write.
        self._timers.call_soon(self._switchboard.flush)

    # The end, and time

    def terminate(self) -> None:
        """A signal: let open calls end within the grace period, since whoever sent it may not wait."""
        self._drain(self._config.grace_s)

    def drain(self) -> None:
        """A client asks for it: let open calls end, within `drain_s`; then all is over."""
        self._drain(self._config.drain_s)

    def _drain(self, at_most_s: float) -> None:
        self._timers.call_later(at_most_s, self._drain_over)
        if not self._draining:
            self._draining = True
            self._log.info("draining")
            self._switchboard.stored.following.close()
            for connection in list(self.connections):
                connection.drain()
        self._timers.call_soon(self._end_if_idle)

    def _end_if_idle(self) -> None:
        """End once no client waits for an outcome, or for the rest of what it was sent."""
        for connection in self.connections:
            if connection.calls or (connection.link.waiting_bytes and not connection.link.closed):
                return
        self._answer_drain()

    def _drain_over(self) -> None:
        """Who still has calls open learns why they get no outcome; it hears nothing after that."""
        for connection in [connection for connection in self.connections if connection.calls]:
            connection.close("draining", "the server ends, and the time for that is over")
        self._answer_drain()

    def _answer_drain(self) -> None:
        for connection in self.connections:
            connection.answer_drain()
            connection.link.flush()
        self._end()

    def _wake_at(self, at_s: float) -> None:
        """Have the switchboard called at that time, unless it is called earlier anyway."""
        # Not `self._timer.when()`: for a time that is over, uvloop gives a handle without it.
        if self._timer is not None:
            if self._wake_s <= at_s:
                return
            self._timer.cancel()
        self._wake_s = at_s
        self._timer = self._timers.call_at(at_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._switchboard.tick()


def _own_version() -> str:
    try:
        return version("dspex")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
