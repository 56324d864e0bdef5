"""The record of one call, and what its worker's death means for it."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from dspex_protocol import Meta
from dspex_protocol.states import CallState

if TYPE_CHECKING:
    from collections.abc import Callable

    from .link import Link
    from .worker import Callback, Worker

MAX_DEATHS: Final = 3
"""Workers that may die under one call before it is poisoned.

Not 2: a worker runs many calls at once, so a bystander of one killer and one accident
would be refused with two. A call that really kills costs one worker more.
"""

MAX_UNSTARTED_SENDS: Final = 10
"""How often a call is sent at most: a bound, met only by what kills before it has begun."""


class Caller(Protocol):
    """What a call needs of the client that made it; `sessions.Session` is one.

    Attributes:
        link: Where its frames go.
        calls: Its open calls, by its ids.
        callbacks: Calls to it that are open, by our ids.
        max_frame_bytes: Largest frame that it accepts.
    """

    link: Link
    calls: dict[int, Call]
    callbacks: dict[int, Callback]
    max_frame_bytes: int

    @property
    def is_clogged(self) -> bool:
        """Whether it has stopped reading."""
        ...

    def next_callback_id(self) -> int:
        """A new id for a call to it."""
        ...

    def call_ended(self) -> None:
        """One of its calls has had its outcome."""
        ...


class Call:
    """One call of a client, from its CALL frame to its outcome.

    A plain record: sessions, the switchboard and the dispatcher read it, the switchboard
    alone writes it.

    Attributes:
        session: The client's connection; None once the client has had its outcome.
        id: The id on that connection.
        method: As the client called it.
        meta: As it came, without what the supervisor resolved.
        payload: Kept until the outcome, for a repeat.
        received_s: When it came (monotonic).
        deadline_s: When its time is over (monotonic).
        priority: 0 to 9, 9 first.
        depth: 0, or how many callbacks it is inside of.
        state: Seen from the caller.
        worker: Who runs it, or None while it waits.
        worker_id: Its id on the worker's link.
        sent_s: When it was last given to a worker.
        attempt: Counts the workers it was given to, from 1.
        deaths: Workers that died while running it.
        committed: It has had effects outside: an item was sent, the host was called.
        next_seq: The number that the next ITEM must have.
        credit: Items that the client still takes.
        worker_method: What the worker is asked for; another than `method` where the
            supervisor does a part itself.
        callbacks: Host-side ids of the host calls that are open within it.
        record: The stored program that it uses, as (id, version, record).
        conclude: Turns the worker's result into the client's; None passes it on.
    """

    __slots__ = (
        "attempt",
        "callbacks",
        "committed",
        "conclude",
        "credit",
        "deadline_s",
        "deaths",
        "depth",
        "id",
        "meta",
        "method",
        "next_seq",
        "payload",
        "priority",
        "received_s",
        "record",
        "sent_s",
        "session",
        "state",
        "worker",
        "worker_id",
        "worker_method",
    )

    def __init__(
        self, session: Caller, call_id: int, method: str, meta: Meta, payload: bytes, now_s: float
    ) -> None:
        self.session: Caller | None = session
        self.id = call_id
        self.method = method
        self.worker_method = method
        self.meta = meta
        self.payload = payload
        self.received_s = now_s
        self.deadline_s = 0.0
        self.priority = 5
        self.depth = 0
        self.state = CallState.OPEN
        self.worker: Worker | None = None
        self.worker_id = 0
        self.sent_s = 0.0
        self.attempt = 0
        self.deaths = 0
        self.committed = False
        self.next_seq = 0
        self.credit = 0
        self.callbacks: set[int] = set()
        self.record: tuple[str, int, bytes] | None = None
        self.conclude: Callable[[Meta, bytes], bytes] | None = None

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.method} {self.state} attempt={self.attempt} deaths={self.deaths}>"


class AfterDeath(Enum):
    """What becomes of a call whose worker died; the classes of docs/reliability.md."""

    RESEND = auto()  # A: it had not begun
    REPEAT = auto()  # B: it had begun and is free of effects
    FAIL = auto()  # C: it is committed
    POISONED = auto()
    DROP = auto()  # its caller has had an outcome already


def after_death(call: Call, *, started: bool, has_effects: bool) -> AfterDeath:
    """Decide what becomes of a call. Counts nothing; see `died_under`.

    Args:
        call: As it stood when the worker died.
        started: The worker had said that it had begun.
        has_effects: Its method changes something outside by nature.
    """
    if call.session is None:
        return AfterDeath.DROP
    if call.committed:  # whether the worker had said that it began or not
        return AfterDeath.FAIL
    # What runs inline is never announced as begun, and may be what kills.
    if call.attempt >= MAX_UNSTARTED_SENDS or call.deaths + started >= MAX_DEATHS:
        return AfterDeath.FAIL if has_effects else AfterDeath.POISONED
    if not started:
        return AfterDeath.RESEND
    if has_effects:
        return AfterDeath.FAIL
    return AfterDeath.REPEAT
