"""`dspex serve`: the supervisor on a real event loop, real processes and real descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import stat
import threading
from pathlib import Path
from random import Random

from .addresses import UNIX, read_places
from .config import Config, variable_of
from .link import Link
from .listening import Listener, Peer
from .logs import Log
from .memory import MemoryWatch
from .ports import Ports, Stored
from .processes import become_subreaper, kill_children, kill_descendants
from .spawning import Spawner
from .store import StoreError
from .store.opening import open_store
from .supervisor import Supervisor
from .tasks import LoopTasks
from .wall_clock import wall_ms
from .watchdog import Watchdog

# All descendants are killed by signal; what the kernel takes longer for is the guardian's.
LEAVING_TIMEOUT_S = 1.0
# The guardian waits for no longer than half a second once the client on stdio is gone.
STORE_TIMEOUT_S = 0.4


class Server:
    """One server. Building it starts nothing; `run` serves until there is no reason to."""

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop, environment: dict[str, str]) -> None:
        self._config = config
        self._loop = loop
        self._dirty: list[Link] = []
        self._ended = loop.create_future()
        self._log = log = Log(config.log_level)
        # It may hold a password, and workers have no business with the store.
        environment = {name: text for name, text in environment.items() if name != variable_of("store")}
        environment = environment | {variable_of("history"): config.history}
        if config.plugins:
            environment = environment | {"DSPEX_PLUGINS": config.plugins}
        # As the settings have it: a flag may have taken back what the environment says.
        unsafe = {variable_of("unsafe_interpreter"): "true" if config.unsafe_interpreter else ""}
        environment = environment | unsafe
        spawner = Spawner(loop, log, use_zygote=config.zygote, environment=environment)
        self._tasks = LoopTasks(loop)
        self._store = open_store(config.store)
        self._memory = MemoryWatch(loop.call_soon_threadsafe, self._weigh)
        ports = Ports(
            timers=loop,
            processes=spawner,
            open_link=lambda wire: self._open_link(wire, wire),
            sweep=kill_children,
            weighing=self._memory,
            log=log,
            random=Random(),
            stored=Stored(
                store=self._store, tasks=self._tasks, wall_ms=wall_ms, new_id=lambda: secrets.token_hex(8)
            ),
        )
        self._supervisor = Supervisor(config, ports, self._dirty, ended=self._end)
        self._listener = self._build_listener()

    def _build_listener(self) -> Listener | None:
        path = read_places(self._config.listen, "listen").socket
        if path is None:
            return None
        return Listener(
            self._loop,
            Path(path),
            self._log,
            count_clients=lambda: len(self._supervisor.connections),
            on_client=self._take_client,
        )

    async def run(self, wire: tuple[int, int] | None) -> None:
        """Serve until there is no reason to.

        Args:
            wire: The descriptors of a client on stdio, whose end is the server's; None where
                all clients come by socket, and only a signal or a call ends it.

        Raises:
            CannotListen: when there can be no socket at the path; nothing has been started then.
        """
        become_subreaper()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._supervisor.terminate)
        self._listen()
        if wire is not None:
            self._supervisor.add_client(self._open_link(_pollable(wire[0]), wire[1]))
        self._memory.start()
        self._tasks.start(self._open_store())
        self._supervisor.start()
        watchdog = Watchdog(self._loop)
        watchdog.start()
        await self._ended
        watchdog.stop()  # from here on the loop does wait
        if self._listener is not None:
            self._listener.close()
        self._memory.close()
        self._supervisor.close()
        kill_descendants(LEAVING_TIMEOUT_S)
        await self._leave_store()

    async def _open_store(self) -> None:
        """Early, so that an operator reads at once what is wrong; each call tries again by itself."""
        try:
            await self._store.open()
        except StoreError as failure:
            self._log.error("store_failed", store=self._store.name, reason=failure)
        else:
            self._log.info("store_open", store=self._store.name)

    async def _leave_store(self) -> None:
        """Give sessions back, so that others need not wait for a lease to end. Bounded in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await asyncio.gather(*self._supervisor.release_leases(), return_exceptions=True)
                await self._tasks.end()
                await self._store.close()

    def _listen(self) -> None:
        if self._listener is not None:
            self._listener.open()
            self._log.announce("listening", address=f"{UNIX}{self._listener.path}")

    def _take_client(self, connection: int, peer: Peer) -> None:
        self._supervisor.add_client(self._open_link(connection, connection), peer.pid)

    def _open_link(self, read_fd: int, write_fd: int) -> Link:
        return Link(self._loop, read_fd, write_fd, self._dirty, self._config.max_frame_bytes)

    def _weigh(self, readings: dict[int, int]) -> None:
        self._supervisor.weigh(readings)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def serve(config: Config, wire: tuple[int, int] | None, environment: dict[str, str]) -> None:
    """Run a server, on descriptors until their client is gone, or on a socket alone.

    Raises:
        CannotListen: as `Server.run`.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, wire, environment))


async def _serve(config: Config, wire: tuple[int, int] | None, environment: dict[str, str]) -> None:
    await Server(config, asyncio.get_running_loop(), environment).run(wire)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    if os.environ.get("DSPEX_LOOP") == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


def _pollable(descriptor: int) -> int:
    """The descriptor, or a pipe fed from it: the kernel cannot wait for a file or /dev/null."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return descriptor
    read_end, write_end = os.pipe()

    def copy() -> None:
        with contextlib.suppress(BrokenPipeError):  # the server has ended first
            while data := os.read(descriptor, 65_536):
                os.write(write_end, data)
        os.close(write_end)

    threading.Thread(target=copy, name="file-input", daemon=True).start()
    return read_end
