"""The record of one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dspex_protocol import Meta, error
from dspex_protocol.states import CallState

from .lanes import Lane
from .tenants import NOBODY, Tenant

if TYPE_CHECKING:
    from collections.abc import Callable

    from .library.names import Reference
    from .library.shelf import Held
    from .live_sessions import Turn
    from .worker import Callback, Worker


class Outlet(Protocol):
    """Where frames go; `link.Link` is one."""

    def send(self, frame: bytes) -> None:
        """Send a frame, header included."""
        ...


class Caller(Protocol):
    """What a call needs of who made it: `connections.Connection`, or `errands.Errand`.

    Attributes:
        calls: Its open calls, by its ids.
        callbacks: Calls to it that are open, by our ids.
        max_frame_bytes: Largest frame that it accepts.
        tenant: On whose behalf its calls are that name nobody.
    """

    calls: dict[int, Call]
    callbacks: dict[int, Callback]
    max_frame_bytes: int
    tenant: str

    @property
    def link(self) -> Outlet:
        """Where its frames go."""
        ...

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDeath:
    """One worker that died under a call.

    Attributes:
        worker: Its number.
        reason: How it ended: `SIGSEGV`, `exit code 3`; never what it wrote.
    """

    worker: int
    reason: str


class Call:
    """One call of a client, from its CALL frame to its outcome.

    A plain record: connections, the switchboard and the dispatcher read it, the switchboard
    alone writes it.

    Attributes:
        caller: The client's connection; None once the client has had its outcome.
        id: The id on that connection.
        method: As the client called it.
        meta: As it came, without what the supervisor resolved.
        payload: Kept until the outcome, for a repeat.
        received_s: When it came (monotonic).
        deadline_s: When its time is over (monotonic).
        priority: 0 to 9, 9 first, among the calls of its tenant.
        lane: What it is for.
        tenant: On whose behalf it is made.
        alone: It is sent only where no other such call runs.
        depth: 0, or how many callbacks it is inside of.
        state: Seen from the caller.
        worker: Who runs it, or None while it waits.
        worker_id: Its id on the worker's link.
        sent_s: When it was last given to a worker.
        attempt: Counts the workers it was given to, from 1.
        deaths: Workers that died while running it, as far as it may be why.
        died_under: Those workers, for the record.
        committed: It has had effects outside: an item was sent, the host was called.
        next_seq: The number that the next ITEM must have.
        credit: Items that the client still takes.
        callbacks: Host-side ids of the host calls that are open within it.
        within: The callback to whose worker it must go: it calls a part of what runs there.
        wanted: The stored program that it uses, as it named it.
        record: The same, once it has been found.
        turn: Its turn in a session, where it is made in one.
        errand: A call of ours that it waits for.
        is_errand: It is one itself: of no account but to whom it helps.
        conclude: Turns the worker's result into the client's; None passes it on.
    """

    __slots__ = (
        "alone",
        "attempt",
        "callbacks",
        "caller",
        "committed",
        "conclude",
        "credit",
        "deadline_s",
        "deaths",
        "depth",
        "died_under",
        "errand",
        "id",
        "is_errand",
        "lane",
        "meta",
        "method",
        "next_seq",
        "payload",
        "priority",
        "received_s",
        "record",
        "sent_s",
        "state",
        "tenant",
        "turn",
        "wanted",
        "within",
        "worker",
        "worker_id",
    )

    def __init__(
        self, caller: Caller, call_id: int, method: str, meta: Meta, payload: bytes, now_s: float
    ) -> None:
        self.caller: Caller | None = caller
        self.id = call_id
        self.method = method
        self.meta = meta
        self.payload = payload
        self.received_s = now_s
        self.deadline_s = 0.0
        self.priority = 5
        self.lane = Lane.INTERACTIVE
        self.tenant: Tenant = NOBODY
        self.alone = False
        self.depth = 0
        self.state = CallState.OPEN
        self.worker: Worker | None = None
        self.worker_id = 0
        self.sent_s = 0.0
        self.attempt = 0
        self.deaths = 0
        self.died_under: tuple[WorkerDeath, ...] = ()
        self.committed = False
        self.next_seq = 0
        self.credit = 0
        self.callbacks: set[int] = set()
        self.within: Callback | None = None
        self.wanted: Reference | None = None
        self.record: Held | None = None
        self.turn: Turn | None = None
        self.errand: Call | None = None
        self.is_errand = False
        self.conclude: Callable[[Meta, bytes], bytes] | None = None

    def begin_effects(self) -> None:
        """From now on it may have effects, also when its client gives it up.

        Raises:
            ServiceError: `cancelled` when that has happened already, and was told to have had none.
        """
        if self.caller is None:
            raise error("cancelled", "the call has ended before it could have an effect")
        self.committed = True

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.method} {self.state} attempt={self.attempt} deaths={self.deaths}>"
