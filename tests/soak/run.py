"""ONE SOAK: path after path on a server, then the planted leaks, and the verdicts."""

from __future__ import annotations

import math
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from time import monotonic
from typing import Final

from dspex_pool.client import Client
from tests.support.servers import SIM, known_flags, serving

from .gates import (
    CONTROL_FACTOR,
    KEPT_SHARE,
    WARM,
    Gate,
    Resolution,
)
from .load import Load
from .paths import DEADLINE_MS, OK, PATHS, Path, leaking
from .samples import Counts, Samples, counts, idle, measure
from .slope import Slope, theil_sen

WARM_UP_SHARE: Final = 0.25
MIN_BATCH: Final = 2
ROUNDS: Final = 3
"""A path on which something grew is soaked on. A leak grows in every round; a table that was
still filling, or a heap that took its next step, does not."""
LEAKING_SERVER: Final = str(FilePath(__file__).with_name("leaking_server.py"))
# Nothing replaces the worker but the path that kills it: what is looked at must stay the same.
SETTINGS: Final[dict[str, object]] = {
    "workers": 1,
    "recycle_after_calls": 0,
    "recycle_after_s": 0,
    "memory_soft_mb": 0,
    "memory_hard_mb": 0,
}
LMS: Final = {**SIM, "refuse": {"model": "host/refuse"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long a soak is.

    Attributes:
        calls: On the fastest path; the others make their share of it.
        samples: On each path; for the statistic at most a few hundred.
        warm_up_s: At least so long before the first sample, so that what is bounded in
            time is full.
        resolution: What differs though nothing leaks, in a run of this kind.
    """

    calls: int
    samples: int = 160
    warm_up_s: float = 2 * DEADLINE_MS / 1000
    resolution: Resolution = WARM


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How fast one process grew, and how fast it may."""

    slope: Slope
    gate: Gate

    @property
    def passes(self) -> bool:
        """Whether it surely grew less."""
        return self.gate.passes(self.slope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a path came to.

    Attributes:
        worker: None where workers are replaced all the time.
        before, after: Counts before the first round and after the last sample.
    """

    path: str
    calls: int
    seconds: float
    supervisor: Growth
    worker: Growth | None
    before: Counts
    after: Counts

    @property
    def passes(self) -> bool:
        """Whether nothing grew, and nothing that is counted is left over."""
        return not self.has_grown and self.is_level

    @property
    def has_grown(self) -> bool:
        """Whether the memory of either process may have grown by more than its gate."""
        return not self.supervisor.passes or (self.worker is not None and not self.worker.passes)

    @property
    def is_level(self) -> bool:
        """Whether everything that is counted is as it was."""
        return self.before == self.after


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of a soak.

    Attributes:
        missed: Planted leaks that were not caught: then the run is void.
    """

    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    controls: list[Verdict] = field(default_factory=list[Verdict])
    missed: list[str] = field(default_factory=list[str])

    @property
    def is_good(self) -> bool:
        """Nothing grew, and it would have been seen."""
        return all(verdict.passes for verdict in self.verdicts) and not self.missed


async def run(plan: Plan, paths: Sequence[Path] = PATHS) -> Result:
    """Soak these paths, and then the planted leaks."""
    result = Result()
    async with _server() as client:
        for path in paths:
            result.verdicts.append(await soak(client, path, plan))
    await _control(result, plan)
    return result


@asynccontextmanager
async def _server(command: Sequence[str] = ()) -> AsyncGenerator[Client]:
    async with serving(
        *known_flags(SETTINGS),
        command=command,
        environment={"DSPEX_PLUGINS": "plugin_nonces"},
        functions={"refuse": _never},
        lms=LMS,
        limit_s=86_400,
    ) as client:
        yield client


def _never(**arguments: object) -> str:
    """The load answers by itself, as a host that fails; this only has a name."""
    raise RuntimeError("it was asked to")


async def soak(client: Client, path: Path, plan: Plan) -> Verdict:
    """Make the calls of one path until nothing grows any more; the last round's verdict.

    What is counted must be in the end as it was before the first round.
    """
    load, workers = Load(client), int(str(SETTINGS["workers"]))
    batch = max(MIN_BATCH, int(plan.calls * path.share) // plan.samples)
    await _warm_up(load, path, int(batch * plan.samples * WARM_UP_SHARE), plan.warm_up_s)
    before = await _look(client, workers, path)
    verdict = await _round(load, path, plan, batch, before)
    for _ in range(1, ROUNDS):
        if verdict.has_grown:
            verdict = await _round(load, path, plan, batch, before)
    return verdict


async def _round(load: Load, path: Path, plan: Plan, batch: int, before: Counts) -> Verdict:
    """Look at the server after each batch, whenever it is idle."""
    client, workers = load.client, int(str(SETTINGS["workers"]))
    samples, began_s = Samples(plan.samples), monotonic()
    for number in range(plan.samples):
        await load.run(path, batch)
        await client.call("nonces.collect")
        snapshot = await idle(client, workers)
        samples.add((number + 1) * batch, *measure(snapshot, with_worker=not path.replaces_workers))
    return _judge(plan, path, samples, before, await _look(client, workers, path), monotonic() - began_s)


async def _warm_up(load: Load, path: Path, calls: int, least_s: float) -> None:
    """Fill what is bounded by a number, and what is bounded by time."""
    began_s = monotonic()
    await load.run(path, max(calls, 2 * path.outstanding))
    while monotonic() - began_s < least_s:
        await load.run(path, path.outstanding)


async def _look(client: Client, workers: int, path: Path) -> Counts:
    return counts(await idle(client, workers), with_worker=not path.replaces_workers)


def _judge(
    plan: Plan, path: Path, samples: Samples, before: Counts, after: Counts, seconds: float
) -> Verdict:
    first = int(len(samples.calls) * (1 - KEPT_SHARE))
    calls = samples.calls[first:]
    window = int(calls[-1] - calls[0])
    supervisor = Growth(
        slope=theil_sen(calls, samples.supervisor_bytes[first:]),
        gate=plan.resolution.supervisor_gate(window, path.unsteadiness),
    )
    worker = None
    if not path.replaces_workers:
        worker = Growth(
            slope=theil_sen(calls, samples.worker_bytes[first:]), gate=plan.resolution.worker_gate(window)
        )
    return Verdict(
        path=path.name,
        calls=int(calls[-1]),
        seconds=seconds,
        supervisor=supervisor,
        worker=worker,
        before=before,
        after=after,
    )


async def _control(result: Result, plan: Plan) -> None:
    """Leaks that are there must be seen, each where it is."""
    window = int(plan.calls * KEPT_SHARE)
    bytes_per_call = math.ceil(CONTROL_FACTOR * plan.resolution.supervisor_gate(window).bytes_per_call)
    command = [sys.executable, LEAKING_SERVER, str(bytes_per_call), str(max(1, plan.calls // 4))]
    async with _server(command) as client:
        supervisor = await soak(client, OK, plan)
    kept = math.ceil(CONTROL_FACTOR * plan.resolution.worker_gate(window).bytes_per_call)
    async with _server() as client:
        worker = await soak(client, leaking(kept), plan)
    result.controls += [supervisor, worker]
    if supervisor.supervisor.passes:
        result.missed.append(f"{bytes_per_call} B a call in the supervisor")
    if supervisor.is_level:
        result.missed.append("a descriptor now and then in the supervisor")
    if worker.worker is None or worker.worker.passes:
        result.missed.append(f"{kept} B a call in the worker")
