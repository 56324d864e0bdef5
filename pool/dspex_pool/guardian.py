"""The guardian: the parent process whose only work is to leave nothing behind.

A supervisor that is killed cannot clean up after itself. Its workers have the kernel's
parent-death signal, but what they started in turn (an interpreter, a tool's subprocess)
does not. So `dspex serve` forks at once; the child is the supervisor, and the parent
waits here. A thread in the supervisor would not do: it dies, stops and hangs with it.

    guardian   waits for: supervisor's end · client's end · signals
       └─ supervisor   watches a pipe: when the guardian dies, it kills its descendants
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from types import FrameType
from typing import Final

from .processes import LINUX, become_subreaper, kill_descendants, signal_on_parent_death

# A supervisor that has not left this long after its client did is stuck or stopped.
LEAVING_TIMEOUT_S: Final = 0.5
SWEEP_TIMEOUT_S: Final = 5.0
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def stand_guard(wire: tuple[int, int] | None) -> None:
    """Fork. Returns in the child, which is the supervisor; the parent ends with it.

    Must run before any thread exists. Where the system has no subreapers it does nothing
    and the calling process is the supervisor.

    Args:
        wire: The descriptors of the client on stdio; None where there is none to outlive.
    """
    if not LINUX:
        return
    become_subreaper()
    alive_read, alive_write = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(alive_write)
        # A stopped supervisor is woken, so that its watching thread can act.
        signal_on_parent_death(signal.SIGCONT)
        threading.Thread(target=_outlive_nothing, args=(alive_read,), daemon=True).start()
        return
    os.close(alive_read)
    if wire is not None:
        os.close(wire[1])  # the client sees the end of the wire when the supervisor ends
    status = _wait(supervisor, None if wire is None else wire[0])
    kill_descendants(SWEEP_TIMEOUT_S)
    os._exit(status)


def _outlive_nothing(alive_read: int) -> None:
    """In the supervisor: when the guardian's end of the pipe closes, end everything."""
    os.read(alive_read, 1)
    kill_descendants(SWEEP_TIMEOUT_S)
    os._exit(1)


def _let_the_descriptor_tell(number: int, frame: FrameType | None) -> None:
    """A handler that does nothing: the wake-up descriptor has the number."""


def _wait(supervisor: int, wire_in: int | None) -> int:
    """Wait for the supervisor's end and return its exit code."""
    woken_read, woken_write = os.pipe()
    os.set_blocking(woken_write, False)
    signal.set_wakeup_fd(woken_write)
    for number in _FORWARDED:
        signal.signal(number, _let_the_descriptor_tell)
    ended = os.pidfd_open(supervisor)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(woken_read, select.POLLIN)
    if wire_in is not None:
        poll.register(wire_in, 0)  # only its end, never its data
    kill_at: float | None = None
    while True:
        timeout_ms = None if kill_at is None else max(0, int((kill_at - time.monotonic()) * 1000) + 1)
        events = dict(poll.poll(timeout_ms))
        if ended in events:
            return os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1]) & 0xFF
        if woken_read in events:
            for received in os.read(woken_read, 64):
                os.kill(supervisor, received)
        if wire_in is not None and wire_in in events:
            poll.unregister(wire_in)
            kill_at = time.monotonic() + LEAVING_TIMEOUT_S
        if kill_at is not None and time.monotonic() >= kill_at:
            os.kill(supervisor, signal.SIGKILL)
            kill_at = None  # once is enough: its end may take the kernel a while
