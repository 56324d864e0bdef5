"""THE PATHS of a call: how it is made to end in each way, as frames.

Most leaks live where calls end badly, so each way is soaked by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dspex_protocol import CALL, Meta, encode, encode_value
from tests.support.servers import PREDICT

LEAKING: Final = "leak"
DEADLINE_MS: Final = 5000
"""The server keeps an empty place in its table for each hundredth of a second in which a
deadline lies ahead. That is bounded by the deadline, and a short one lets the warm-up fill it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """One way of calls to end.

    Attributes:
        name: As reports call it.
        method: What is called.
        payload: Of the call with that number.
        codes: How a call may end.
        meta: Beside the deadline.
        outstanding: Calls at a time.
        cancelled: `""`, `at once` or `at the first item`: when the caller gives up.
        replaces_workers: Each call costs a worker.
        unsteadiness: How much coarser memory is looked at. Calls that are given up fill the
            supervisor's tables in bursts: they took 1.2 MB in steps over the first 200,000
            cancels and not a page more over the next 200,000.
        share: Of the calls of a whole run, relative to `ok`: slow paths make fewer.
    """

    name: str
    method: str
    payload: Callable[[int], dict[str, object]]
    codes: frozenset[str]
    meta: Meta = field(default_factory=lambda: {"deadline_ms": DEADLINE_MS})
    outstanding: int = 64
    cancelled: str = ""
    replaces_workers: bool = False
    unsteadiness: int = 1
    share: float = 1.0

    def frame(self, call_id: int, number: int) -> bytes:
        """The CALL."""
        return encode(CALL, call_id, self.method, self.meta, encode_value(self.payload(number)))


def _nonce(**more: object) -> Callable[[int], dict[str, object]]:
    return lambda number: {"nonce": f"nonce-{number}", **more}


def _question(lm: str) -> Callable[[int], dict[str, object]]:
    return lambda number: {
        "inputs": {"question": f"question {number % 100}"},
        "spec": dict(PREDICT),
        "lm": lm,
    }


_FOREVER: Final = 3_600_000

PATHS: Final = (
    Path(name="ok", method="nonces.give", payload=_nonce(), codes=frozenset(("ok",))),
    Path(
        name="predict",
        method="program.predict",
        payload=_question("default"),
        codes=frozenset(("ok",)),
        share=0.03,
    ),
    Path(name="error", method="nonces.refuse", payload=_nonce(), codes=frozenset(("program_failed",))),
    Path(
        name="cancel",
        method="nonces.give",
        payload=_nonce(pause_ms=_FOREVER),
        codes=frozenset(("cancelled",)),
        outstanding=96,
        cancelled="at once",
        unsteadiness=4,
        share=0.1,
    ),
    Path(
        name="deadline",
        method="nonces.give",
        payload=_nonce(pause_ms=_FOREVER),
        codes=frozenset(("deadline",)),
        outstanding=512,
        meta={"deadline_ms": 2},
        share=0.3,
    ),
    Path(
        name="stream abort",
        method="nonces.stream",
        payload=_nonce(count=1000),
        codes=frozenset(("cancelled",)),
        meta={"deadline_ms": DEADLINE_MS, "credit": 2},
        cancelled="at the first item",
        share=0.2,
    ),
    Path(
        name="callback error",
        method="program.predict",
        payload=_question("refuse"),
        codes=frozenset(("function_failed",)),
        share=0.03,
    ),
    Path(
        name="crash",
        method="nonces.die",
        payload=_nonce(),
        codes=frozenset(("worker_died",)),
        meta={"deadline_ms": 6 * DEADLINE_MS, "credit": 2},
        outstanding=2,
        replaces_workers=True,
        share=0.002,
    ),
)

OK: Final = PATHS[0]


def leaking(size_bytes: int) -> Path:
    """A path on which the worker keeps so many bytes of every call: the control."""
    return Path(
        name=LEAKING,
        method="nonces.keep",
        payload=lambda number: {"size_bytes": size_bytes},
        codes=frozenset(("ok",)),
    )
