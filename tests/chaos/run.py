"""ONE RUN: a server, load, faults, and what the history says in the end."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import IO, Any, Final

from tests.support.servers import info, known_flags, server_environment, wait_for
from tests.support.survivors import alive_after, describe, end_marked, marked, new_mark

from .checker import Checker, Violation
from .faults import INJECTORS
from .history import CallRecord
from .plants import Plant, unnoticed
from .recorder import Recorder
from .scene import PATIENCE_S, Scene, Sizes
from .schedule import Moment, draw_schedule
from .traffic import FUNCTIONS, LMS, Traffic, prepare

WORKERS: Final = 3
PLACES: Final = 8
CALLERS: Final = 32
MAX_DESCRIPTORS: Final = 128
CALM_S: Final = 2.0
SETTLE_EVERY_S: Final = 1.0
QUIET_S: Final = 3.0
"""After an outcome: a second one for the same call would have come by then."""
WHOLE_AGAIN_S: Final = 60.0
"""After the last fault: a zygote that hangs is found out and its successor imports DSPy."""
LEAVING_S: Final = 1.0
MAX_GROWTH_BYTES: Final = 160 << 20
"""What clients may leave unread, what workers had under way by then, and slack; as in
tests/end_to_end/test_slow_reader.py."""
MAX_SHOWN: Final = 20
SHOWN_LOG_BYTES: Final = 4096
LAG_S: Final = 0.05
TICK_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to be.

    Attributes:
        seed: Of the schedule and of the load.
        seconds: Of load; calm at both ends.
        faults_per_s: On average.
        faults: Names in the registry.
        plant: A defect to plant; None as a rule.
        sizes: How much the faults take.
    """

    seed: int
    seconds: float
    faults_per_s: float = 1.5
    faults: Sequence[str] = tuple(INJECTORS)
    plant: str | None = None
    sizes: Sizes = field(default_factory=Sizes)


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of a run.

    Attributes:
        faults: How often each was injected.
        outcomes: How often each kind of call ended with each code.
        violations: The first of them; `violated` counts all.
        unnoticed: Planted lies that the checker did not see: then the run is void.
        lateness_s, cancel_s, waits_s, noticed_s, replaced_s: Distributions, sorted.
        events: What the server announced.
    """

    plan: Plan
    faults: Counter[str] = field(default_factory=Counter[str])
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    calls: int = 0
    violated: Counter[str] = field(default_factory=Counter[str])
    violations: list[Violation] = field(default_factory=list[Violation])
    unnoticed: list[str] = field(default_factory=list[str])
    lateness_s: list[float] = field(default_factory=list[float])
    cancel_s: list[float] = field(default_factory=list[float])
    waits_s: list[float] = field(default_factory=list[float])
    noticed_s: list[float] = field(default_factory=list[float])
    replaced_s: list[float] = field(default_factory=list[float])
    events: Counter[str] = field(default_factory=Counter[str])
    growth_bytes: int = 0
    deaths: int = 0

    @property
    def is_good(self) -> bool:
        """Nothing was violated, and a violation would have been seen."""
        return not self.violated and not self.unnoticed

    def add(self, found: Sequence[Violation]) -> None:
        """Count violations and keep the first."""
        for violation in found:
            self.violated[violation.promise] += 1
            if len(self.violations) < MAX_SHOWN:
                self.violations.append(violation)


async def run(plan: Plan) -> Result:
    """Run a plan. The server is gone afterwards, whatever happened; if not, that is a violation."""
    result = Result(plan=plan)
    mark = new_mark()
    try:
        async with _scene(plan, mark) as scene:
            await _Run(plan, scene, result).run()
        left = [describe(pid) for pid in alive_after(LEAVING_S, marked(mark))]
        result.add([Violation(promise="P4", what=f"left over: {one}") for one in left])
    finally:
        end_marked(mark)
    return result


@asynccontextmanager
async def _scene(plan: Plan, mark: str) -> AsyncGenerator[Scene]:
    """A server with few descriptors and low limits, and everything a fault may need."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/pool"
        settings: dict[str, object] = {
            "workers": WORKERS,
            "calls_per_worker": PLACES,
            "grace_s": 0.5,
            "memory_soft_mb": plan.sizes.soft_mb,
            "memory_hard_mb": plan.sizes.hard_mb,
            "listen": f"stdio,{address}",
        }
        environment = {"DSPEX_PLUGINS": "plugin_misbehave,plugin_nonces", "DSPEX_LOG_LEVEL": "warning"}
        with (Path(folder) / "stderr").open("w+b") as stderr, _told_on_failure(stderr):
            async with Recorder.start(
                command=_with_few_descriptors(),
                flags=known_flags(settings),
                environment=server_environment(mark, environment),
                functions=FUNCTIONS,
                lms=LMS,
                notes=("event",),
                stderr=stderr.fileno(),
            ) as client:
                snapshot = await wait_for(client, lambda now: now["ready_workers"] == WORKERS)
                yield Scene(
                    client=client,
                    supervisor=snapshot["pid"],
                    address=address,
                    limits_memory="recycles" in snapshot,
                    sizes=plan.sizes,
                )


@contextmanager
def _told_on_failure(log: IO[bytes]) -> Generator[None]:
    """What the server wrote last is shown where its run fails."""
    try:
        yield
    except BaseException:
        log.seek(max(0, log.seek(0, os.SEEK_END) - SHOWN_LOG_BYTES))
        print(log.read().decode(errors="replace"), file=sys.stderr)
        raise


