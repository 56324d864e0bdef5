"""Jobs as anybody submits and deletes them, while others do the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import cast

import pytest
from tests.support.libraries import Relay, drive, refusal

from dspex_pool.jobs import records, steps
from dspex_pool.jobs.shelf import Shelf, Wish
from dspex_pool.store import Put, Store
from dspex_pool.store.memory import MemoryStore
from dspex_protocol import encode_value

WISH = Wish(
    kind="optimize",
    request=encode_value({}),
    key="k",
    digest=b"d",
    budget={},
    deadline_s=None,
    note=None,
    tenant="t",
    pins={},
)


@pytest.fixture
def relay() -> Relay:
    return Relay(cast("Store", MemoryStore(lambda: 0.0)))


@pytest.fixture
def shelf(relay: Relay) -> Shelf:
    ids = count(1)
    return Shelf(cast("Store", relay), wall_ms=lambda: 1, new_id=lambda: f"id{next(ids)}")


def once(act: Callable[[], object]) -> Callable[..., None]:
    """Something that happens at the first occasion only."""
    left = [act]

    def happen(*given: object) -> None:
        if left:
            left.pop()()

    return happen


def end(shelf: Shelf, relay: Relay, job: str) -> None:
    """Cancel a job that nobody runs."""
    found = drive(shelf.get(job))
    made = steps.cancelled(found.job, 2)
    put = Put(key=records.key_of(records.JOB, job), body=records.write_job(made.job), expect=found.revision)
    drive(relay.commit([put, *made.changes]))


def test_a_key_is_free_as_soon_as_its_job_is_deleted(shelf: Shelf, relay: Relay) -> None:
    """Also for who looks it up in that moment: there is another job, and nothing is unknown."""
    first, _ = drive(shelf.submit(WISH))
    end(shelf, relay, first.job)
    skipped = once(lambda: setattr(relay, "reads", once(lambda: drive(shelf.delete(first.job)))))
    relay.reads = skipped  # between the key and the job
    second, created = drive(shelf.submit(WISH))
    assert created
    assert first.job != second.job


def test_a_job_that_is_resumed_as_it_is_deleted_is_there(shelf: Shelf, relay: Relay) -> None:
    """Whoever deletes it hears so, and not that there is none."""
    job = drive(shelf.submit(WISH))[0].job
    end(shelf, relay, job)
    relay.before = once(lambda: drive(shelf.resume(job, None, None)))
    assert "job_not_done" == refusal(shelf.delete(job)).code
    assert "queued" == drive(shelf.get(job)).job.state


def test_a_job_that_was_resumed_and_has_ended_again_is_deleted(shelf: Shelf, relay: Relay) -> None:
    """All that between the look and the commit of who deletes it."""
    job = drive(shelf.submit(WISH))[0].job
    end(shelf, relay, job)

    def go_on() -> None:
        drive(shelf.resume(job, None, None))
        end(shelf, relay, job)

    relay.before = once(go_on)
    drive(shelf.delete(job))
    assert "unknown_job" == refusal(shelf.get(job)).code


def test_jobs_are_in_the_order_of_their_submission(relay: Relay) -> None:
    """Also within a millisecond, and when the clock is set back."""
    moments, ids = iter((5, 5, 5, 2, 9)), iter("dbcae")
    shelf = Shelf(cast("Store", relay), wall_ms=lambda: next(moments), new_id=lambda: next(ids))
    made = [drive(shelf.submit(replace(WISH, key=str(number))))[0] for number in range(5)]
    names = [job.job for job in made]
    assert sorted(names) == names
    assert [5, 5, 5, 2, 9] == [job.created_ms for job in made]
