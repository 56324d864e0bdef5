"""A PLAN: what a batch is about, for those who run its rows.

Each method that is spread over the workers has its own kind: where its rows come from, what a worker
is asked about one, and what becomes of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Protocol

from dspex_protocol import DSPexError, Meta
from dspex_protocol.limits import MAX_DEADLINE_MS
from dspex_protocol.records import Doc, Range

if TYPE_CHECKING:
    from .batch import Batch
    from .batch_rows import Row

MAX_ROWS: Final = 100_000
"""Rows of one batch. What they may hold in all, the frame's limit says."""

MAX_PARALLELISM: Final = 1024
DEFAULT_PARALLELISM: Final = 256
"""At most, where the call does not say: beyond that it is memory that is spent, not time that is saved."""

Parallelism = Annotated[
    int, Range(1, MAX_PARALLELISM), Doc("rows at once; default: the workers' places, at most 256")
]
MaxErrors = Annotated[int, Range(1), Doc("begin no more rows after so many have failed")]
RowDeadline = Annotated[int, Range(1, MAX_DEADLINE_MS), Doc("time of one row, from when it is begun")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How rows are run."""

    parallelism: Parallelism | None = None
    max_errors: MaxErrors | None = None
    row_deadline_ms: RowDeadline | None = None


OWN: Final = ("parallelism", "max_errors", "row_deadline_ms")
"""Entries of a payload that are for the batch, and not for its rows."""

Settled = Callable[[bytes | None, bool], None]
"""Takes what a client is to hear of a row, None for nothing, and whether the row is done well."""

Reply = Callable[[bytes, Meta], None]
"""Takes the answer of the whole, and what its meta says."""


class Plan(Protocol):
    """A batch as it was asked for. Rows are counted from 0, in the order in which they are begun.

    Attributes:
        settings: How to run them.
        method: What a worker is asked about one.
        keeps: The answer has all entries, where they do not go out one by one.
    """

    settings: Settings
    method: str
    keeps: bool

    @property
    def rows(self) -> int:
        """How many are to be run."""
        ...

    @property
    def at_hand(self) -> int:
        """Those below this one can be begun: what they are is known."""
        ...

    def begin(self, go_on: Callable[[], None], fail: Callable[[DSPexError], None]) -> None:
        """The batch is open.

        Args:
            go_on: To be called when there is more at hand, and after rows were settled later.
            fail: Ends the batch with an error; nothing where it is over.
        """
        ...

    def payload_of(self, row: int) -> bytes:
        """What a worker gets; of one that is at hand."""
        ...

    def entry_bytes(self, row: int) -> int:
        """How much longer than a worker's answer its entry may be."""
        ...

    def keep(self, row: Row, failure: DSPexError | None, settled: Settled) -> None:
        """A row has its outcome.

        Args:
            row: It, with the worker's answer.
            failure: Why there is none.
            settled: To be called once, now or later, as soon as that is seen to.
        """
        ...

    def end(self, batch: Batch, reply: Reply) -> None:
        """All is settled that ever will be: answer, now or later."""
        ...

    def left(self) -> None:
        """Nobody waits for it any more."""
        ...
