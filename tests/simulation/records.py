"""What the checker keeps of each call: what was asked, what was seen, where it ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dspex_pool.library.names import Reference
from dspex_pool.stored_operations import STORED_METHODS
from dspex_protocol import Meta

if TYPE_CHECKING:
    from .batch_book import BatchPage
    from .connections import Connection
    from .job_records import JobCall
    from .workers import SimWorker
    from .world import World


class Violation(BaseException):
    """A promise was broken.

    No Exception: it may be found in the middle of a task, which lets none of those out.

    Attributes:
        promise: Which, as in docs/reliability.md.
    """

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


@dataclass(slots=True, eq=False, kw_only=True)
class Execution:
    """One run of a call in a worker, as the worker knows it.

    Attributes:
        emitted: Items that it sent.
        has_failed: It says so itself.
        has_misbehaved: It sent items that it should not have.
        waits_since_s: Since when it waits for credit; None when it does not.
        has_ended: It sent its outcome.
    """

    worker: SimWorker
    began_s: float
    emitted: int = 0
    has_failed: bool = False
    has_misbehaved: bool = False
    waits_since_s: float | None = None
    has_ended: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class Sending:
    """One time that a call was sent to a worker.

    Attributes:
        ended_s: When its worker sent an outcome for it, or died.
        given_up_s: When the supervisor had answered the client without it.
    """

    call: CallRecord
    worker: SimWorker
    hop_id: int
    ended_s: float | None = None
    given_up_s: float | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class WriteRecord:
    """Something that a client wants stored; it may ask for it again and again.

    Attributes:
        number: Unique in the world; what is stored of it tells this number.
        id: Its `write_id`, where it has one.
        calls: Each time that it was asked for.
    """

    number: int
    id: str | None
    method: str
    payload: Mapping[str, object]
    meta: Meta
    calls: list[CallRecord] = field(default_factory=list)

    @property
    def is_denied(self) -> bool:
        """Whoever asked for it was told, each time, that it has had no effect."""
        return bool(self.calls) and all(call.is_denied for call in self.calls)


@dataclass(slots=True, eq=False, kw_only=True)
class CallRecord:
    """One call of a client.

    Attributes:
        world: Of the server that it was made to.
        nonce: Unique in the world; it must be in everything that comes of the call.
        may_fail_with: Codes that its own form explains.
        arrived_s: When the supervisor had read it.
        cancel_arrived_s: When the supervisor had read that it is to be cancelled.
        credit_sent: Items that the client has allowed.
        credit_arrived: As far as the supervisor has read that …
        credit_arrived_s: … and when it last did.
        answered_s: When the supervisor sent its outcome …
        code: … and which: `ok`, or that of an error.
        items: Items that the client has seen.
        maybe_executed: Its error said so.
        is_committed: The client was sent an item of it, or called by it.
        is_over: The client has seen its outcome, or will not: its connection has ended.
        gone_s: When the supervisor hung up on who had made it, before it was answered.
        write: What it wants stored.
        mark: How much had been stored when it came.
        is_known: The program that it names was known to the supervisor when it came.
        names: Of what it concerns in the store.
        batch: Its rows, where it has some.
        row_of: The batch of which it is a row.
        about: What it says of jobs, where it is about some.
    """

    world: World
    nonce: int
    connection: Connection
    id: int
    method: str
    deadline_s: float
    program: str = ""
    version: int | None = None
    tag: str | None = None
    session: str = ""
    parent: CallRecord | None = None
    bytes: int = 0
    depth: int = 0
    lane: str = "interactive"
    may_fail_with: tuple[str, ...] = ()
    arrived_s: float | None = None
    cancel_arrived_s: float | None = None
    credit_sent: int = 0
    credit_arrived: int = 0
    credit_arrived_s: float = 0.0
    answered_s: float | None = None
    code: str = ""
    maybe_executed: bool = False
    items: int = 0
    is_committed: bool = False
    is_over: bool = False
    gone_s: float | None = None
    write: WriteRecord | None = None
    mark: int = 0
    is_known: bool = False
    names: frozenset[str] = frozenset()
    batch: BatchPage | None = None
    row_of: CallRecord | None = None
    about: JobCall | None = None
    executions: list[Execution] = field(default_factory=list)
    sendings: list[Sending] = field(default_factory=list)

    @property
    def runs_inline(self) -> bool:
        """Workers run it at once and do not announce that they begin."""
        return self.method in INLINE_METHODS

    def __repr__(self) -> str:
        return f"<{self.method} nonce={self.nonce} of {self.connection.name} id={self.id}>"

    @property
    def is_local(self) -> bool:
        """The supervisor answers it itself, at once."""
        return self.method in LOCAL_METHODS

    @property
    def is_stored(self) -> bool:
        """The supervisor answers it from the store, if with the help of a worker."""
        return self.method in STORED_METHODS

    @property
    def is_turn(self) -> bool:
        """It is a turn of a session."""
        return bool(self.session) and self.method == "program.predict"

    @property
    def is_closed(self) -> bool:
        """The supervisor has done with it, or with the batch that it is a row of."""
        return self.over_s is not None or (self.row_of is not None and self.row_of.is_closed)

    @property
    def is_denied(self) -> bool:
        """It has failed, and whoever made it was told that it has had no effect."""
        return self.answered_s is not None and self.code != "ok" and not self.maybe_executed

    @property
    def over_s(self) -> float | None:
        """When the supervisor had done with it."""
        return self.gone_s if self.answered_s is None else self.answered_s

    @property
    def reference(self) -> Reference:
        """The program that it names."""
        return Reference(self.program, self.version, self.tag)


INLINE_METHODS = frozenset(("system.echo", "lm.list", *STORED_METHODS))
LOCAL_METHODS = frozenset(
    (
        "system.hello",
        "system.ping",
        "system.info",
        "system.goodbye",
        "pool.recycle",
        "pool.drain",
        "pool.quarantine",
    )
)


def must_not_be_denied(write: WriteRecord) -> None:
    """A write has happened.

    Raises:
        Violation: when all who asked for it were told that it would not.
    """
    if write.is_denied:
        last = write.calls[-1]
        raise Violation("P5", f"{last} has an effect and was told that it has none ({last.code})")
