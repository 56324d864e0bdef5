"""One job's record in the hands of its owner, commit by commit."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from tests.simulation.loop import VirtualLoop
from tests.support.tasks import HandPromise, HandTasks

from dspex_pool.jobs import records, steps
from dspex_pool.jobs.keeping import Keeper, Lost
from dspex_pool.jobs.records import Job, State
from dspex_pool.logs import Log
from dspex_pool.ports import Stored
from dspex_pool.store import Change, Fence, Put
from dspex_pool.store.memory import MemoryStore

JOB = Job(
    job="j",
    kind="k",
    key=None,
    note=None,
    tenant="t",
    state=State.QUEUED,
    budget={},
    deadline_s=None,
    created_ms=1,
)


class SlowStore(MemoryStore):
    """One whose commits wait until somebody says so, once it `is_slow`."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.is_slow = False
        self.go_on: HandPromise[None] = HandPromise()

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """When it may."""
        if self.is_slow:
            await self.go_on
        return await super().commit(changes, fences)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
def tasks() -> HandTasks:
    return HandTasks()


@pytest.fixture
def keeper(store: SlowStore, tasks: HandTasks) -> Keeper:
    """Of a job that has been submitted and whose lease is ours."""
    kept: list[Keeper] = []
    stored = Stored(store=store, tasks=tasks, wall_ms=lambda: 1, new_id=lambda: "id")

    async def begin() -> None:
        made = steps.submitted(JOB, b"\xc0")
        put = Put(key=records.key_of(records.JOB, "j"), body=records.write_job(made.job), expect=0)
        (revision, *_) = await store.commit([put, *made.changes])
        lease = await store.lease(records.lease_of("j"), "me", 15.0)
        kept.append(Keeper(stored, VirtualLoop(Random(1)), Log("error"), "me", lease, made.job, revision))

    tasks.start(begin())
    return kept[0]


def test_nothing_happens_to_a_job_that_has_ended(keeper: Keeper, store: SlowStore, tasks: HandTasks) -> None:
    """What its worker says while the end is being written is not written after it, nor with it."""
    outcomes: list[str] = []

    async def have(what: steps.Made | None, word: str) -> None:
        def step(job: Job) -> steps.Made:
            return steps.cancelled(job, 2) if what is None else steps.happened(job, {"type": word}, 3)

        try:
            await keeper.commit(step)
        except Lost:
            outcomes.append(f"{word} is lost")
        else:
            outcomes.append(word)

    store.is_slow = True
    tasks.start(have(steps.Made(JOB), "before"))
    tasks.start(have(None, "cancelled"))  # these two go together, in one commit …
    tasks.start(have(steps.Made(JOB), "with it"))
    store.is_slow = False
    first, store.go_on = store.go_on, HandPromise()
    first.set_result(None)
    tasks.start(have(steps.Made(JOB), "after it"))
    assert ["before", "cancelled", "with it is lost", "after it is lost"] == outcomes
    assert (State.CANCELLED, 3) == (keeper.job.state, keeper.job.events)
    assert 3 == len(store._journals[records.events_of("j")])
