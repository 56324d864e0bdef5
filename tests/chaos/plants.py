"""Planted defects: what a server that breaks its promises would look like from here.

Two ways to the same end. A `Plant` bends the frames as they come in (`--plant drop`), so
that a whole run goes red. `doctored` bends a record of the run's own history, which each
run does at its end: a checker that then sees nothing makes the run void.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from dspex_protocol import REPLY, Envelope

from .history import CallRecord, Kind, Outcome

Frame = tuple[Envelope, bytes]

EVERY: Final = 1000
"""One outcome in so many is bent."""


class Plant:
    """Bends one outcome in `every`.

    Args:
        name: `drop`, `double` or `swap`.
        every: How many outcomes pass between two that are bent.
    """

    def __init__(self, name: str, every: int = EVERY) -> None:
        self._bend = {"drop": self._drop, "double": self._double, "swap": self._swap}[name]
        self._every = every
        self._count = 0
        self._held: Frame | None = None

    def bend(self, envelope: Envelope, payload: bytes) -> list[Frame]:
        """What is to be taken for what came."""
        self._count += 1
        return self._bend((envelope, payload))

    @property
    def _is_due(self) -> bool:
        return self._count % self._every == 0

    def _drop(self, frame: Frame) -> list[Frame]:
        return [] if self._is_due else [frame]

    def _double(self, frame: Frame) -> list[Frame]:
        return [frame, frame] if self._is_due else [frame]

    def _swap(self, frame: Frame) -> list[Frame]:
        """Hold a result back and let the next one change places with it."""
        if self._is_due and self._held is None and frame[0].kind == REPLY:
            self._held = frame
            return []
        if self._held is None or frame[0].kind != REPLY:
            return [frame]
        (first, one), self._held = self._held, None
        second, other = frame
        return [(first, other), (second, one)]


PLANTS: Final = ("drop", "double", "swap")


def doctored(records: Sequence[CallRecord]) -> dict[str, list[CallRecord]]:
    """Copies of good records, each with one lie, by the promise that it breaks."""
    good = [record for record in records if record.kind is Kind.OK and record.outcomes[0].code == "ok"]
    first, second = good[:2]
    return {
        "P1 none": [_with(first, [])],
        "P1 twice": [_with(first, first.outcomes * 2)],
        "P2": [_with(first, [replace(first.outcomes[0], nonce=second.nonce)])],
        "P3": [_with(first, [replace(first.outcomes[0], code="internal", nonce=None)])],
        "P6": [_with(first, [replace(first.outcomes[0], at_s=first.deadline_s + 3600)])],
        "P7": [_with(first, [replace(first.outcomes[0], beside=1 << 20)])],
    }


def _with(record: CallRecord, outcomes: list[Outcome]) -> CallRecord:
    return replace(record, outcomes=outcomes)


Check = Callable[[CallRecord], Sequence[object]]


def unnoticed(records: Sequence[CallRecord], check: Check) -> list[str]:
    """The lies that a check does not see; empty when the run counts."""
    return [name for name, lies in doctored(records).items() if not any(check(lie) for lie in lies)]
