"""The time of a SQLite store: it goes on from boot to boot, and no step of the wall clock moves it.

Times to live and leases are instants of this clock, and the file outlives the machine's uptime.
Within a boot it follows the time since boot, suspended time included. Across boots there is only
the wall clock to say how long it was off: an **anchor** in the file holds what the clocks said
together at one moment, and store time goes on by as much as the wall clock has since. Where that
is less than nothing, the wall clock was set back, and store time goes on from the anchor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ANCHOR_AGE_S: Final = 60.0
"""A writer sets the anchor anew after so long: what may be repeated of the time if the machine
starts again with a wall clock that is behind."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
# Elsewhere than on Linux the monotonic clock has to do: time while suspended may not count.
_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the clocks of a machine say at one moment.

    Attributes:
        boot_id: Which boot it is, in the kernel's words; "" where it does not say.
        boot_s: Seconds since then.
        wall_s: The wall clock, in seconds.
    """

    boot_id: str
    boot_s: float
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor(Reading):
    """A reading, and the store's time at that moment.

    Attributes:
        store_s: That time, in seconds; the first anchor of a file is at 0.
    """

    store_s: float


class Clocks:
    """The clocks of this machine."""

    def since_boot_s(self) -> float:
        """Seconds since boot, with those in which the machine was suspended."""
        return time.clock_gettime(_SINCE_BOOT)

    def read(self) -> Reading:
        """What all of them say now."""
        try:
            boot_id = _BOOT_ID.read_text().strip()
        except OSError:
            boot_id = ""
        return Reading(
            boot_id=boot_id,
            boot_s=self.since_boot_s(),
            wall_s=time.time(),  # noqa: TID251 -- the only clock that goes on while the machine is off
        )


def go_on(anchor: Anchor | None, reading: Reading) -> Anchor:
    """The anchor of now: an earlier one, moved on by the time that has passed.

    Args:
        anchor: What the file holds; None when it is new.
        reading: What the clocks say.
    """
    return Anchor(
        boot_id=reading.boot_id,
        boot_s=reading.boot_s,
        wall_s=reading.wall_s,
        store_s=0.0 if anchor is None else anchor.store_s + _passed_s(anchor, reading),
    )


def is_of_this_boot(anchor: Anchor, reading: Reading) -> bool:
    """Whether both are on the same count of seconds.

    Where the kernel does not name its boots, or counts otherwise in a container of its own, a
    count that has gone back tells.
    """
    return anchor.boot_id == reading.boot_id and anchor.boot_s <= reading.boot_s


def _passed_s(anchor: Anchor, reading: Reading) -> float:
    if is_of_this_boot(anchor, reading):
        return reading.boot_s - anchor.boot_s
    return max(0.0, reading.wall_s - anchor.wall_s)


class StoreClock:
    """Store time, from an anchor of this boot on.

    Args:
        anchor: Where it starts.
        since_boot_s: The clock that it follows.
    """

    def __init__(self, anchor: Anchor, since_boot_s: Callable[[], float]) -> None:
        self.anchor = anchor
        self._since_boot_s = since_boot_s

    def now_s(self) -> float:
        """Store time in seconds."""
        return self.anchor.store_s + max(0.0, self._since_boot_s() - self.anchor.boot_s)

    def is_due(self) -> bool:
        """Whether the anchor should be set anew."""
        return self.now_s() - self.anchor.store_s >= ANCHOR_AGE_S
