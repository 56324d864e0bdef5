"""The ledger: what the store has really committed and whose its leases are, whatever was said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from dspex_pool.library.records import PROGRAM, VERSION, split_version_id
from dspex_pool.library.writes import WRITE
from dspex_pool.session_records import COLLECTION as SESSION
from dspex_pool.session_records import lease_of
from dspex_pool.store import Change, Delete, Lease, Put

from .program_book import ProgramBook
from .records import CallRecord, Violation, WriteRecord, must_not_be_denied
from .session_book import SessionBook

if TYPE_CHECKING:
    from .job_book import JobBook
    from .world import World


@dataclass(slots=True)
class Term:
    """A lease as it was had; it was got or renewed last at `here_s` of its server."""

    world: World
    epoch: int
    since_s: float
    over_s: float
    here_s: float = 0.0
    was_released: bool = False


class Ledger:
    """Hears of each thing that the store does, at the moment when it does it.

    Attributes:
        mark: How many commits there were.
        calls: Every call of every client, by its nonce.
        writes: All that clients wanted stored, by its number.
        ids: The same by its `write_id`.
        applied: Which commit has made the write with that `write_id`.
        jobs: All about jobs; None in a world without.
    """

    def __init__(self) -> None:
        self.mark = 0
        self.calls: dict[int, CallRecord] = {}
        self.writes: dict[int, WriteRecord] = {}
        self.ids: dict[str, WriteRecord] = {}
        self.applied: dict[str, int] = {}
        self.programs = ProgramBook(self.writes)
        self.sessions = SessionBook(self.calls)
        self.jobs: JobBook | None = None
        self._terms: dict[str, list[Term]] = {}

    def wanted(self, write: WriteRecord) -> None:
        """A client wants something stored."""
        self.writes[write.number] = write
        if "ttl_s" in write.payload:
            self.sessions.openers[cast("float", write.payload["ttl_s"])] = write
        if write.id is not None:
            self.ids[write.id] = write

    def committed(self, world: World, changes: Sequence[Change], now_s: float) -> None:
        """A server has committed something.

        Args:
            world: That server's.
            changes: What.
            now_s: When, by the store's time.

        Raises:
            Violation: when that should not have been.
        """
        self.mark += 1
        for change in changes:
            if isinstance(change, Put):
                self._put_first(change)
        for change in changes:
            if isinstance(change, Put):
                self._put(world, change, now_s)
        for change in changes:
            if isinstance(change, Delete):
                self._delete(world, change, now_s)
        if self.jobs is not None:
            self.jobs.committed(world, changes, now_s)

    def _put_first(self, put: Put) -> None:
        if put.key.collection == VERSION:
            named = split_version_id(put.key.id)
            assert named is not None
            self.programs.put_version(*named, put.body)
        elif put.key.collection == WRITE:
            self.applied[put.key.id] = self.mark
            must_not_be_denied(self.ids[put.key.id])

    def _put(self, world: World, put: Put, now_s: float) -> None:
        if put.key.collection == PROGRAM:
            self.programs.put_head(put.key.id, put.body, self.mark, now_s)
        elif put.key.collection == SESSION:
            if put.expect != 0:
                self._check_owner(world, put.key.id)
            assert put.ttl_s is not None
            self.sessions.put(put.key.id, put.body, put.ttl_s, self.mark, now_s, world)

    def _delete(self, world: World, delete: Delete, now_s: float) -> None:
        if delete.key.collection == SESSION:
            self._check_owner(world, delete.key.id)
            self.sessions.delete(delete.key.id, self.mark, now_s)
        elif delete.key.collection == VERSION:
            named = split_version_id(delete.key.id)
            assert named is not None
            self.programs.delete_version(*named)

    # Leases

    def leased(self, world: World, lease: Lease, now_s: float) -> None:
        """A server has a lease, or has it for longer."""
        terms = self._terms.setdefault(lease.name, [])
        if not terms or terms[-1].epoch != lease.epoch:
            if terms and self.jobs is not None:
                self.jobs.taken_over(lease.name, terms[-1])
            terms.append(Term(world, lease.epoch, now_s, now_s))
        terms[-1].over_s = now_s + lease.ttl_s
        terms[-1].here_s = world.now_s

    def released(self, lease: Lease, now_s: float) -> None:
        """A server has given one back."""
        for term in self._terms.get(lease.name, ())[-1:]:
            if term.epoch == lease.epoch:
                term.over_s = min(term.over_s, now_s)
                term.was_released = True

    def _check_owner(self, world: World, session: str) -> None:
        terms = self._terms.get(lease_of(session))
        if not terms or terms[-1].world is not world:
            raise Violation("P11", f"session {session} is written by {world}, and has gone to another server")

    def owner_of(self, name: str) -> World | None:
        """Who has had a lease last."""
        terms = self._terms.get(name)
        return terms[-1].world if terms else None

    def terms_of(self, name: str) -> int:
        """How often somebody has had a lease."""
        return len(self._terms.get(name, ()))

    def was_others(self, world: World, session: str, since_s: float) -> bool:
        """Whether another server has had a session at some time since then, by the store's time."""
        terms = self._terms.get(lease_of(session), ())
        return any(term.world is not world and term.over_s > since_s for term in terms)

    def held(self, now_s: float) -> list[str]:
        """Leases that somebody has."""
        return [name for name, terms in self._terms.items() if terms[-1].over_s > now_s]
