"""Orphans: what dead workers left behind, killed soon after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .ports import Ports

SWEEP_AGAIN_S: Final = 0.05


class Sweeper:
    """Kills children of ours that are none of ours.

    Args:
        ports: The world.
        living: The pids of the workers.
    """

    def __init__(self, ports: Ports, living: Callable[[], set[int]]) -> None:
        self._timers = ports.timers
        self._processes = ports.processes
        self._kill_all_but = ports.sweep
        self._living = living
        self._is_due = False
        self._closed = False

    def close(self) -> None:
        """Sweep no more."""
        self._closed = True

    def sweep_soon(self) -> None:
        """A worker has died: its orphans come to us in a moment."""
        if not self._is_due:
            self._is_due = True
            self._timers.call_later(SWEEP_AGAIN_S, self._sweep)

    def _sweep(self) -> None:
        self._is_due = False
        if self._closed:
            return
        if self._processes.is_forking:  # a worker may exist whose pid we do not know yet
            self.sweep_soon()
            return
        # A worker leads its group: who is in it is a helper of a living worker. One that also
        # left the group cannot be told from an orphan, and dies.
        living = self._living()
        if self._kill_all_but(self._processes.own_pids | living, living):
            self.sweep_soon()
