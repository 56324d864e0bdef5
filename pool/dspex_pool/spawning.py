"""How a worker process comes to be: forked by the zygote, or started from nothing.

The supervisor asks `Spawner.spawn` and gets a `Started` when the process exists; whether
it works is for `hello` to show. Everything is callbacks on the event loop: a spawn in
flight holds no task.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dspex_protocol import CALL, FAIL, NIL, NOTE, REPLY, decode_envelope, decode_failure, encode
from dspex_protocol.frame import HEADER_BYTES

from .logs import Log
from .ports import Alone, Process
from .processes import kill_group
from .stderr_tail import StderrTail

BRIDGE: Final = (sys.executable, "-m", "dspex_bridge")
MAX_DATAGRAM_BYTES: Final = 8192
# Libraries that start threads at import would make the zygote unfit to fork; LiteLLM would
# also fetch its price list from the network.
CHILD_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "PYTHONUNBUFFERED": "1",
}
MAX_LAST_READS: Final = 16
"""Reads of a dead child's stderr: several times what a pipe holds."""
ZYGOTE_RESTART_S: Final = 0.1
MAX_ZYGOTE_FAILURES: Final = 3
"""Zygotes that may die before they are ready; after that, workers start without one."""
ZYGOTE_AGAIN_S: Final = 60.0
"""After that another zygote is tried: what killed the others may have passed."""
ZYGOTE_BOOT_TIMEOUT_S: Final = 120.0
"""Importing DSPy takes seconds, on a crowded machine some tens of them."""
FORK_TIMEOUT_S: Final = 5.0
"""A fork takes some ten milliseconds; a zygote that does not answer is stopped or stuck."""
SEND_AGAIN_S: Final = 0.05


class ChildProcess:
    """A child of this process, watched by pidfd."""

    def __init__(self, pid: int, loop: asyncio.AbstractEventLoop, stderr: StderrTail) -> None:
        self.pid = pid
        self.on_exit: Callable[[str], None] = lambda reason: None
        self._loop = loop
        self._stderr = stderr
        # The pid cannot be another process: only we can reap it, and have not yet.
        self._pidfd = os.pidfd_open(pid)
        self._running = True
        self.killed = False  # by us, for a reason of ours
        loop.add_reader(self._pidfd, self._exited)

    def kill(self) -> None:
        """End it and its process group; nothing when it has ended."""
        if self._running:
            self.killed = True
            kill_group(self.pid)

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        # Bounded: a child that it left behind may hold the pipe and go on writing.
        for _ in range(MAX_LAST_READS):
            if not self._stderr.read():
                break
        return self._stderr.text()

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        reason = "its exit status is unknown"
        self._running = False
        kill_group(self.pid)  # what it had started; it is not reaped yet, so the pid is its own
        try:
            _, status = os.waitpid(self.pid, 0)
            reason = exit_reason(os.waitstatus_to_exitcode(status))
        except ChildProcessError:
            pass  # somebody else reaped it
        self.last_words()
        self._stderr.close()
        self.on_exit(reason)


