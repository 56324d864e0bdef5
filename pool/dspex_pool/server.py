"""`dspex serve`: the parts put together, on one event loop, for one client on stdio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import stat
import threading
from importlib.metadata import PackageNotFoundError, version
from random import Random

from dspex_protocol import Hello, Welcome

from .config import Config
from .host import Host
from .link import Link
from .logs import Log
from .processes import become_subreaper, kill_descendants
from .sessions import Session
from .slots import Slots
from .spawning import Spawner
from .switchboard import Switchboard

# All descendants are killed by signal; what the kernel takes longer for is the guardian's.
LEAVING_TIMEOUT_S = 1.0


class Server:
    """One server. Building it starts nothing; `run` serves until the client is gone."""

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop, environment: dict[str, str]) -> None:
        self._config = config
        self._loop = loop
        self._log = Log(config.log_level)
        self._log.listener = self._tell_clients
        self._dirty: list[Link] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sessions: list[Session] = []
        self._instance = secrets.token_hex(8)
        self._started_s = loop.time()
        self._ended = loop.create_future()
        self._host = Host(config.lm)
        self._switchboard = Switchboard(config, loop.time, self._wake_at, self._dirty, self._log)
        if config.plugins:
            environment = environment | {"DSPEX_PLUGINS": config.plugins}
        self._spawner = Spawner(loop, self._log, use_zygote=config.zygote, environment=environment)
        self._slots = Slots(
            loop, config, self._spawner, self._switchboard, self._host, self._dirty, self._log, Random()
        )

    async def run(self, wire_in: int, wire_out: int) -> None:
        """Serve one client on a pair of descriptors until it is gone."""
        become_subreaper()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._drain)
        self.add_client(wire_in, wire_out)
        self._slots.start()
        self._switchboard.flush()
        await self._ended
        self._slots.close()
        kill_descendants(LEAVING_TIMEOUT_S)

    def add_client(self, read_fd: int, write_fd: int) -> None:
        """Begin to serve a client."""
        link = Link(self._loop, _pollable(read_fd), write_fd, self._dirty, self._config.max_frame_bytes)
        self._sessions.append(Session(link, self._switchboard, self))
        link.start()

    # What sessions ask for

    def greet(self, hello: Hello) -> Welcome:
        """Take what a client offers and say what it gets."""
        if self._host.accept(hello):
            self._slots.reconfigure()
        return Welcome(
            server=f"dspex/{_own_version()}",
            instance=self._instance,
            max_frame_bytes=self._config.max_frame_bytes,
            max_queue=self._config.max_queue,
            workers=self._config.workers,
            default_deadline_ms=self._config.default_deadline_ms,
        )

    def info(self) -> dict[str, object]:
        """A snapshot for `system.info`."""
        return {
            "server": f"dspex/{_own_version()}",
            "instance": self._instance,
            "pid": os.getpid(),
            "uptime_s": round(self._loop.time() - self._started_s, 3),
            "loop": type(self._loop).__module__.partition(".")[0],
            "spawning": self._spawner.mode,
            "workers": self._slots.snapshot(),
            "restarts": self._slots.restarts,
            "clients": len(self._sessions),
            **self._switchboard.snapshot(),
        }

    def leave(self, session: Session) -> None:
        """The client said goodbye: end when its last frame is out."""
        self._loop.call_soon(self._leave_when_written, session)

    def _leave_when_written(self, session: Session) -> None:
        session.link.flush()
        if session.link.waiting_bytes and not session.link.closed:
            session.link.on_drained = lambda: self._leave_when_written(session)
        else:
            self._end()

    def lost(self, session: Session) -> None:
        """The client is gone, and with it the reason to be here."""
        self._sessions.remove(session)
        if not self._sessions:
            self._end()

    def _tell_clients(self, level: str, event: str, fields: dict[str, object]) -> None:
        for session in self._sessions:
            session.tell(level, event, fields)
        # Whoever logged may not be about to write.
        self._loop.call_soon(self._switchboard.flush)

    # The end, and time

    def _drain(self) -> None:
        """A signal: let open calls end, within the grace period."""
        self._log.info("draining")
        for session in self._sessions:
            session.drain()
        self._loop.call_later(self._config.grace_s, self._end_of_grace)
        if not any(session.calls for session in self._sessions):
            self._end()

    def _end_of_grace(self) -> None:
        """Who still has calls open learns why they get no outcome; it hears nothing after that."""
        for session in [session for session in self._sessions if session.calls]:
            session.note(
                "system.closing", {"code": "draining", "message": "the server's grace period is over"}
            )
            session.link.flush()
            session.link.close()
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _wake_at(self, at_s: float) -> None:
        """Have the switchboard called at that time, unless it is called earlier anyway."""
        if self._timer is not None:
            if self._timer.when() <= at_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._switchboard.tick()


def serve(config: Config, wire_in: int, wire_out: int, environment: dict[str, str]) -> None:
    """Run a server on descriptors until its client is gone."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, wire_in, wire_out, environment))


async def _serve(config: Config, wire_in: int, wire_out: int, environment: dict[str, str]) -> None:
    await Server(config, asyncio.get_running_loop(), environment).run(wire_in, wire_out)


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


def _own_version() -> str:
    try:
        return version("dspex")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
