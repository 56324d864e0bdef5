"""Named places where a test may make this process die, hang or stall.

`DSPEX_FAILPOINT=name:n:action` arms one place: at its `n`-th passing, `action` happens.
A replacement has the same environment; with `DSPEX_FAILPOINT_ONCE=path` the first process
that gets there makes that file, and where it exists nothing happens any more.
Without the first variable `passed` is one look at None. The crash tests in tests/end_to_end
walk through `NAMES`, so that every place where a kill could hurt is tried by name.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Final

NAMES: Final = (
    "boot.begin",
    "boot.ready",
    "call.received",
    "call.started",
    "program.loaded",
    "predict.begin",
    "predict.done",
    "item.sent",
    "callback.sent",
    "reply.half_written",
    "reply.written",
)
"""All places, in the order in which a call passes them."""

OF_SESSIONS: Final = ("checkpoint.sent",)
"""Places that only a call in a session passes, before `reply.half_written`."""

OF_HOST_STREAMS: Final = ("callback.item",)
"""Places that only a host function passes whose answer comes in pieces, after `callback.sent`."""

ACTIONS: Final = ("kill", "stop", "exit")


@dataclass(slots=True)
class _Armed:
    name: str
    countdown: int
    action: str


def _read_environment() -> _Armed | None:
    text = os.environ.get("DSPEX_FAILPOINT")
    if not text:
        return None
    name, count, action = text.split(":")
    places = (*NAMES, *OF_SESSIONS, *OF_HOST_STREAMS)
    if name not in places or action not in ACTIONS:
        raise ValueError(f"DSPEX_FAILPOINT: expected one of {places} and one of {ACTIONS}, got {text!r}")
    return _Armed(name, int(count), action)


_armed: _Armed | None = _read_environment()


def armed(name: str) -> bool:
    """Whether the next passing of this place is the fatal one."""
    return _armed is not None and _armed.name == name and _armed.countdown == 1


def passed(name: str) -> None:
    """Say that this place is being passed; does what the environment armed."""
    if _armed is None or _armed.name != name:
        return
    _armed.countdown -= 1
    if _armed.countdown == 0 and _is_first():
        _act(_armed.action)


def _is_first() -> bool:
    """Whether no other process has acted yet, where only one is to."""
    marker = os.environ.get("DSPEX_FAILPOINT_ONCE")
    if marker is None:
        return True
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def _act(action: str) -> None:
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case _:
            os._exit(3)
