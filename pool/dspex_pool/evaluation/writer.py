"""THE WRITER of one run: what has come since the last commit goes into the next one, all together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dspex_pool.library.failures import told
from dspex_pool.store import Append, Conflict, Put, Store
from dspex_protocol import DSPexError, error

from . import records
from .figures import Figures
from .records import Fact, Head
from .refusals import evaluation_taken, unknown_evaluation

if TYPE_CHECKING:
    from dspex_pool.ports import Tasks

    from .reader import Known, Reader

MAX_GROUP: Final = 256
"""Rows of one commit."""

MAX_GROUP_BYTES: Final = 1 << 20
"""Of them, but for a single one that is longer: so much is read again for one of its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """A row that has its outcome.

    Attributes:
        body: It, encoded.
        fact: What it is found by.
        usage, metric_usage: What it has cost.
        stored: Is called when it is in the store.
    """

    body: bytes
    fact: Fact
    usage: Mapping[str, object]
    metric_usage: Mapping[str, object]
    stored: Callable[[], None]


class Writer:
    """Writes what comes.

    While one commit is under way what comes waits for the next one, so a slow store gets larger
    commits, and not more of them.

    Args:
        store: Where to.
        tasks: What it runs in.
        reader: Says what is there where it is not what was expected.
        known: The head that this run has made, and the revision of its record.
        figures: Are kept up with what is stored.
        written: Is called after each commit.
        fail: Is told once why nothing more is written.
    """

    def __init__(
        self,
        store: Store,
        tasks: Tasks,
        reader: Reader,
        known: Known,
        figures: Figures,
        *,
        written: Callable[[], None],
        fail: Callable[[DSPexError], None],
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._reader = reader
        self._head, self._revision = known
        self._figures = figures
        self._written = written
        self._fail = fail
        self._queue: deque[Came] = deque()
        self._is_at_work = False
        self._is_broken = False

    @property
    def head(self) -> Head:
        """As it is stored."""
        return self._head

    def add(self, came: Came) -> None:
        """Have a row stored."""
        if self._is_broken:
            return
        self._queue.append(came)
        if not self._is_at_work:
            self._is_at_work = True
            self._tasks.start(self._work())

    async def _work(self) -> None:
        try:
            while self._queue and not self._is_broken:
                group = self._take()
                await self._store_group(group)
                for came in group:
                    came.stored()
                self._written()
        except DSPexError as failure:
            self._break(failure)
        except Exception as fault:
            # Here a task ends: without a word of it the run would wait for ever.
            self._break(error("internal", f"rows could not be stored: {type(fault).__name__}"))
        finally:
            self._is_at_work = False

    def _take(self) -> list[Came]:
        group, left = [self._queue.popleft()], MAX_GROUP_BYTES
        left -= len(group[0].body)
        while self._queue and len(group) < MAX_GROUP and len(self._queue[0].body) <= left:
            group.append(self._queue.popleft())
            left -= len(group[-1].body)
        return group

    async def _store_group(self, group: Sequence[Came]) -> None:
        for came in group:
            self._figures.know(came.fact)
            self._figures.spend(came.usage, came.metric_usage)
        number = self._head.entries + 1
        head = replace(self._figures.on(self._head), entries=number)
        rows = records.write_rows(head, number, [came.body for came in group])
        facts = records.write_facts(head, number, [came.fact for came in group])
        appended = [
            Append(journal=records.journal_of(kind, head), body=body, after=number - 1)
            for kind, body in ((records.ROWS, rows), (records.FACTS, facts))
        ]
        await self._commit(head, appended)

    async def put(self, head: Head) -> None:
        """Store the head by itself, when all rows have been.

        Raises:
            DSPexError: `evaluation_taken`, `unknown_evaluation`; a `store_…` code.
        """
        await self._commit(head, [])

    async def _commit(self, head: Head, appended: Sequence[Append]) -> None:
        put = Put(key=records.head_key(head.evaluation), body=records.write_head(head), expect=self._revision)
        try:
            with told:
                (*_, self._revision) = await self._store.commit([*appended, put])
        except Conflict:
            raise await self._why_not() from None
        self._head = head

    async def _why_not(self) -> DSPexError:
        """What has become of an evaluation that is not as this run has left it."""
        known = await self._reader.known(self._head.evaluation)
        if known is None or known.head.journal != self._head.journal:
            return unknown_evaluation(self._head.evaluation)
        return evaluation_taken(self._head.evaluation)

    def _break(self, failure: DSPexError) -> None:
        self._is_broken = True
        self._queue.clear()
        self._fail(failure)
