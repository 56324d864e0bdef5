"""Sessions as a server has them that makes their turns, and those turns. Plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dspex_protocol import DSPexError

from .ports import Promise
from .session_records import SessionRecord
from .store import Fence, Lease

if TYPE_CHECKING:
    from .calls import Call


@dataclass(slots=True, eq=False, kw_only=True)
class LiveSession:
    """A session that this server makes the turns of.

    Attributes:
        id: Its name.
        record: As it was last stored; None until it has been read.
        revision: Of that record in the store.
        lease: Ours.
        leased_s: When it was last renewed.
        waiting: Calls that come after the one that runs, in order.
        running: The call whose turn it is.
        is_storing: The turn's checkpoint is on its way to the store.
        worker: The number of the worker that has it in memory, as of the last turn.
        wanted_worker: Where it was asked to be.
        used_s: When its last turn ended.
        over: Why this server does not go on with it, once that is so.
        opening: What those wait for who want something else of it than a turn before it has been read.
    """

    id: str
    record: SessionRecord | None = None
    revision: int = 0
    lease: Lease | None = None
    leased_s: float = 0.0
    waiting: dict[Call, None] = field(default_factory=dict["Call", None])
    running: Call | None = None
    is_storing: bool = False
    worker: int | None = None
    wanted_worker: int | None = None
    used_s: float = 0.0
    over: DSPexError | None = None
    opening: list[Promise[None]] = field(default_factory=list["Promise[None]"])

    @property
    def fence(self) -> Fence:
        """What a commit relies on."""
        assert self.lease is not None
        return Fence(self.lease.name, self.lease.epoch)

    @property
    def is_idle(self) -> bool:
        """Nobody wants a turn."""
        return self.running is None and not self.waiting and self.record is not None


@dataclass(slots=True, eq=False)
class Turn:
    """A call's turn of a session.

    Attributes:
        session: Of which.
        number: Which turn it will be, from 1; 0 until it has begun.
        checkpoint: What the worker wants stored, once it has said so.
        is_stored: It has been.
    """

    session: LiveSession
    number: int = 0
    checkpoint: bytes | None = None
    is_stored: bool = False
