"""What growth is let pass, and what each verdict rests on. Pure.

The release gate is 0.25 B a call for the supervisor and 1 B for a worker. A run can hold
that only if it is long enough: memory comes in pages, in pools of 16 KiB and in the
allocator's own steps, so that two looks at a process that leaks nothing differ by some of
those. A `Resolution` is what such differences were seen to come to; spread over the calls
of a run it is the finest gate that means anything, and the wider of the two is used. A
planted leak of `CONTROL_FACTOR` gates must be caught, or the run says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .slope import Slope

SUPERVISOR_BYTES_PER_CALL: Final = 0.25
WORKER_BYTES_PER_CALL: Final = 1.0
CONTROL_FACTOR: Final = 4
KEPT_SHARE: Final = 0.8
"""The last four fifths of the samples count; the first may still fill caches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The slope that a process must stay below.

    Attributes:
        bytes_per_call: Upper limit.
        is_release: It is the gate of a release, not what this run's length resolves.
    """

    bytes_per_call: float
    is_release: bool

    def passes(self, slope: Slope) -> bool:
        """Whether growth is surely less: the upper limit counts, not the middle."""
        return slope.upper <= self.bytes_per_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """By how much memory differs though nothing leaks, in bytes."""

    supervisor: int
    worker: int

    def supervisor_gate(self, calls: int, unsteadiness: int = 1) -> Gate:
        """The supervisor's gate in a run of so many calls."""
        return _gate(SUPERVISOR_BYTES_PER_CALL, unsteadiness * self.supervisor / calls)

    def worker_gate(self, calls: int) -> Gate:
        """A worker's gate in a run of so many calls."""
        return _gate(WORKER_BYTES_PER_CALL, self.worker / calls)


WARM: Final = Resolution(supervisor=128 * 1024, worker=512 * 1024)
"""After a warm-up that fills what is bounded: 32 pages, and half an arena."""
COLD: Final = Resolution(supervisor=512 * 1024, worker=2 * 1024 * 1024)
"""After a short one. The supervisor's tables still fill, and a worker begins with a megabyte or
two that importing DSPy has left free, which hides what is leaked into it."""


def _gate(release: float, resolved: float) -> Gate:
    return Gate(bytes_per_call=max(release, resolved), is_release=resolved <= release)