def exit_reason(code: int) -> str:
    """An exit code in words: `exit code 3`, `SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


@dataclass(slots=True)
class _Request:
    """A worker that is wanted."""

    started: Callable[[Process, int], None]
    failed: Callable[[str], None]
    alone: Alone | None = None


@dataclass(slots=True)
class _Fork:
    """A worker that the zygote was asked for."""

    wire: socket.socket
    stderr: StderrTail
    timeout: asyncio.TimerHandle

    def drop(self) -> None:
        """There will be no worker, or one that finds nobody."""
        self.timeout.cancel()
        self.wire.close()
        self.stderr.close()


class Spawner:
    """Starts worker processes.

    Args:
        loop: The supervisor's event loop.
        log: Where the children's stderr goes.
        use_zygote: False starts every worker from nothing (about a second each).
        environment: The children's environment.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, log: Log, *, use_zygote: bool, environment: dict[str, str]
    ) -> None:
        self._loop = loop
        self._log = log
        self._use_zygote = use_zygote
        self._environment = environment | CHILD_ENVIRONMENT
        self._control: socket.socket | None = None
        self._zygote: ChildProcess | None = None
        self._zygote_ready = False
        self._zygote_failures = 0
        self._zygote_on_trial = False
        self._boot_timeout: asyncio.TimerHandle | None = None
        self._send_again_due = False
        self._requests: dict[int, _Request] = {}
        self._in_flight: dict[int, _Fork] = {}
        self._next_id = 0
        self._closed = False
        self._words = ""

    @property
    def mode(self) -> str:
        """`zygote` or `exec`."""
        return "zygote" if self._use_zygote else "exec"

    @property
    def own_pids(self) -> set[int]:
        """Children that are no workers."""
        return {self._zygote.pid} if self._zygote is not None else set()

    @property
    def is_forking(self) -> bool:
        """Whether a child may exist that we have not been told of yet."""
        return bool(self._in_flight)

    def start(self) -> None:
        """Start the zygote, where there is to be one."""
        if self._use_zygote and self._zygote is None and not self._closed:
            self._start_zygote()

    def spawn(
        self,
        started: Callable[[Process, int], None],
        failed: Callable[[str], None],
        alone: Alone | None = None,
    ) -> None:
        """Ask for a process.

        Args:
            started: Gets the process and our end of its wire.
            failed: Gets the reason when there will be no process.
            alone: What is different about one that stands apart: it is never forked by the zygote, whose
                hash seed and environment it would have.
        """
        if alone is not None:
            self._execute(_Request(started, failed, alone))
            return
        self._next_id += 1
        self._requests[self._next_id] = _Request(started, failed)
        self._serve_requests()

    def close(self) -> None:
        """Start nothing more; the zygote ends."""
        self._closed = True
        self._requests.clear()
        if self._control is not None:
            self._drop_control()
        if self._zygote is not None:
            self._zygote.kill()

    def _serve_requests(self) -> None:
        if not self._use_zygote:
            for request_id in list(self._requests):
                self._execute(self._requests.pop(request_id))
        elif self._zygote_ready and self._control is not None:  # else the next zygote serves them
            for request_id in self._requests.keys() - self._in_flight.keys():
                self._fork(request_id)

    # Starting from nothing

    def _execute(self, request: _Request) -> None:
        with contextlib.ExitStack() as opened:
            try:
                ours, theirs = _wire_pair()
                opened.callback(ours.close)
                opened.callback(theirs.close)
                process = self._launch(_command_of(request.alone), theirs.fileno(), request.alone)
            except OSError as reason:
                request.failed(f"a process could not be started: {reason.strerror}")
                return
            wire = ours.detach()
        request.started(process, wire)

    def _launch(self, command: list[str], stdin: int, alone: Alone | None = None) -> ChildProcess:
        """Start one of our programs, which is told our pid; its stdout and stderr are one pipe to us.

        Raises:
            OSError: and nothing is left of it.
        """
        read_end, write_end = os.pipe()
        try:
            pid = os.posix_spawn(
                command[0],
                [*command, str(os.getpid())],
                self._environment if alone is None else {**self._environment, **alone.environment},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, stdin, 0),
                    (os.POSIX_SPAWN_DUP2, write_end, 1),
                    (os.POSIX_SPAWN_DUP2, write_end, 2),
                ],
                setpgroup=0,
            )
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        if alone is not None:
            with contextlib.suppress(OSError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, pid, alone.niceness)  # it has one thread yet
        stderr = StderrTail(self._loop, read_end, self._log.raw)
        try:
            return ChildProcess(pid, self._loop, stderr)
        except OSError:
            kill_group(pid)
            stderr.close()
            raise

    # The zygote

    def _start_zygote(self) -> None:
        if self._closed:
            return
        with contextlib.ExitStack() as opened:
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                opened.callback(theirs.close)
                on_failure = opened.enter_context(contextlib.ExitStack())
                on_failure.callback(ours.close)
                self._zygote = self._launch([*BRIDGE, "zygote"], theirs.fileno())
                on_failure.pop_all()
            except OSError as reason:
                self._give_up_zygote(f"it could not be started: {reason.strerror}")
                self._try_zygote_later()
                return
        ours.setblocking(False)
        self._control = ours
        self._zygote.on_exit = self._zygote_died
        self._boot_timeout = self._loop.call_later(ZYGOTE_BOOT_TIMEOUT_S, self._zygote_hangs)
        self._loop.add_reader(ours.fileno(), self._hear_zygote)

    def _hear_zygote(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(MAX_DATAGRAM_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop_control()
            if self._zygote is not None:
                self._zygote.kill()  # without its socket it is of no use; it may not know
            return
        message = decode_envelope(data)
        payload = data[message.payload_at :]
        if message.kind == NOTE and message.method == "zygote.ready":
            self._zygote_ready = True
            self._zygote_failures = 0
            self._use_zygote = True
            self._end_boot()
            self._log.info("zygote_ready", **message.meta)
            self._serve_requests()
        elif message.kind == NOTE and message.method == "zygote.unfit":
            # One that is unfit after its imports will be so in a minute too. What happened to
            # one that had been ready need not happen to the next: it is tried after the death.
            self._zygote_on_trial = self._zygote_ready
            self._zygote_ready = False
            self._drop_forks()  # it forks no more
            self._give_up_zygote(str(message.meta.get("reason")))
        elif message.kind in (REPLY, FAIL):
            self._forked(message.id, message.meta.get("pid"), payload)

    def _fork(self, request_id: int) -> None:
        """Ask the zygote for a worker on a new wire."""
        assert self._control is not None
        try:
            ours, theirs = _wire_pair()
        except OSError as reason:
            self._requests.pop(request_id).failed(f"no descriptors for a worker: {reason.strerror}")
            return
        try:
            read_end, write_end = os.pipe()
        except OSError as reason:
            ours.close()
            theirs.close()
            self._requests.pop(request_id).failed(f"no descriptors for a worker: {reason.strerror}")
            return
        request = encode(CALL, request_id, "zygote.fork", {"parent_pid": os.getpid()}, NIL)[HEADER_BYTES:]
        try:
            socket.send_fds(self._control, [request], [theirs.fileno(), write_end])
        except OSError:
            # Its socket is full, or it is dying: then the next one serves the request.
            ours.close()
            os.close(read_end)
            self._send_soon()
            return
        finally:
            theirs.close()
            os.close(write_end)
        self._in_flight[request_id] = _Fork(
            ours,
            StderrTail(self._loop, read_end, self._log.raw),
            self._loop.call_later(FORK_TIMEOUT_S, self._zygote_hangs),
        )

    def _send_soon(self) -> None:
        if not self._send_again_due:
            self._send_again_due = True
            self._loop.call_later(SEND_AGAIN_S, self._send_again)

    def _send_again(self) -> None:
        self._send_again_due = False
        self._serve_requests()

    def _zygote_hangs(self) -> None:
        """It is killed; what was asked of it is asked of the next one."""
        if self._zygote is not None:
            self._log.error("zygote_hangs", pid=self._zygote.pid, forks=len(self._in_flight))
            self._zygote.kill()

    def _forked(self, request_id: int, pid: object, payload: bytes) -> None:
        request = self._requests.pop(request_id, None)
        if request is None:
            return
        fork = self._in_flight.pop(request_id)
        fork.timeout.cancel()
        if not isinstance(pid, int):
            fork.drop()
            request.failed(decode_failure(payload).message)
            return
        try:
            process = ChildProcess(pid, self._loop, fork.stderr)
        except OSError as reason:  # it has ended already, or there are no descriptors left
            kill_group(pid)
            fork.drop()
            request.failed(f"the process cannot be watched: {reason.strerror}")
            return
        request.started(process, fork.wire.detach())

    def _zygote_died(self, reason: str) -> None:
        """Start another; what was asked of this one is asked again."""
        if self._zygote is not None:
            self._words = self._zygote.last_words()
        self._zygote = None
        self._end_boot()
        self._drop_control()
        if self._closed:
            return
        if not self._use_zygote:
            if self._zygote_on_trial:
                self._try_zygote_later()
            return
        self._log.warning("zygote_died", reason=reason)
        if not self._zygote_ready:
            self._zygote_failures += 1
            if self._zygote_failures >= MAX_ZYGOTE_FAILURES:
                self._give_up_zygote(f"it died {self._zygote_failures} times before it was ready ({reason})")
                self._try_zygote_later()
                return
        self._zygote_ready = False
        self._loop.call_later(ZYGOTE_RESTART_S, self._start_zygote)

    def _give_up_zygote(self, reason: str) -> None:
        self._log.warning("zygote_unfit", reason=reason, effect="workers are started from nothing")
        self._use_zygote = False
        self._serve_requests()

    def _try_zygote_later(self) -> None:
        """Workers are started from nothing until another zygote says that it is ready."""
        self._zygote_on_trial = True
        self._loop.call_later(ZYGOTE_AGAIN_S, self._start_zygote)

    def _end_boot(self) -> None:
        if self._boot_timeout is not None:
            self._boot_timeout.cancel()
            self._boot_timeout = None

    def _drop_control(self) -> None:
        if self._control is not None:
            self._loop.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        self._drop_forks()

    def _drop_forks(self) -> None:
        for fork in self._in_flight.values():
            fork.drop()
        self._in_flight.clear()


def _command_of(alone: Alone | None) -> list[str]:
    if alone is None or alone.module is None:
        return [*BRIDGE, "worker"]
    return [sys.executable, "-m", alone.module]


def _wire_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
