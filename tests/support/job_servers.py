"""Whole servers in this process: supervisors whose workers are real ones too, without a process of their own.

A job's worker boots in no time here and dies between two awaits, so that hundreds of deaths fit a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any, Final, cast

import pytest

from dspex_bridge.worker.serve import WorkerProcess
from dspex_pool.client import Client
from dspex_pool.client_functions import HostFunction
from dspex_pool.config import Config
from dspex_pool.jobs import heartbeat, keeping, runner
from dspex_pool.link import Link
from dspex_pool.logs import Log
from dspex_pool.ports import Alone, Ports, Process, Stored, Timer
from dspex_pool.store import Store
from dspex_pool.supervisor import Supervisor
from dspex_pool.tasks import LoopTasks
from dspex_pool.wall_clock import wall_ms

from . import plugin_jobs

LEASE_S: Final = 1.0
SIM: Final[Mapping[str, object]] = {"default": {"model": "sim/test", "options": {"seed": 7}}}
_pids = count(1 << 24)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that are over soon: nobody waits fifteen seconds for a dead server."""
    monkeypatch.setattr(keeping, "LEASE_S", LEASE_S)
    monkeypatch.setattr(runner, "LEASE_S", LEASE_S)
    monkeypatch.setattr(keeping, "AGAIN_S", 0.05)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", LEASE_S / 4)
    monkeypatch.setattr(runner, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(runner, "LOOK_S", 0.1)


class InnerProcess:
    """A worker in this process, as the supervisor sees one."""

    def __init__(self, alone: Alone | None) -> None:
        self.pid = next(_pids)
        self.killed = False
        self.alone = alone
        self.on_exit: Callable[[str], None] = lambda reason: None
        ours, theirs = socket.socketpair()
        self.wire = ours.detach()
        self._descriptor = theirs.detach()
        os.set_blocking(self._descriptor, False)
        self.worker = WorkerProcess(self._descriptor, asyncio.get_running_loop())
        self.worker.kinds.update({kind.name: kind for kind in plugin_jobs.KINDS})
        self._running = asyncio.ensure_future(self.worker.run())
        self._is_over = False

    def kill(self) -> None:
        """End it; `on_exit` follows."""
        if not self._is_over:
            self.killed = True
            self.die("SIGKILL")

    def die(self, reason: str) -> None:
        """It ends in the middle of whatever it does: not a byte more goes out."""
        if self._is_over:
            return
        self._is_over = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._descriptor)
        loop.remove_writer(self._descriptor)
        # Its descriptor stays, and leads nowhere: what its tasks still write must not reach another's.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self._descriptor)
        os.close(null)
        self._running.cancel()
        for call in list(self.worker.calls._running.values()):
            if call.task is not None:
                call.task.cancel()
        loop.call_soon(self._gone, reason)

    def _gone(self, reason: str) -> None:
        self.worker.threads.shutdown(wait=False, cancel_futures=True)
        self.on_exit(reason)

    def last_words(self) -> str:
        """It writes to our stderr."""
        return ""


class InnerProcesses:
    """Where such workers come from."""

    mode = "inner"
    is_forking = False

    def __init__(self) -> None:
        self.all: list[InnerProcess] = []
        self.stopped = False

    @property
    def own_pids(self) -> set[int]:
        """None."""
        return set()

    @property
    def jobs(self) -> list[InnerProcess]:
        """Those that run jobs, dead ones included."""
        return [process for process in self.all if process.alone is not None]

    def start(self) -> None:
        """Nothing to get ready."""

    def close(self) -> None:
        """Spawn nothing more."""
        self.stopped = True

    def spawn(
        self,
        started: Callable[[Process, int], None],
        failed: Callable[[str], None],
        alone: Alone | None = None,
    ) -> None:
        """One that is there at once."""
        if not self.stopped:
            process = InnerProcess(alone)
            self.all.append(process)
            started(process, process.wire)


class NoWeighing:
    """Nobody's memory is watched."""

    def watch(self, number: int, pid: int) -> None:
        """Nothing."""

    def forget(self, number: int) -> None:
        """Nothing."""


