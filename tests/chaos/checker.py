"""THE CHECKER: the promises of the pool, held against one call's record at a time.

Pure: it reads records and what happened around them, and says what was broken.

    P1  exactly one outcome        P6  the outcome comes by the deadline
    P2  nobody else's nonce        P7  a cancel is answered; no place is given away twice
    P3  only a death that was announced, while the call was open, excuses its failing
    P9  bounded memory: see `run.py`, which watches the process
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from .history import MAX_REMEMBERED, CallRecord, Fault, History, Kind, Outcome
from .legal import AFTERMATH_S, EFFECTS, FAILS_WITHOUT_NONCE, LEGAL

LATE_S: Final = 1.0
"""Beyond the promised 50 ms, which a shared machine cannot be held to: those are reported
as a distribution, and this is the bound at which a promise is broken."""
EARLY_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was broken, by which call and how."""

    promise: str
    what: str
    call: int = 0

    def __str__(self) -> str:
        return f"{self.promise}: call {self.call}: {self.what}"


class Checker:
    """Judges calls.

    Args:
        history: What happened around them.
        places: Calls that one worker may run at once.

    Attributes:
        lateness_s: By how much outcomes came after their deadline, where they did not come before.
        cancel_s: From a cancel to the outcome.
        waits_s: From the call to its result, of plain calls.
    """

    def __init__(self, history: History, places: int) -> None:
        self._history = history
        self._places = places
        self.lateness_s: deque[float] = deque(maxlen=MAX_REMEMBERED)
        self.cancel_s: deque[float] = deque(maxlen=MAX_REMEMBERED)
        self.waits_s: deque[float] = deque(maxlen=MAX_REMEMBERED)

    def check(self, record: CallRecord) -> list[Violation]:
        """What one call's record breaks."""
        if len(record.outcomes) != 1:
            codes = [outcome.code for outcome in record.outcomes]
            return [_broken("P1", record, f"{len(codes)} outcomes: {codes or 'none'}")]
        (outcome,) = record.outcomes
        return [found for look in self._looks for found in look(record, outcome)]

    @property
    def _looks(self) -> tuple[Callable[[CallRecord, Outcome], Iterator[Violation]], ...]:
        return (
            self._stream,
            self._nonces,
            self._legality,
            self._effects,
            self._deadline,
            self._cancel,
            self._place,
        )

    def remember(self, record: CallRecord) -> None:
        """Add a call to the distributions."""
        if len(record.outcomes) != 1:
            return
        (outcome,) = record.outcomes
        if outcome.code == "deadline":
            self.lateness_s.append(self._seen_after(record.deadline_s, outcome.at_s))
        if record.cancelled_s is not None:
            self.cancel_s.append(self._seen_after(record.cancelled_s, outcome.at_s))
        if record.kind is Kind.OK and outcome.code == "ok":
            self.waits_s.append(outcome.at_s - record.sent_s)

    # P1, P2

    def _stream(self, record: CallRecord, outcome: Outcome) -> Iterator[Violation]:
        if record.items_after_outcome:
            yield _broken("P1", record, "an item came after the outcome")
        numbers = [number for number, _ in record.items]
        if numbers != list(range(len(numbers))):
            yield _broken("P1", record, f"items out of order: {numbers}")
        last = outcome.details.get("last_seq")
        if outcome.code == "worker_died" and numbers and last != len(numbers) - 1:
            yield _broken("P1", record, f"{len(numbers)} items came, and last_seq is {last}")

    def _nonces(self, record: CallRecord, outcome: Outcome) -> Iterator[Violation]:
        foreign = {nonce for _, nonce in record.items if nonce != record.nonce}
        if outcome.nonce not in (None, record.nonce):
            foreign.add(outcome.nonce)
        if foreign:
            yield _broken("P2", record, f"{record.nonce} was sent, {sorted(map(str, foreign))} came")
        owes = outcome.code not in FAILS_WITHOUT_NONCE and record.kind in _WITH_NONCE
        if owes and outcome.nonce is None:
            yield _broken("P2", record, f"{outcome.code} came without its nonce")

    # P3

    def _legality(self, record: CallRecord, outcome: Outcome) -> Iterator[Violation]:
        legal = LEGAL[record.kind]
        if outcome.code in legal.always:
            return
        least = legal.after_deaths.get(outcome.code)
        if least is not None and self._deaths_during(record) >= least:
            return
        if any(self._was_at_work(name, record) for name in legal.under.get(outcome.code, ())):
            return
        yield _broken(
            "P3",
            record,
            f"a call of kind {record.kind} ended with {outcome.code} {dict(outcome.details)};"
            f" {self._deaths_during(record)} workers died meanwhile; at work: {self._at_work(record)}",
        )

    def _effects(self, record: CallRecord, outcome: Outcome) -> Iterator[Violation]:
        if outcome.code == "worker_died" and record.kind in EFFECTS and not outcome.maybe_executed:
            yield _broken("P3", record, "a call that may have had effects does not say so")
        if outcome.code == "worker_died" and record.kind not in EFFECTS and "budget" not in outcome.details:
            yield _broken("P3", record, "a call without effects was not repeated, and no budget was spent")

    def _deaths_during(self, record: CallRecord) -> int:
        return sum(record.sent_s <= death.at_s <= record.ended_s for death in self._history.deaths)

    def _was_at_work(self, name: str, record: CallRecord) -> bool:
        return any(fault.name == name and _overlaps(fault, record) for fault in self._history.faults)

    def _at_work(self, record: CallRecord) -> list[str]:
        return sorted({fault.name for fault in self._history.faults if _overlaps(fault, record)})

    # P6, P7

    def _deadline(self, record: CallRecord, outcome: Outcome) -> Iterator[Violation]:
        late_s = self._seen_after(record.deadline_s, outcome.at_s)
        if late_s > LATE_S:
            yield _broken("P6", record, f"{outcome.code} came {late_s:.3f} s after the deadline")
        if outcome.code == "deadline" and record.deadline_s - outcome.at_s > EARLY_S:
            yield _broken(
                "P6", record, f"it ended {record.deadline_s - outcome.at_s:.3f} s before its deadline"
            )

    def _cancel(self, record: CallRecord, outcome: Outcome) -> Iterator[Violation]:
        if record.cancelled_s is None:
            return
        waited_s = self._seen_after(record.cancelled_s, outcome.at_s)
        if waited_s > LATE_S:
            yield _broken("P7", record, f"{outcome.code} came {waited_s:.3f} s after the cancel")

    def _place(self, record: CallRecord, outcome: Outcome) -> Iterator[Violation]:
        if outcome.beside > self._places:
            yield _broken("P7", record, f"{outcome.beside} calls in a worker with {self._places} places")

    def _seen_after(self, from_s: float, to_s: float) -> float:
        """The time from one moment to another, without the spans in which nothing could be seen."""
        return to_s - from_s - covered_s(self._history.held, from_s, to_s)


_WITH_NONCE: Final = frozenset((Kind.OK, Kind.ERROR, Kind.CANCEL, Kind.STREAM, Kind.CALLBACK, Kind.BLOAT))


def covered_s(spans: Iterable[tuple[float, float]], from_s: float, to_s: float) -> float:
    """How much of a time is covered by spans, which may overlap one another."""
    total_s, reached_s = 0.0, from_s
    for begin_s, end_s in sorted(spans):
        new_s = min(end_s, to_s) - max(begin_s, reached_s)
        if new_s > 0:
            total_s += new_s
            reached_s = min(end_s, to_s)
    return total_s


def _overlaps(fault: Fault, record: CallRecord) -> bool:
    return fault.from_s <= record.ended_s and record.sent_s <= fault.until_s + AFTERMATH_S


def _broken(promise: str, record: CallRecord, what: str) -> Violation:
    return Violation(promise=promise, what=what, call=record.id)