def _with_few_descriptors() -> list[str]:
    """`dspex serve` below a shell that lowers the limit for it alone."""
    serve = [sys.executable, "-m", "dspex_pool", "serve"]
    return ["/bin/sh", "-c", f'ulimit -n {MAX_DESCRIPTORS} && exec "$0" "$@"', *serve]


class _Run:
    """The tasks of one run.

    Args:
        plan: What is to be done.
        scene: Where.
        result: Where it is written.
    """

    def __init__(self, plan: Plan, scene: Scene, result: Result) -> None:
        self._plan = plan
        self._scene = scene
        self._client = scene.client
        self._history = scene.client.history
        self._result = result
        self._checker = Checker(self._history, PLACES)
        self._good: list[CallRecord] = []
        self._growing_from = scene.supervisor_bytes()

    async def run(self) -> None:
        """Load, faults, calm, and judgement."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._client_broke)
        await prepare(self._client)
        if self._plan.plant is not None:
            self._client.plant = Plant(self._plan.plant)
        watching = [
            asyncio.create_task(one()) for one in (self._settle_on, self._watch_memory, self._watch_self)
        ]
        try:
            async with Traffic(self._client, CALLERS, self._plan.seed).running():
                await self._inject_all()
                await asyncio.sleep(CALM_S)
            await self._whole_again()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
        self._conclude()

    async def _inject_all(self) -> None:
        """Follow the schedule; a fault that takes long does not hold up the next, unless it is the same."""
        began_s = monotonic()
        schedule = draw_schedule(
            self._plan.seed,
            {name: INJECTORS[name].weight for name in self._plan.faults},
            begin_s=CALM_S,
            end_s=self._plan.seconds - CALM_S,
            per_s=self._plan.faults_per_s,
        )
        turns = {name: asyncio.Lock() for name in self._plan.faults}
        async with asyncio.TaskGroup() as group:
            for moment in schedule:
                await asyncio.sleep(max(0.0, began_s + moment.at_s - monotonic()))
                group.create_task(self._inject(moment, turns[moment.fault]))
            await asyncio.sleep(max(0.0, began_s + self._plan.seconds - CALM_S - monotonic()))

    async def _inject(self, moment: Moment, turn: asyncio.Lock) -> None:
        async with turn:
            with self._scene.at_work(moment.fault) as fault:
                await INJECTORS[moment.fault].inject(self._scene, Random(moment.seed), fault)
            self._result.faults[moment.fault] += 1

    async def _whole_again(self) -> None:
        """After the last fault every worker is there again and nothing is open, or that is a violation."""
        snapshot: dict[str, Any] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(WHOLE_AGAIN_S):
                while not _is_whole(snapshot := await info(self._client)):
                    await asyncio.sleep(0.05)
        if not _is_whole(snapshot):
            self._broken("P3", f"not whole again after {WHOLE_AGAIN_S:.0f} s: {snapshot}")
        await asyncio.sleep(QUIET_S)

    # Watching

    async def _settle_on(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_EVERY_S)
            self._judge(self._history.settle(monotonic(), quiet_s=QUIET_S, patience_s=PATIENCE_S))

    async def _watch_memory(self) -> None:
        while True:
            growth = self._scene.supervisor_bytes() - self._growing_from
            self._result.growth_bytes = max(self._result.growth_bytes, growth)
            await asyncio.sleep(0.2)

    async def _watch_self(self) -> None:
        """Spans in which this process had no processor are nobody's lateness."""
        while True:
            before_s = monotonic()
            await asyncio.sleep(TICK_S)
            if monotonic() - before_s > TICK_S + LAG_S:
                self._history.held.append((before_s, monotonic()))

    def _client_broke(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._broken(
            "P1", f"the client could not take a frame: {context.get('exception') or context['message']}"
        )

    # Judging

    def _judge(self, records: list[CallRecord]) -> None:
        for record in records:
            self._result.calls += 1
            code = record.outcomes[0].code if record.outcomes else "none"
            self._result.outcomes[record.kind, code] += 1
            found = self._checker.check(record)
            self._result.add(found)
            self._checker.remember(record)
            if not found and len(self._good) < 1000:
                self._good.append(record)
        self._result.deaths += self._forget()

    def _forget(self) -> int:
        oldest_s = min((record.sent_s for record in self._history.records.values()), default=monotonic())
        before = len(self._history.deaths)
        self._history.forget_before(oldest_s - 60.0)
        return before - len(self._history.deaths)

    def _conclude(self) -> None:
        self._judge(self._history.settle(float("inf"), quiet_s=0, patience_s=0))
        self._result.deaths += len(self._history.deaths)
        if self._history.strays:
            self._broken("P1", f"{self._history.strays} frames for calls that nobody had open")
        for complaint in self._history.complaints:
            self._broken("P9", complaint)
        if self._result.growth_bytes > MAX_GROWTH_BYTES:
            self._broken("P9", f"the supervisor grew by {self._result.growth_bytes >> 20} MB")
        self._result.unnoticed = unnoticed(self._good, self._checker.check)
        self._result.lateness_s = sorted(self._checker.lateness_s)
        self._result.cancel_s = sorted(self._checker.cancel_s)
        self._result.waits_s = sorted(self._checker.waits_s)
        self._result.noticed_s = sorted(self._history.noticed_s)
        self._result.replaced_s = sorted(self._history.replaced_s)
        self._result.events = self._history.events

    def _broken(self, promise: str, what: str) -> None:
        self._result.add([Violation(promise=promise, what=what)])


def _is_whole(snapshot: dict[str, Any]) -> bool:
    return bool(
        snapshot
        and snapshot["ready_workers"] == WORKERS
        and not snapshot["waiting"]
        and not snapshot["open_bytes"]
        and not any(worker["calls"] for worker in snapshot["workers"])
    )
