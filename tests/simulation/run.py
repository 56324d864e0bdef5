"""One world from its beginning to its end: work, calm, proof that all is well, and the end."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from dspex_pool import connections as connections_module
from dspex_pool import handling as handling_module
from dspex_pool import link as link_module
from dspex_pool import placing as placing_module
from dspex_pool import session_leases, sessions
from dspex_pool import stored_calls as stored_calls_module
from dspex_pool import worker as worker_module
from dspex_pool.jobs import heartbeat, keeping, runner
from dspex_pool.library import heavy as heavy_module

from .common import Common
from .furniture import furnish
from .justification import MAX_STORED
from .keepers import session_names
from .kernel import Kernels
from .loop import VirtualLoop
from .loops import Loops
from .patches import Patch, patched
from .probes import cancel, probe
from .records import CallRecord, Violation
from .servers import MAX_UNREAD_BYTES, SimServer
from .workers import MAX_SESSIONS
from .world import DESCRIPTORS

# Small, so that slow readers are common.
CLOGGED_BYTES: Final = 3000
AT_ONCE: Final = 3
WORK_S: Final = 120.0
SETTLE_S: Final = 20.0
FURNISHED: Final = 0.6
"""How many worlds with one server begin with something in the store."""
PROBE_S: Final = 60.0
"""The longest of them is a batch that finds no room: it may be told to come again in ten seconds."""
GIVEN_BACK_S: Final = 4.0
"""A session that nobody has used for so long is nobody's."""
LEAVE_S: Final = 5.0
LANDED_S: Final = 3.0
"""By then the store has done whatever it was asked for, also what nobody waits for any more."""
JOBS_S: Final = 90.0
"""By then all jobs have ended, one that was begun again many times before it was calm included."""
MAX_STEPS: Final = 300_000
LOOK_EVERY: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one world.

    Attributes:
        seed: Which it was.
        violation: The promise that was broken, and how; None where all were kept.
        calls: Calls that were made.
        outcomes: How they ended, by code.
        virtual_s: How long it took there.
        events: The trace.
        digest: Of everything that happened; equal for equal worlds.
    """

    seed: int
    violation: BaseException | None
    calls: int
    outcomes: dict[str, int]
    virtual_s: float
    events: list[tuple[object, ...]]
    digest: str


class Simulation:
    """One world, with a server in it or two."""

    def __init__(self, seed: int) -> None:
        self.common = common = Common(seed)
        self.servers = [SimServer(seed + (number << 41), common, number) for number in range(common.servers)]
        common.loops = Loops([server.world.loop for server in self.servers], common.random)
        if common.servers > 1 or common.random.random() < FURNISHED:
            furnish(self.servers[0].world, session_names(common)[:3])

    @property
    def staying(self) -> list[SimServer]:
        """Servers that nobody has told to end."""
        return [server for server in self.servers if server.is_to_stay]

    def run(self) -> None:
        """All of it.

        Raises:
            Violation: at the first promise that is broken.
        """
        calls = self.servers[0].world.random.choice((10, 30, 30, 60, 100))
        for server in self.servers:
            server.start(max(calls, 60) // 2 if self.common.servers > 1 else calls)
        self._let(WORK_S, lambda: all(server.is_done for server in self.servers))
        for server in self.servers:
            if server.is_to_stay:
                server.calm_down()
        if self.staying:
            if self.common.has_jobs:
                self._end_jobs()
            self._pass(SETTLE_S)
            for server in self.staying:
                server.world.history.check_over()
            self._prove()
        for server in self.staying:
            server.leave()
        self._let(LEAVE_S, lambda: all(server.is_closed for server in self.servers))
        self._let(LEAVE_S, lambda: all(server.is_asleep for server in self.servers))

    def _let(self, at_most_s: float, is_over: Callable[[], bool]) -> None:
        """Let things happen until it is over."""
        if not self._is_over_within(at_most_s, is_over):
            raise Violation("P1", f"it is not over after {at_most_s} s")

    def _is_over_within(self, at_most_s: float, is_over: Callable[[], bool]) -> bool:
        loops = self.common.loops
        limits_s = [(loop, loop.time() + at_most_s) for loop in loops.all]
        last_step = loops.steps + MAX_STEPS
        left = LOOK_EVERY

        def is_enough() -> bool:
            nonlocal left
            if is_over():
                return True
            left -= 1
            if left:
                return False
            left = LOOK_EVERY  # to look at the time after each step would take longer than the step
            return loops.steps > last_step or all(loop.time() > limit_s for loop, limit_s in limits_s)

        loops.run_until(is_enough)
        if loops.steps > last_step:
            raise Violation("P1", f"something goes on and on: {MAX_STEPS} steps within {at_most_s} s")
        return is_over()

    def _pass(self, seconds: float) -> None:
        """Let time pass, for those that stay."""
        over: list[VirtualLoop] = []
        staying = self.staying
        for server in staying:
            server.world.loop.call_later(seconds, over.append, server.world.loop)
        self._let(seconds + 1, lambda: len(over) == len(staying))

    def _end_jobs(self) -> None:
        """All is calm: every job comes to its end, where somebody runs jobs."""
        book = self.common.jobs
        self._pass(LANDED_S)
        for job in book.open:
            submission = book.pages[job].submission
            if submission.toil.is_endless and submission.deadline_s is None:
                self._hear_of(cancel(self.staying[0], job))
        is_run = any(server.world.config.job_workers for server in self.staying)
        if is_run and not self._is_over_within(JOBS_S, lambda: not book.open):
            left = {job: book.pages[job].now for job in book.open}
            raise Violation("P10", f"all is calm, and jobs do not end: {left}")

    def _prove(self) -> None:
        """All is calm: what is asked for succeeds now, and then nothing is left of it."""
        for server in self.staying:
            for call in probe(server):
                self._hear_of(call)
                if call.code != "ok":
                    raise Violation("P3", f"all is calm, and {call} ends with {call.code}")
        self._pass(GIVEN_BACK_S)
        held = self.common.ledger.held(self.common.now_s())
        if held:
            raise Violation("P16", f"nobody makes turns, and the leases {held} are held")
        self._pass(SETTLE_S)
        for server in self.staying:
            server.check_quiet()
        self.common.jobs.check_left(self.common.memory)

    def _hear_of(self, call: CallRecord) -> None:
        self._let(PROBE_S, lambda: call.is_over)


def run_seed(seed: int, plant: Callable[[], Sequence[Patch]] = list) -> Outcome:
    """One world, with a planted defect where one is given."""
    violation: BaseException | None = None
    simulation = Simulation(seed)
    with patched(_ground(simulation)), patched(plant()):
        try:
            simulation.run()
        except (Exception, Violation) as reason:  # whatever it was, the seed replays it
            violation = reason
    worlds = [server.world for server in simulation.servers]
    state = [(world.events, world.loop.time(), world.loop.steps, world.random.getstate()) for world in worlds]
    outcomes: Counter[str] = Counter()
    for world in worlds:
        outcomes.update(world.history.outcomes)
    events = [event for world in worlds for event in world.events]
    if len(worlds) > 1:
        events.sort(key=lambda event: cast("float", event[0]))
    digest = hashlib.sha256(repr(state).encode()).hexdigest()
    for server in simulation.servers:
        server.forget()
    return Outcome(
        seed=seed,
        violation=violation,
        calls=sum(len(world.history.calls) for world in worlds),
        outcomes=dict(outcomes),
        virtual_s=max(world.loop.time() for world in worlds) - 1000,
        events=events,
        digest=digest,
    )


def _ground(simulation: Simulation) -> list[Patch]:
    """The links' kernel, and small limits so that slow readers are common, and sessions are forgotten."""
    kernels = [server.world.kernel for server in simulation.servers]
    hurry = simulation.common.hurry
    return [
        (link_module, "os", kernels[0] if len(kernels) == 1 else Kernels(kernels, DESCRIPTORS)),
        (connections_module, "CLOGGED_BYTES", CLOGGED_BYTES),
        (connections_module, "MAX_UNREAD_BYTES", MAX_UNREAD_BYTES),
        (worker_module, "CLOGGED_BYTES", CLOGGED_BYTES),
        (placing_module, "MAX_SESSIONS", MAX_SESSIONS),
        (stored_calls_module, "MAX_WAITING", MAX_STORED),
        (handling_module, "AT_ONCE", AT_ONCE),
        (heavy_module, "HEAVY_BYTES", 0),
        (session_leases, "LEASE_S", session_leases.LEASE_S / hurry),
        (keeping, "LEASE_S", keeping.LEASE_S / hurry),
        (runner, "LEASE_S", keeping.LEASE_S / hurry),
        (runner, "LOOK_S", runner.LOOK_S / hurry),
        (heartbeat, "HEARTBEAT_S", heartbeat.HEARTBEAT_S / hurry),
        *((sessions, name, getattr(sessions, name) / hurry) for name in ("RENEW_S", "IDLE_S", "SWEEP_S")),
    ]
