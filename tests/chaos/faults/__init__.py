"""The registry of faults: what can be done to a server, one class each."""

from __future__ import annotations

from typing import Final

from .base import Injector
from .calls import Bloat, Flood, Killer, Stall
from .processes import SupervisorStop, WorkerKill, WorkerStop, ZygoteKill, ZygoteStop
from .resources import DeafClient, Descriptors, SlowReader

INJECTORS: Final[dict[str, Injector]] = {
    injector.name: injector
    for injector in (
        WorkerKill(),
        WorkerStop(),
        ZygoteKill(),
        ZygoteStop(),
        SupervisorStop(),
        Stall(),
        Bloat(),
        Flood(),
        Killer(),
        Descriptors(),
        SlowReader(),
        DeafClient(),
    )
}

__all__ = ["INJECTORS", "Injector"]
