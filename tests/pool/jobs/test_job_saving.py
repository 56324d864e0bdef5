"""The program that a job has made becomes one version, however often and by whomever that is tried."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import cast

import pytest
from tests.simulation.loop import VirtualLoop
from tests.support.libraries import content, drive
from tests.support.tasks import HandTasks

from dspex_pool.jobs.records import Job, State
from dspex_pool.jobs.saving import Saving
from dspex_pool.library import Library
from dspex_pool.library.names import Reference
from dspex_pool.store import Change, Fence, Full, ReadOnly, Store, StoreError, Unavailable
from dspex_pool.store.memory import MemoryStore
from dspex_protocol import DSPexError, encode_value
from dspex_protocol.slices import join_map

JOB = Job(
    job="j",
    kind="optimize",
    key=None,
    note=None,
    tenant="t",
    state=State.RUNNING,
    budget={},
    deadline_s=None,
    created_ms=1,
)
SAVE = join_map({"record": content("better"), "program": encode_value("p")})


class FailingStore(MemoryStore):
    """One whose next commits fail.

    Attributes:
        failures: How, and whether they have happened all the same.
    """

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.failures: list[tuple[StoreError, bool]] = []

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """Or not."""
        failure, happens = self.failures.pop(0) if self.failures else (None, True)
        made = await super().commit(changes, fences) if happens else []
        if failure is not None:
            raise failure
        return made


class Server:
    """What a server has of jobs' programs."""

    def __init__(self, store: FailingStore, number: int) -> None:
        self.timers = VirtualLoop(Random(number))
        self.tasks = HandTasks()
        self.library = Library(
            cast("Store", store), clock=lambda: 0.0, wall_ms=lambda: 1, new_id=lambda: f"id{number}"
        )
        self.saving = Saving(self.library, self.timers, self.tasks)
        self.saved: list[tuple[dict[str, object] | None, DSPexError | None]] = []

    def save(self) -> tuple[dict[str, object] | None, DSPexError | None]:
        """Save what the job has made, however long that takes."""

        async def work() -> None:
            self.saved.append(await self.saving.save(JOB, SAVE))

        self.tasks.start(work())
        self.timers.run_until(lambda: bool(self.saved))
        return self.saved[0]


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_server_goes_on_where_another_has_died(store: FailingStore, is_there: bool) -> None:
    """Between the program and the end of the job: the program is not made again, and it is told of."""
    first, second = Server(store, 1), Server(store, 2)
    if is_there:
        drive(first.library.create("p", content("as it was")))
    saved = {"program": "p", "version": 1 + is_there}, None
    assert saved == first.save() == second.save()
    assert 1 + is_there == drive(second.library.fetch(Reference("p")))[1]


@pytest.mark.parametrize("is_there", [False, True])
def test_an_answer_that_was_lost_is_found(store: FailingStore, is_there: bool) -> None:
    """The store has made the version and has not come to say so."""
    server = Server(store, 1)
    if is_there:
        drive(server.library.create("p", content("as it was")))
    store.failures = [(Unavailable("its answer was lost", maybe_applied=True), True)]
    assert ({"program": "p", "version": 1 + is_there}, None) == server.save()
    assert 1 + is_there == drive(server.library.fetch(Reference("p")))[1]


@pytest.mark.parametrize("failure", [Unavailable("away"), Full("no room"), ReadOnly("no writes")])
def test_a_program_waits_for_its_store(store: FailingStore, failure: StoreError) -> None:
    """Work of hours is not lost of a disk that was full for a moment."""
    store.failures = [(failure, False)] * 3
    assert ({"program": "p", "version": 1}, None) == Server(store, 1).save()
