"""Lines on stderr, and nothing else on it: time, level, event, then fields.

Written by a thread of its own: stderr may be a pipe that nobody reads, and the event loop
must not wait for it. What cannot be written in time is dropped and counted.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from . import wall_clock

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_WAITING_LINES: Final = 1000
MAX_LINE_BYTES: Final = 8192
# What workers write to stderr comes in pieces of up to 64 KiB, so lines alone are no bound.
MAX_WAITING_BYTES: Final = 1 << 20


class Log:
    """A log that never blocks its caller."""

    def __init__(self, level: str, descriptor: int = 2) -> None:
        self._least = LEVELS[level]
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._counting = threading.Lock()  # for two numbers, never held while writing
        self._wake = threading.Event()
        self._started = False
        self._dropped = 0
        self.listener: Callable[[str, str, dict[str, object]], None] | None = None

    def debug(self, event: str, **fields: object) -> None:
        """For somebody who looks for a fault."""
        self._add("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """What an operator may want to know."""
        self._add("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something failed and was handled."""
        self._add("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something failed and somebody must look."""
        self._add("error", event, fields)

    def raw(self, text: bytes) -> None:
        """Pass on what a worker wrote to its stderr."""
        self._queue(text)

    def announce(self, event: str, **fields: object) -> None:
        """What whoever started the server waits for: written at every level."""
        self._line("info", event, fields)

    def _add(self, level: str, event: str, fields: dict[str, object]) -> None:
        if self.listener is not None:
            self.listener(level, event, fields)
        if LEVELS[level] >= self._least:
            self._line(level, event, fields)

    def _line(self, level: str, event: str, fields: dict[str, object]) -> None:
        now = wall_clock.now()
        moment = now.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        rest = "".join(f" {name}={_plain(value)}" for name, value in fields.items())
        line = f"{moment}Z {level} dspex.{event}{rest}".encode()[: MAX_LINE_BYTES - 1]
        self._queue(line.decode(errors="ignore").encode() + b"\n")  # no half character at the cut

    def _queue(self, line: bytes) -> None:
        with self._counting:
            full = self._waiting_bytes + len(line) > MAX_WAITING_BYTES
            if full or len(self._lines) >= MAX_WAITING_LINES:
                self._dropped += 1
                return
            self._waiting_bytes += len(line)
            self._lines.append(line)
        if not self._started:
            self._started = True
            threading.Thread(target=self._write_all, name="log", daemon=True).start()
        self._wake.set()

    def _write_all(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._lines:
                line = self._lines.popleft()
                self._write(line)
                with self._counting:
                    self._waiting_bytes -= len(line)
            with self._counting:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                self._write(f"dspex.log dropped={dropped} lines\n".encode())

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError:
            return  # nobody can be told that stderr is gone


def _plain(value: object) -> str:
    """One field's value on one line, without what could steer a terminal."""
    text = str(value)[:MAX_LINE_BYTES]  # a megabyte would hold the caller for 60 ms
    safe = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return repr(safe) if " " in safe else safe
