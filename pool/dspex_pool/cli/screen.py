"""A terminal of `dspex top`: a screen of its own, one key, and everything as it was afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
import tty
from collections.abc import Generator
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .panels import view
from .tables import Row

ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
_CONTROL_CHARACTERS: Final = 6  # where termios.tcgetattr has them


class Screen:
    """Shows one snapshot after the other, in place.

    Args:
        console: Where.
        before: What it says until the first one comes.
    """

    def __init__(self, console: Console, before: str) -> None:
        self._console = console
        self._snapshot: Row | None = None
        self._notice = before
        # Its own thread would draw while this one changes what is drawn. Nothing is cleared
        # first: every line is written over the old one, so nothing flickers.
        self._live = Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        self.draw()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, snapshot: Row) -> None:
        """Show what came."""
        self._snapshot, self._notice = snapshot, ""
        self.draw()

    def tell(self, notice: str) -> None:
        """Say why nothing came; the old figures stay."""
        self._notice = notice
        self.draw()

    def draw(self) -> None:
        """Show it again, in a terminal that may have another size now."""
        if self._snapshot is None:
            self._live.update(Text(self._notice), refresh=True)
            return
        width, height = self._console.size
        self._live.update(view(self._snapshot, width, height, self._notice), refresh=True)


@contextlib.contextmanager
def wishes(screen: Screen, quits: asyncio.Event) -> Generator[None]:
    """Hear what the person wants: `q` or a signal to quit, another size of the terminal."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, screen.draw)
    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, quits.set)
    try:
        with _keys(loop, quits):
            yield
    finally:
        for number in (signal.SIGWINCH, *ENDING_SIGNALS):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _keys(loop: asyncio.AbstractEventLoop, quits: asyncio.Event) -> Generator[None]:
    """Single keys of stdin, where that is a terminal; Ctrl-C stays a signal."""
    keyboard = 0  # and not sys.stdin, which may be None
    if not os.isatty(keyboard):
        yield
        return
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    _ignore_suspend(keyboard)
    loop.add_reader(keyboard, _read_keys, loop, keyboard, quits)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        # TCSAFLUSH: keys that nobody read are not for the shell.
        termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)


def _ignore_suspend(keyboard: int) -> None:
    """Ctrl-Z would leave the shell on our screen, without a cursor and without an echo."""
    modes = termios.tcgetattr(keyboard)
    modes[_CONTROL_CHARACTERS][termios.VSUSP] = b"\0"
    termios.tcsetattr(keyboard, termios.TCSANOW, modes)


def _read_keys(loop: asyncio.AbstractEventLoop, keyboard: int, quits: asyncio.Event) -> None:
    try:
        pressed = os.read(keyboard, 1024)
    except OSError:
        pressed = b""
    if not pressed:  # the terminal is gone
        loop.remove_reader(keyboard)
    if not pressed or pressed.lower() in (b"q", b"\x04"):
        quits.set()
