"""Ends a supervisor whose event loop answers no more, with every stack on stderr.

Nothing that such a process does is worth waiting for, and its client can start another.

    what blocks the loop                              what notices
    a system call, a lock, a loop in Python           a thread that asks the loop for a sign of life
    C code that holds the interpreter's lock          a CPU timer of the kernel, which the thread
                                                      winds up again whenever it runs

Neither counts the time for which the whole process was stopped: the thread counts its own
looks, and a stopped process uses no CPU.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import Final

LIMIT_S: Final = 5.0
"""The longest honest work of one round, a frame of 64 MiB passed on, takes a tenth of a second."""
LOOKS_PER_LIMIT: Final = 5
"""So with the usual limit the loop is woken once a second, which costs it microseconds."""
EXIT_CODE: Final = 70
DUMP_TIMEOUT_S: Final = 2
"""How long writing the stacks may take: stderr may be a pipe that nobody reads."""


@dataclass(slots=True, kw_only=True)
class Patience:
    """For how long a loop has given no answer, as far as this process was running.

    Attributes:
        limit_s: When that is too long.
        look_s: The time between two looks. A look that comes later than that means that the
            process was stopped, so no look counts for more.
        unanswered_s: How long it has been.
    """

    limit_s: float
    look_s: float
    unanswered_s: float = 0.0

    def is_over(self, elapsed_s: float, *, answered: bool) -> bool:
        """Take one look into account.

        Args:
            elapsed_s: Since the look before.
            answered: Whether the loop has given an answer since then.
        """
        self.unanswered_s = 0.0 if answered else self.unanswered_s + min(elapsed_s, self.look_s)
        return self.unanswered_s > self.limit_s - self.look_s / 2  # sums of floats are not exact


class Watchdog:
    """Watches one event loop. Building it starts nothing; `stop` is final.

    Args:
        loop: The loop, which runs in the main thread.
        limit_s: For how long it may give no answer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float = LIMIT_S) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._look_s = limit_s / LOOKS_PER_LIMIT
        self._answered = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        # Writes the stacks without the interpreter's lock; then the signal's default ends the process.
        faulthandler.register(signal.SIGPROF, all_threads=True, chain=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more: the loop is about to end."""
        self._stopping.set()
        self._thread.join(self._limit_s)
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _watch(self) -> None:
        patience = Patience(limit_s=self._limit_s, look_s=self._look_s)
        looked_s = time.monotonic()
        signal.setitimer(signal.ITIMER_PROF, self._limit_s)
        self._ask()
        while not self._stopping.wait(self._look_s):
            before_s, looked_s = looked_s, time.monotonic()
            answered = self._answered.is_set()
            if patience.is_over(looked_s - before_s, answered=answered):
                self._end()
            if answered:
                self._ask()
            signal.setitimer(signal.ITIMER_PROF, self._limit_s)

    def _ask(self) -> None:
        self._answered.clear()
        try:
            self._loop.call_soon_threadsafe(self._answered.set)
        except RuntimeError:  # the loop is closed
            self._stopping.set()

    def _end(self) -> None:
        signal.alarm(DUMP_TIMEOUT_S)
        os.write(2, b"dspex: the supervisor's event loop gave no answer; it ends. Its stacks:\n")
        faulthandler.dump_traceback(2, all_threads=True)
        os._exit(EXIT_CODE)
