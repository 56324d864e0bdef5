"""What the servers of one world have in common: the store, its ledger, and what clients know of it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from dspex_pool.store.memory import MemoryStore

from .job_book import JobBook
from .ledger import Ledger
from .loops import Loops
from .records import WriteRecord

if TYPE_CHECKING:
    from .job_records import Submission
    from .world import World

TWO_SERVERS: Final = 0.15
"""How many worlds have a second server."""
JOBS: Final = 0.12
"""How many have jobs; most of those have a second server, for which a job is there."""


class Common:
    """What is shared.

    Attributes:
        random: For what belongs to no server alone.
        job_random: For what only worlds with jobs have, so that all others are what they were.
        has_jobs: This one has.
        hurry: How many times faster sessions are given back, and leases end, than they do.
        ledger: What the store has really done.
        memory: The store itself.
        loops: Time; set when all servers are there.
        floors: For each server and program, the oldest of the program's states that the server may
            still use: it has acknowledged that one.
        programs: The newest version that clients have heard of, by program.
        sessions: Ids of sessions that clients have heard of.
        unsure: Writes of which nobody knows whether they have happened.
        jobs: All jobs.
        known_jobs: Ids of jobs that clients have heard of.
        unsure_jobs: Submissions of which nobody knows whether they have happened.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed + (1 << 40))
        self.servers = 2 if self.random.random() < TWO_SERVERS else 1
        self.job_random = Random(seed + (1 << 42))
        self.has_jobs = self.job_random.random() < JOBS
        if self.has_jobs:
            self.servers = self.job_random.choice((1, 2, 2))
        self.hurry = self.random.choice((1, 10, 10)) if self.servers > 1 else 1
        self.ledger = Ledger()
        self.jobs = JobBook(self.ledger, self.hurry, self.next_nonce)
        if self.has_jobs:
            self.ledger.jobs = self.jobs
        self.memory = MemoryStore(self.now_s)
        self.loops: Loops
        self.floors: dict[tuple[int, str], int] = {}
        self.programs: dict[str, int] = {}
        self.sessions: list[str] = []
        self.unsure: list[WriteRecord] = []
        self.known_jobs: list[str] = []
        self.unsure_jobs: list[Submission] = []
        self._last_nonce = 0

    def now_s(self) -> float:
        """The store's time."""
        return self.loops.now_s

    def next_nonce(self) -> int:
        """A number that was not given out before."""
        self._last_nonce += 1
        return self._last_nonce

    def floor(self, world: World, program: str) -> int:
        """See `floors`."""
        return self.floors.get((world.number, program), 0)

    def raise_floor(self, world: World, program: str, state: int) -> None:
        """A server has acknowledged what made a program be in that state."""
        self.floors[world.number, program] = max(state, self.floor(world, program))
