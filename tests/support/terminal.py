"""A terminal for tests: a command that runs in one, what it writes there, and keys to press."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncGenerator, Mapping
from typing import Any


class Terminal:
    """One with a command in it.

    Attributes:
        modes_before: How it treated keys before the command came.
        process: The command.
        seen: All that it has written.
    """

    def __init__(
        self, screen: int, keyboard: int, modes_before: list[Any], process: asyncio.subprocess.Process
    ) -> None:
        self.modes_before = modes_before
        self._screen = screen
        self._keyboard = keyboard
        self._more = asyncio.Event()
        self.process = process
        self.seen = b""
        asyncio.get_running_loop().add_reader(screen, self._read)

    def _read(self) -> None:
        self.seen += os.read(self._screen, 65_536)
        self._more.set()

    async def see(self, text: bytes, after: int = 0) -> int:
        """Wait until a text has been written; returns where everything ended then."""
        while text not in self.seen[after:]:
            self._more.clear()
            await self._more.wait()
        return len(self.seen)

    def press(self, keys: bytes) -> None:
        """As a person would."""
        os.write(self._screen, keys)

    def resize(self, width: int, height: int) -> None:
        """Give it another size, of which its command is told by a signal."""
        set_size(self._screen, width, height)

    @property
    def modes(self) -> list[Any]:
        """How it treats keys now."""
        return termios.tcgetattr(self._keyboard)


def set_size(terminal: int, width: int, height: int) -> None:
    """Columns and lines."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


@contextlib.asynccontextmanager
async def in_terminal(
    *words: str, environment: Mapping[str, str], width: int = 80, height: int = 24
) -> AsyncGenerator[Terminal]:
    """A `dspex` command in a terminal of its own; killed afterwards if it still runs."""
    screen, keyboard = pty.openpty()
    set_size(screen, width, height)
    modes_before = termios.tcgetattr(keyboard)
    # Whoever runs the tests may have said how large its own terminal is; this one says so itself.
    given = {**os.environ, "TERM": "xterm-256color", **environment}
    sizeless = {name: value for name, value in given.items() if name not in ("COLUMNS", "LINES")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex_pool", *words),
        stdin=keyboard,
        stdout=keyboard,
        stderr=keyboard,
        env=sizeless,
        start_new_session=True,
        preexec_fn=_as_in_a_terminal,  # so that Ctrl-C and a new size become signals
    )
    try:
        yield Terminal(screen, keyboard, modes_before, process)
    finally:
        asyncio.get_running_loop().remove_reader(screen)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(screen)
        os.close(keyboard)


def _as_in_a_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # Whoever runs the tests in the background of a script has Ctrl-C ignored, and passes that on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
