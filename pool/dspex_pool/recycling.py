"""When a worker has served long enough: by calls, by age, and by memory. Pure.

What leaks does so in the worker, so a new process is the one cure that needs no knowledge of
the leak. Each worker draws its own limits when it starts: workers that started together would
otherwise be replaced together, and the pool would be at half its strength in that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from .config import Config

JITTER: Final = 0.1
"""How far a worker's limits are from those of the settings, up or down."""

MIB: Final = 1024 * 1024
WARM_UP_CALLS: Final = 50
"""Calls after which a worker has imported, compiled and copied what most calls need."""

MAX_WARM_UP_BYTES: Final = 192 * MIB
"""How much of its growth in that time is taken for warming up.

Measured: 5 to 10 MB for pages shared with the zygote that a worker writes to, up to 36 MB for
pages that were shared and are the last worker's alone when its zygote and siblings have ended,
and 125 MB for a provider's library that is imported by the first call. More than that is a leak
that began early, and stays counted.
"""

MAX_LAST_STEP_BYTES: Final = 64 * MIB
"""How much of that may come between two readings, at the end: readings come four times a second
and at each 8 MiB, so calls that follow each other fast may have grown by all but the library."""


class RecycleReason(StrEnum):
    """Why a living worker is replaced."""

    CALLS = "calls"  # it has served its number
    AGE = "age"
    MEMORY = "memory"  # its own memory has grown beyond the soft limit
    ASKED = "asked"  # an operator wants it
    SCALED_DOWN = "scaled_down"  # fewer workers are enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one worker may use until it is replaced; None is without end.

    Attributes:
        max_calls: Calls that may end in it.
        max_age_s: Seconds since it was ready.
        soft_bytes: Memory over its baseline at which it is replaced when its calls have ended.
        hard_bytes: … at which it is killed, whatever runs in it.
    """

    max_calls: int | None
    max_age_s: float | None
    soft_bytes: int | None
    hard_bytes: int | None


def draw_allowance(config: Config, random: Random) -> Allowance:
    """A new worker's limits: those of the settings, ±10 % by one draw.

    The hard limit is as it was set: whoever sized the machine counts on it, and no crowd of
    workers reaches it in the same moment by running alike.
    """
    factor = random.uniform(1 - JITTER, 1 + JITTER)
    return Allowance(
        max_calls=max(1, round(config.recycle_after_calls * factor)) if config.recycle_after_calls else None,
        max_age_s=config.recycle_after_s * factor if config.recycle_after_s else None,
        soft_bytes=round(config.memory_soft_mb * MIB * factor) if config.memory_soft_mb else None,
        hard_bytes=config.memory_hard_mb * MIB if config.memory_hard_mb else None,
    )


def worn(allowance: Allowance, *, calls: int, age_s: float, own_bytes: int) -> RecycleReason | None:
    """Why a worker should be replaced now, or None; the most pressing of several reasons.

    Args:
        allowance: Its limits.
        calls: Calls that have ended in it.
        age_s: Seconds since it was ready.
        own_bytes: Its memory over its baseline, at the last reading.
    """
    if _has_reached(own_bytes, allowance.soft_bytes):
        return RecycleReason.MEMORY
    if _has_reached(calls, allowance.max_calls):
        return RecycleReason.CALLS
    if _has_reached(age_s, allowance.max_age_s):
        return RecycleReason.AGE
    return None


def is_bloated(allowance: Allowance, own_bytes: int) -> bool:
    """Whether a worker must be killed in the middle of its calls."""
    return _has_reached(own_bytes, allowance.hard_bytes)


def _has_reached(amount: float, limit: float | None) -> bool:
    return limit is not None and amount >= limit


class Baseline:
    """What a worker's memory was before it grew, so that only its own growth counts.

    The first reading counts until `WARM_UP_CALLS` have ended; then the next one does, for good.
    Without the first, a worker that bloats in its first call would have no limit; without the
    second, what every worker needs would count as growth. But the next one comes as soon as the
    worker has grown, and may be the very growth that is to be seen: so it is taken only up to
    `MAX_LAST_STEP_BYTES` more than the one before.

    Attributes:
        bytes: The baseline; None before the first reading.
        is_final: Whether the worker has warmed up.
    """

    __slots__ = ("_last_bytes", "bytes", "is_final")

    def __init__(self) -> None:
        self.bytes: int | None = None
        self.is_final = False
        self._last_bytes = 0

    def own_bytes(self, uss_bytes: int, calls_ended: int) -> int:
        """Take a reading; returns how far it is over the baseline, 0 where it is below.

        Args:
            uss_bytes: Memory that the worker shares with nobody.
            calls_ended: Calls that have ended in it so far.
        """
        if self.bytes is None:
            self.bytes = self._last_bytes = uss_bytes
        if not self.is_final and calls_ended >= WARM_UP_CALLS:
            self.is_final = True
            self.bytes = min(
                uss_bytes, self._last_bytes + MAX_LAST_STEP_BYTES, self.bytes + MAX_WARM_UP_BYTES
            )
        self._last_bytes = uss_bytes
        return max(0, uss_bytes - self.bytes)
