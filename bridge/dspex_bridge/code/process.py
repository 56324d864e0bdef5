"""A process that runs code: started, spoken with within limits, and killed with all that is in it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from typing import Final

from .sandbox import Sandbox

START_S: Final = 60.0
"""A start takes a second or two, and some start at once on a machine that has other things to do."""

MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""An answer: what code printed, or submitted."""

_CHUNK: Final = 65_536
_TRIAL: Final = {"jsonrpc": "2.0", "method": "execute", "params": {"code": "print(6 * 7)"}, "id": "trial"}


class LineTooLongError(OSError):
    """The process wrote more than anybody is going to read."""


class SandboxProcess:
    """A process that has shown that it computes.

    Args:
        sandbox: How it is started. The thread that does it must live as long as it: bubblewrap
            dies with the thread that started it.

    Attributes:
        popen: What DSPy's interpreter writes to.

    Raises:
        OSError: it cannot be started.
        EOFError: it ended.
        TimeoutError: it did not answer.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.popen = subprocess.Popen(
            sandbox.command,
            env=dict(sandbox.environment),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # nobody reads it, and a full pipe would hold it up
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._killing = threading.Lock()
        self._reading = threading.Lock()
        self._is_over = False
        self._waiting = bytearray()
        self._searched = 0
        try:
            self._try()
        except BaseException:
            self.close()
            raise

    def _try(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(_TRIAL) + "\n")
        self.popen.stdin.flush()
        answer = json.loads(self.read_line(START_S))
        if answer.get("result") != {"output": "42\n"}:
            raise OSError("it does not compute")

    def read_line(self, wait_s: float) -> str:
        """The next line that it writes.

        Raises:
            TimeoutError: none came in that time.
            EOFError: it has ended.
            LineTooLongError: it is longer than `MAX_LINE_BYTES`.
        """
        with self._reading:
            try:
                return self._next_line(time.monotonic() + wait_s)
            finally:
                if self._is_over:
                    self._close_pipes()

    def _next_line(self, until: float) -> str:
        while (end := self._waiting.find(b"\n", self._searched)) < 0:
            self._searched = len(self._waiting)
            if self._searched > MAX_LINE_BYTES:
                raise LineTooLongError
            self._waiting += self._read(until)
        line = self._waiting[:end].decode("utf-8", "replace")
        del self._waiting[: end + 1]
        self._searched = 0
        return line

    def _read(self, until: float) -> bytes:
        assert self.popen.stdout is not None
        if self.popen.stdout.closed:
            raise EOFError
        descriptor = self.popen.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError
        read = os.read(descriptor, _CHUNK)
        if not read:
            raise EOFError
        return read

    def kill(self) -> None:
        """End it, whatever it does; from any thread, more than once."""
        with self._killing:  # else another thread could have waited for it, and the pid be another's
            if self.popen.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.popen.pid, signal.SIGKILL)
                self.popen.wait()

    def close(self) -> None:
        """End it and give back its pipes, from any thread; one that is reading does the latter itself.

        A pipe that is closed under its reader may be another file by then.
        """
        self._is_over = True
        self.kill()
        if self._reading.acquire(blocking=False):
            try:
                self._close_pipes()
            finally:
                self._reading.release()

    def _close_pipes(self) -> None:
        for pipe in (self.popen.stdin, self.popen.stdout):
            with contextlib.suppress(OSError):  # what was written, and not read, goes nowhere now
                if pipe is not None:
                    pipe.close()
