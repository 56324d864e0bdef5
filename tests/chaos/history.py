"""THE HISTORY of a run: what was asked, what came back, and what was done to the server meanwhile.

Written down by the client's side alone, as frames come and go, before anything judges it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_REMEMBERED: Final = 100_000
"""Of each distribution, so that a night's run has a bound too."""


class Kind(StrEnum):
    """What a call is for; `legal.py` says how each may end."""

    OK = "ok"
    ERROR = "error"
    CANCEL = "cancel"
    STUBBORN = "stubborn"  # cancelled, and it does not stop
    DEADLINE = "deadline"
    STREAM = "stream"
    CALLBACK = "callback"
    CALLBACK_ERROR = "callback_error"
    # Calls that are faults by themselves
    STALL = "stall"
    BLOAT = "bloat"
    FLOOD = "flood"
    KILLER = "killer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What ended a call.

    Attributes:
        at_s: When its frame was read (monotonic).
        code: `ok`, or the code of the FAIL.
        nonce: What came back; None where a failure has none.
        beside: Calls that were in the worker at once, as the worker counted them.
    """

    at_s: float
    code: str
    nonce: str | None = None
    beside: int = 0
    maybe_executed: bool = False
    details: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(slots=True, kw_only=True)
class CallRecord:
    """One call, from its CALL frame on.

    Attributes:
        sent_s: Monotonic, as all moments here.
        deadline_s: When its caller must have had an outcome.
        cancelled_s: When it was given up; None if it was not.
        items: Number and nonce of each stream element, in order of arrival.
    """

    id: int
    kind: Kind
    nonce: str
    sent_s: float
    deadline_s: float
    cancelled_s: float | None = None
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    items: list[tuple[object, object]] = field(default_factory=list[tuple[object, object]])
    items_after_outcome: int = 0

    @property
    def ended_s(self) -> float:
        """When its first outcome came; the deadline where none has."""
        return self.outcomes[0].at_s if self.outcomes else self.deadline_s


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault that was injected.

    Attributes:
        until_s: When its cause was taken away; infinite while it lasts.
        victim: What it was done to, in words.
    """

    name: str
    from_s: float
    until_s: float = float("inf")
    victim: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A worker's end, as the server announced it."""

    at_s: float
    worker: int
    reason: str


class History:
    """Calls that are not judged yet, and the faults and deaths around them.

    Attributes:
        records: By call id.
        faults: In order of their beginning.
        deaths: In order.
        held: Spans in which the client could not have seen an outcome: the supervisor was
            stopped, the client did not read, or its own process had no processor.
        strays: Frames for calls that nobody had open.
        complaints: What else must not be, such as faults of ours on the wire.
        events: How often the server announced each event, with its reason where it told one.
        noticed_s: From a SIGKILL to the worker's death being announced.
        replaced_s: From a death to the next worker that was ready.
    """

    def __init__(self) -> None:
        self.records: dict[int, CallRecord] = {}
        self.faults: deque[Fault] = deque()
        self.deaths: deque[Death] = deque()
        self.held: deque[tuple[float, float]] = deque()
        self.strays = 0
        self.complaints: list[str] = []
        self.events: Counter[str] = Counter()
        self.noticed_s: deque[float] = deque(maxlen=MAX_REMEMBERED)
        self.replaced_s: deque[float] = deque(maxlen=MAX_REMEMBERED)
        self._killed: dict[int, float] = {}
        self._unreplaced: deque[float] = deque()

    def opened(self, record: CallRecord) -> None:
        """A call was sent."""
        self.records[record.id] = record

    def ended(self, call_id: int, outcome: Outcome) -> None:
        """A REPLY or FAIL came."""
        record = self.records.get(call_id)
        if record is not None:
            record.outcomes.append(outcome)

    def item(self, call_id: int, number: object, nonce: object) -> None:
        """An ITEM came."""
        record = self.records.get(call_id)
        if record is None:
            return
        record.items.append((number, nonce))
        record.items_after_outcome += bool(record.outcomes)

    def killed(self, worker: int, at_s: float) -> None:
        """A worker is about to be killed."""
        self._killed[worker] = at_s

    def died(self, death: Death) -> None:
        """The server announced a worker's end."""
        self.deaths.append(death)
        self._unreplaced.append(death.at_s)
        if (killed_s := self._killed.pop(death.worker, None)) is not None:
            self.noticed_s.append(death.at_s - killed_s)

    def got_ready(self, at_s: float) -> None:
        """The server announced a worker that is ready."""
        if self._unreplaced:
            self.replaced_s.append(at_s - self._unreplaced.popleft())

    def settle(self, now_s: float, *, quiet_s: float, patience_s: float) -> list[CallRecord]:
        """Take out the calls whose story is over.

        Args:
            now_s: The moment.
            quiet_s: After an outcome; a second one would have come by then.
            patience_s: After a deadline without an outcome; it is given up as lost.
        """
        over = [record for record in self.records.values() if _is_over(record, now_s, quiet_s, patience_s)]
        for record in over:
            del self.records[record.id]
        return over

    def forget_before(self, moment_s: float) -> None:
        """Drop what no open call can have lived through."""
        while self.deaths and self.deaths[0].at_s < moment_s:
            self.deaths.popleft()
        while self.held and self.held[0][1] < moment_s:
            self.held.popleft()
        while self.faults and self.faults[0].until_s < moment_s:
            self.faults.popleft()


def _is_over(record: CallRecord, now_s: float, quiet_s: float, patience_s: float) -> bool:
    if record.outcomes:
        return now_s - record.outcomes[-1].at_s >= quiet_s
    return now_s - record.deadline_s >= patience_s
