"""HOW EACH KIND OF CALL MAY END, as one table. What is not in it is a violation.

A code is legal for a kind always, or after so many deaths of workers while the call was
open, or while one of certain faults was at work. A pure call must therefore give its own
result, unless workers died under it again and again; nothing else excuses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .history import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Legal:
    """How calls of one kind may end.

    Attributes:
        always: Codes that need no excuse.
        after_deaths: By code, how many workers must have died while the call was open.
        under: By code, faults of which one must have been at work.
    """

    always: frozenset[str]
    after_deaths: dict[str, int] = field(default_factory=dict[str, int])
    under: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])


AFTERMATH_S: Final = 15.0
"""How long a fault is at work after its cause is gone: a hanging zygote is found out after
5 s, the next one imports DSPy for several, and a worker that was given up has its grace."""

SLOWING: Final[frozenset[str]] = frozenset(
    ("supervisor_stop", "zygote_stop", "zygote_kill", "descriptors", "deaf_client", "stall", "worker_stop")
)
"""What may keep a call from its turn until its time is over."""

# A call without effects: repeated, until two workers have died under it or the budget is spent.
_PURE: Final[dict[str, int]] = {"poisoned": 2, "worker_died": 1}
# A call with effects: not repeated once it has had one.
_COMMITTED: Final[dict[str, int]] = {"worker_died": 1, "poisoned": 2}
_NO_WORKERS: Final[dict[str, frozenset[str]]] = {
    "deadline": SLOWING,
    "boot_failed": frozenset(("descriptors",)),
    "unavailable": frozenset(("descriptors",)),
}


def _row(*always: str, deaths: dict[str, int] = _PURE) -> Legal:
    return Legal(always=frozenset(always), after_deaths=deaths, under=_NO_WORKERS)


LEGAL: Final[dict[Kind, Legal]] = {
    Kind.OK: _row("ok"),
    Kind.ERROR: _row("program_failed"),
    Kind.CANCEL: _row("cancelled", "ok"),  # its result may have won the race
    Kind.STUBBORN: _row("cancelled"),
    Kind.DEADLINE: _row("deadline"),
    Kind.STREAM: _row("ok", deaths=_COMMITTED),
    Kind.CALLBACK: _row("ok", deaths=_COMMITTED),
    Kind.CALLBACK_ERROR: _row("function_failed", deaths=_COMMITTED),
    # A stuck call ends by its deadline. Its killing the worker is what it is for, so its
    # repeats die as well; one that comes again within ten minutes is refused at once. One that
    # has stopped its process goes on when a SIGCONT is sent to that worker, whoever it is meant for.
    Kind.STALL: Legal(
        always=frozenset(("deadline", "poisoned")),
        after_deaths=_PURE,
        under={**_NO_WORKERS, "ok": frozenset(("worker_stop",))},
    ),
    Kind.BLOAT: _row("ok", "poisoned", "worker_died", "deadline"),
    Kind.FLOOD: _row("ok"),
    Kind.KILLER: _row("poisoned", "worker_died"),
}

EFFECTS: Final = frozenset((Kind.STREAM, Kind.CALLBACK, Kind.CALLBACK_ERROR))
"""Kinds whose `worker_died` must say `maybe_executed`."""

FAILS_WITHOUT_NONCE: Final = frozenset(("cancelled", "deadline", "poisoned", "worker_died", "boot_failed"))
"""Codes of the server's own, which know nothing of nonces."""