class Stoppable:
    """The timers of a server that can be stopped, as by SIGSTOP, and go on later."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._held: list[Callable[[], object]] = []
        self.is_stopped = False

    def time(self) -> float:
        """Of the loop."""
        return self._loop.time()

    def call_soon(self, callback: Callable[..., object], *given: object) -> Timer:
        """Of the loop."""
        return self._loop.call_soon(self._run, callback, given)

    def call_later(self, delay_s: float, callback: Callable[..., object], /, *given: object) -> Timer:
        """Of the loop."""
        return self._loop.call_later(delay_s, self._run, callback, given)

    def call_at(self, at_s: float, callback: Callable[..., object], /, *given: object) -> Timer:
        """Of the loop."""
        return self._loop.call_at(at_s, self._run, callback, given)

    def _run(self, callback: Callable[..., object], given: tuple[object, ...]) -> None:
        if self.is_stopped:
            self._held.append(lambda: callback(*given))
        else:
            callback(*given)

    def go_on(self) -> None:
        """All that was due meanwhile happens now."""
        self.is_stopped = False
        held, self._held = self._held, []
        for due in held:
            due()


class JobServer:
    """A server on a store. Build it in a running loop, then `start`.

    Attributes:
        processes: Its workers.
        timers: Its time.
    """

    def __init__(self, store: Store, **settings: object) -> None:
        loop = asyncio.get_running_loop()
        self._dirty: list[Link] = []
        self.processes = InnerProcesses()
        self.timers = Stoppable()
        self.tasks = LoopTasks(loop)
        config = replace(Config(), workers=1, log_level="error", **settings)  # type: ignore[arg-type]
        log = Log("error")
        ports = Ports(
            timers=self.timers,
            processes=self.processes,
            open_link=lambda wire: Link(loop, wire, wire, self._dirty, config.max_frame_bytes),
            sweep=lambda own, groups: 0,
            weighing=NoWeighing(),
            log=log,
            random=Random(1),
            stored=Stored(
                store=store, tasks=self.tasks, wall_ms=wall_ms, new_id=lambda: secrets.token_hex(8)
            ),
        )
        self.supervisor = Supervisor(config, ports, self._dirty, ended=lambda: None)
        self._config = config
        self._clients: list[Client] = []

    @property
    def client(self) -> Client:
        """The first one."""
        return self._clients[0]

    async def start(self, functions: Mapping[str, HostFunction] | None = None) -> None:
        """Begin to serve."""
        self.supervisor.start()
        await self.connect(functions)

    async def connect(self, functions: Mapping[str, HostFunction] | None = None) -> Client:
        """Another client, greeted."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        wire = ours.detach()
        self.supervisor.add_client(
            Link(loop, wire, wire, self._dirty, self._config.max_frame_bytes), peer_pid=os.getpid()
        )
        end = theirs.detach()
        client = Client(end, end, loop)
        self._clients.append(client)
        await client.hello(functions=functions, lms=SIM)
        return client

    async def kill(self) -> None:
        """It is gone in the middle of whatever it does, with all of its workers; leases stay."""
        self.supervisor.close()
        self.processes.close()
        for process in self.processes.all:
            process.kill()
        await self.tasks.end()
        for client in self._clients:
            client.link.close()

    async def close(self) -> None:
        """It ends in order: leases are given back."""
        self.supervisor.close()
        await asyncio.gather(*self.supervisor.release_leases())
        await self.kill()

    def running_process(self) -> InnerProcess | None:
        """The worker of the job that runs here; None where none does."""
        living = [process for process in self.processes.jobs if not process._is_over]
        return living[-1] if living else None


@contextlib.asynccontextmanager
async def job_server(
    store: Store, functions: Mapping[str, HostFunction] | None = None, **settings: object
) -> AsyncGenerator[JobServer]:
    """A server, killed in the end."""
    server = JobServer(store, **settings)
    await server.start(functions)
    try:
        yield server
    finally:
        await server.kill()


async def submit(client: Client, request: Mapping[str, object], **more: Any) -> str:
    """Submit a job of toil; its id."""
    answer = cast(
        "dict[str, Any]", await client.call("job.submit", {"kind": "toil", "request": request, **more})
    )
    return str(answer["job"])


async def get(client: Client, job: str) -> dict[str, Any]:
    """A job as it is now."""
    return cast("dict[str, Any]", await client.call("job.get", {"job": job}))


async def ended(client: Client, job: str, limit_s: float = 60.0) -> dict[str, Any]:
    """Wait for a job's end; the job as it is then."""
    async with asyncio.timeout(limit_s):
        return cast("dict[str, Any]", await client.call("job.follow", {"job": job}, deadline_ms=600_000))


async def events(client: Client, job: str, after: int = 0) -> list[dict[str, Any]]:
    """All its events."""
    found: list[dict[str, Any]] = []
    at: int | None = after
    while at is not None:
        page = cast("dict[str, Any]", await client.call("job.events", {"job": job, "after": at, "limit": 7}))
        found += page["events"]
        at = page["next"]
    return found


async def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)
