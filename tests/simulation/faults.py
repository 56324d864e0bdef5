"""What can go wrong in one world, and how often: drawn from its seed.

Each world has about half of the faults and none of the others, so that there are worlds
in which a rare path is common, and worlds in which two faults meet without a third to hide them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

EXECUTION: Final = (
    "hang",  # never ends, whatever it is asked
    "deaf",  # ends, but not when it is asked
    "freeze",  # its whole process does nothing more
    "fail",
    "crash_before",  # after it said that it begins, before anything else
    "crash_midway",
    "crash_after",  # right after its reply
    "crash_in_reply",  # half a frame, then death
    "double_reply",
    "late_reply",  # another reply, when it has long ended
    "forged_reply",  # for an id that nobody gave it
    "forged_item",
    "forged_ask",  # a call to the host within a call that is not there
    "double_ask",
    "stray_item",  # out of turn
    "too_many_items",  # beyond its credit
    "nonsense",  # bytes that are no envelope
    "stray_text",  # … that are no frame
    "leak",
    "bloat",
    "too_large",  # a frame longer than is accepted
    "no_checkpoint",  # a turn's reply that does not say what is to be stored
    "forged_checkpoint",  # of a call that is not there, or of another turn
    "crash_after_checkpoint",  # before the reply
)
"""What may go wrong in one execution of a call."""

BOOT: Final = (
    "no_fork",
    "boot_exit",
    "boot_hang",
    "boot_slow",
    "boot_kill",
    "boot_refusal",
    "boot_nonsense",
    "boot_then_exit",
)
"""What may go wrong while a worker starts."""

CLIENT: Final = (
    "hang_up",
    "slow_reading",
    "no_answer",  # to a callback
    "double_answer",
    "item_out_of_turn",  # of a function's answer, or beyond its credit
    "stray_answer",
    "broken_envelope",
    "stray_cancel",
    "large_frame",
    "bad_meta",
    "unknown_method",
)
"""What may go wrong in what a client does."""


STORE: Final = (
    "store_is_slow",  # up to twice as long as anybody waits for it
    "store_loses_request",  # before it has done anything …
    "store_loses_answer",  # … or after that
)
"""What may go wrong in one operation of the store."""

JOB: Final = (
    "job_dies_asking",  # before the answer comes
    "job_freezes_asking",
    "job_dies_keeping",  # before it hears that an answer is kept
    "job_talks_nonsense",
    "job_dies_telling",
    "job_dies_before_its_reply",
    "job_dies_in_its_reply",
    "job_dies_after_its_reply",
    "job_is_deaf",  # when it is told to stop
    "host_leaves",  # in the middle of what it is asked
)
"""What may go wrong in the worker of a job, and with who answers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often each fault happens, by its name: a chance for each occasion.

    Attributes:
        kill_every_s: How often some worker is killed from outside; 0 is never.
        stop_every_s: How often some worker is stopped and, mostly, continued later.
        outage_s: How long at first no worker starts; 0 where there is no such time.
        store_down_every_s: How often the store is down for a while.
        store_refuses_every_s: How often it takes no writes for a while.
        sleep_every_s: How often the machine stands still, with all that is on it but the store.
    """

    chances: dict[str, float]
    kill_every_s: float
    stop_every_s: float
    outage_s: float
    store_down_every_s: float = 0.0
    store_refuses_every_s: float = 0.0
    sleep_every_s: float = 0.0

    def draw(self, random: Random, names: tuple[str, ...]) -> str:
        """One of those faults, or an empty string."""
        at = random.random()
        for name in names:
            at -= self.chances[name]
            if at < 0:
                return name
        return ""


def draw_faults(random: Random) -> Faults:
    """The faults of one world."""
    is_quiet = random.random() < 0.1
    chances: dict[str, float] = {}
    for names, highest in ((EXECUTION, 0.05), (BOOT, 0.12), (CLIENT, 0.1), (STORE, 0.3)):
        for name in names:
            has_it = random.random() < 0.4 and not is_quiet
            chances[name] = random.random() ** 2 * highest if has_it else 0.0
    return Faults(
        chances=chances,
        kill_every_s=0.0 if is_quiet or random.random() < 0.6 else random.uniform(0.1, 2),
        stop_every_s=0.0 if is_quiet or random.random() < 0.7 else random.uniform(0.2, 3),
        outage_s=0.0 if is_quiet or random.random() < 0.9 else random.uniform(0.5, 20),
        store_down_every_s=0.0 if is_quiet or random.random() < 0.7 else random.uniform(0.5, 5),
        store_refuses_every_s=0.0 if is_quiet or random.random() < 0.8 else random.uniform(0.5, 5),
        sleep_every_s=0.0 if is_quiet or random.random() < 0.8 else random.uniform(0.5, 10),
    )


def draw_job_faults(random: Random) -> dict[str, float]:
    """Those of the workers of jobs: how often each happens, for each occasion."""
    return {
        name: random.random() ** 2 * (0.05 if name.endswith("ing") else 0.4)
        for name in JOB
        if random.random() < 0.35
    }


NO_FAULTS: Final = Faults(
    chances=dict.fromkeys(EXECUTION + BOOT + CLIENT + STORE, 0.0),
    kill_every_s=0.0,
    stop_every_s=0.0,
    outage_s=0.0,
)
