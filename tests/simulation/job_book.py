"""What is stored of jobs, and what their workers do: every commit, every question and every answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from dspex_pool.jobs import records
from dspex_pool.jobs.keeping import LEASE_S
from dspex_pool.jobs.records import State
from dspex_pool.store import Append, Change, Delete, Drop, Put
from dspex_protocol import decode_value

from .job_moves import (
    add_event,
    check_agreement,
    check_end,
    check_move,
    is_resumed,
    keep_answer,
    keep_best,
    resume,
)
from .job_records import JobPage, JobState, Submission
from .records import Violation, WriteRecord
from .toil import LM, Place, Toil
from .workers import record_of

if TYPE_CHECKING:
    from dspex_pool.store.memory import MemoryStore

    from .job_attempts import Attempt
    from .job_workers import JobWorker
    from .ledger import Ledger, Term
    from .world import World

EVENTS: Final = "job-events/"
JOURNALS: Final = frozenset(("job-events", "job-answers"))
COLLECTIONS: Final = frozenset(
    (
        records.JOB,
        records.REQUEST,
        records.BEST,
        records.RESULT,
        records.OPEN,
        records.CANCEL,
        records.DEADLINE,
    )
)
LEASE: Final = "job/"
OWNERS: Final = frozenset((records.JOB, records.BEST, records.RESULT))
"""What only the owner of a job writes."""


class JobBook:
    """All jobs of one store.

    Args:
        ledger: Of the same store.
        hurry: How many times sooner leases end than they do.
        next_nonce: Makes a number that nothing else has.

    Attributes:
        pages: By id; also of those that are gone.
        submissions: By their numbers.
    """

    def __init__(self, ledger: Ledger, hurry: int, next_nonce: Callable[[], int]) -> None:
        self._ledger = ledger
        self._next_nonce = next_nonce
        self._lease_s = LEASE_S / hurry
        self._keys: dict[str, str] = {}
        self._strays = 0
        self.pages: dict[str, JobPage] = {}
        self.submissions: dict[int, Submission] = {}

    @property
    def open(self) -> list[str]:
        """Jobs that have not ended."""
        return [job for job, page in self.pages.items() if page.is_open]

    # What commits do

    def committed(self, world: World, changes: Sequence[Change], now_s: float) -> None:
        """A server has committed something.

        Raises:
            Violation: when that should not have been.
        """
        touched = [(_job_in(change), change) for change in changes]
        jobs = dict.fromkeys(job for job, _ in touched if job)
        for job in jobs:
            self._check_owner(world, job, [change for other, change in touched if other == job])
        for change in changes:
            if isinstance(change, Put) and change.key.collection == records.KEY:
                self._put_key(change)
        for job, change in touched:
            if job and isinstance(change, Put) and change.key.collection == records.REQUEST:
                self._submitted(job, change.body, now_s)
        for change in changes:
            if isinstance(change, Delete) and change.key.collection == records.KEY:
                self._keys.pop(change.key.id, None)
        for job, change in touched:
            if job:
                self._change(self.pages[job], job, change, now_s)
        for job in jobs:
            self._check(job, self.pages[job], now_s)

    def _check_owner(self, world: World, job: str, changes: Sequence[Change]) -> None:
        """P11: nothing counts of what somebody writes who has lost the job."""
        is_owners = any(
            isinstance(change, Append) or (isinstance(change, Put) and change.key.collection in OWNERS)
            for change in changes
        )
        # One that has ended is nobody's: whoever resumes it writes on what it was then.
        is_open = job in self.pages and self.pages[job].is_open
        if is_open and is_owners and self._ledger.owner_of(LEASE + job) is not world:
            raise Violation("P11", f"{job} is written by {world}, and has gone to another server")

    def _put_key(self, put: Put) -> None:
        known = records.open_record(records.KEY, put.key.id, put.body)
        if put.key.id in self._keys:
            raise Violation("P10", f"the key {put.key.id} is of {self._keys[put.key.id]}, and now {known}")
        self._keys[put.key.id] = str(known["job"])

    def _submitted(self, job: str, body: bytes, now_s: float) -> None:
        request = cast("bytes", records.open_record(records.REQUEST, job, body)["request"])
        submission = self.submissions[cast("Any", decode_value(request))["number"]]
        if submission.key is None and submission.jobs:
            raise Violation("P10", f"one submission makes {submission.jobs} and {job}")
        if submission.key is not None and self._keys.get(submission.key) != job:
            raise Violation("P10", f"{job} is made, and the key {submission.key} is not its own")
        if submission.is_denied:
            raise Violation("P5", f"{submission.calls} have an effect and were told that they have none")
        submission.jobs.append(job)
        page = JobPage(submission=submission, since_s=now_s, states=[JobState(0, None, False)])
        self.pages[job] = page

    def _change(self, page: JobPage, job: str, change: Change, now_s: float) -> None:
        match change:
            case Put(key=key, body=body) if key.collection == records.JOB:
                self._put_job(page, job, body, now_s)
            case Put(key=key, body=body) if key.collection == records.BEST:
                score = records.open_record(records.BEST, job, body)["score"]
                keep_best(page, job, cast("float", score))
            case Put(key=key, body=body) if key.collection == records.RESULT:
                result = records.open_record(records.RESULT, job, body)["result"]
                page.result = decode_value(cast("bytes", result))
            case Put(key=key) | Delete(key=key) if key.collection == records.CANCEL:
                self._set_wish(page, job, now_s, is_unwanted=isinstance(change, Put))
            case Delete(key=key) if key.collection == records.JOB:
                self._delete(page, job)
            case Append(journal=journal, body=body) if journal.startswith(EVENTS):
                add_event(page, job, cast("Any", decode_value(body))["event"])
            case Append(body=body):
                keep_answer(page, job, body)
            case _:
                pass

    def _put_job(self, page: JobPage, job: str, body: bytes, now_s: float) -> None:
        record, before = records.read_job(job, body), page.now.job
        if before is None and len(page.states) > 1:
            raise Violation("P10", f"{job} was deleted, and is written")
        if before is not None:
            check_move(page, before, record)
            if is_resumed(before, record):
                resume(page, record, now_s)
        elif record.state != State.QUEUED:
            raise Violation("P10", f"{job} begins as {record.state}")
        page.states.append(JobState(self._ledger.mark, record, page.now.is_unwanted))

    def _delete(self, page: JobPage, job: str) -> None:
        if page.is_open or all(call.is_denied for call in page.deletes):
            raise Violation("P10", f"{job} is deleted, and is {page.now.job}, and {page.deletes} want that")
        page.states.append(JobState(self._ledger.mark, None, is_unwanted=False))

    def _set_wish(self, page: JobPage, job: str, now_s: float, *, is_unwanted: bool) -> None:
        if is_unwanted:
            if all(call.is_denied for call in page.cancels):
                raise Violation("P10", f"{job} is cancelled, and nobody asks for that")
            if page.unwanted_since_s is None:
                page.unwanted_since_s = now_s
        page.states.append(page.now._replace(mark=self._ledger.mark, is_unwanted=is_unwanted))

    def _check(self, job: str, page: JobPage, now_s: float) -> None:
        record = page.now.job
        if record is None:
            return
        check_agreement(page, record)
        if page.blamed > page.crashes + self._strays:
            raise Violation("P10", f"{job} is said to have killed {page.blamed} workers, not {page.crashes}")
        if record.is_ended and page.ended_s is None:
            page.ended_s = now_s
            made = None if page.save is None else self._ledger.programs.made.get(page.save)
            check_end(page, record, made, now_s)
            if page.now.is_unwanted:
                raise Violation("P10", f"{job} has ended, and the wish for that is left")

    # Leases

    def taken_over(self, name: str, before: Term) -> None:
        """A lease was over and is somebody's again: whoever had it has a reason why it did not renew it."""
        world = before.world
        if not name.startswith(LEASE) or before.was_released or world.is_draining:
            return
        since_s = before.here_s - self._lease_s
        stood_s = world.outside_s - world.loop.outside_at(since_s) - (world.now_s - since_s)
        if stood_s <= 0 and not world.store.was_in_trouble(since_s):
            raise Violation("P10", f"{name} was over at {before.over_s}, and {world} is well")

    # What workers do

    def attempt_began(self, worker: JobWorker, attempt: Attempt) -> frozenset[Place]:
        """A worker is given a job; the answers that are kept by then."""
        page = self.pages[attempt.job]
        page.begun += 1
        worker.world.trace("job runs", attempt.job, attempt.number, worker.number)
        if attempt.toil != page.submission.toil:
            raise Violation("P2", f"{attempt} is given another request: {attempt.toil}")
        return frozenset(page.places)

    def asked(self, attempt: Attempt, place: Place) -> None:
        """A question is really asked.

        Raises:
            Violation: when its answer was there, or too many were asked again.
        """
        page = self.pages[attempt.job]
        page.asked += 1
        page.paid += place.kind == LM
        page.distinct.add(place)
        if place in attempt.known and page.is_open:
            raise Violation("P10", f"{attempt} asks {place}, and the answer is kept")
        again = page.asked - len(page.distinct)
        most = attempt.toil.at_once + attempt.toil.asks_host
        if again > (page.begun - 1) * most:
            raise Violation("P10", f"{again} questions of {attempt.job} are asked again")
        terms = self._ledger.terms_of(LEASE + attempt.job)
        if page.paid > page.limit + terms * most:  # what was asked for a server that has died is not counted
            raise Violation("P10", f"{attempt.job} may ask {page.limit} times, and asks {page.paid} times")

    def acknowledged(self, attempt: Attempt, places: Sequence[Place]) -> None:
        """A worker is told that answers are kept."""
        page = self.pages[attempt.job]
        missing = [place for place in places if place not in page.places]
        if missing:
            raise Violation("P10", f"{attempt} is told that {missing} are kept, and they are not")

    def event_acknowledged(self, attempt: Attempt, step: int) -> None:
        """A worker is told that an event is kept."""
        events = self.pages[attempt.job].events
        if {"type": "step", "step": step} not in events:
            raise Violation("P10", f"{attempt} is told that event {step} is kept, and it is not")

    def worker_ended(self, worker: JobWorker) -> None:
        """The worker of a job is gone."""
        if worker.was_shot and not worker.has_misspoken:
            return
        if worker.attempt is None:
            self._strays += 1  # it was about to be given one
        else:
            self.pages[worker.attempt.job].crashes += 1

    def to_save(self, job: str, toil: Toil) -> dict[str, object]:
        """The program that a job has made: the same in each attempt."""
        page = self.pages[job]
        if page.save is None:
            page.save = self._next_nonce()
            write = WriteRecord(
                number=page.save, id=f"job/{job}", method="job.run", payload={}, meta={"program": ""}
            )
            self._ledger.wanted(write)
        return {
            "record": record_of(page.save, None),
            "program": toil.program,
            "base": None,
            "tags": [],
            "note": str(page.save),
            "optimizer": "job",
            "scores": None,
        }

    # The end

    def check_left(self, memory: MemoryStore) -> None:
        """Of jobs that have ended nothing is left but what they came to.

        Raises:
            Violation: when something is.
        """
        rows, journals = set(memory._rows), set(memory._journals)
        for job, page in self.pages.items():
            if page.is_open:
                continue
            gone = [records.OPEN, records.DEADLINE]
            if page.now.job is None:
                gone += [records.JOB, records.REQUEST, records.BEST, records.RESULT]
            left = [name for name in gone if records.key_of(name, job) in rows]
            over = [records.answers_of(job)]
            if page.now.job is None:
                over.append(records.events_of(job))
            elif page.now.job.state != State.DONE:
                over.clear()  # it may be resumed
            left += [journal for journal in over if journal in journals]
            if left:
                raise Violation("P10", f"{job} has ended, and {left} is left of it")


def _job_in(change: Change) -> str:
    """The job that a change is about; empty where it is about none."""
    if isinstance(change, Append | Drop):
        kind, _, job = change.journal.partition("/")
        return job if kind in JOURNALS else ""
    return change.key.id if change.key.collection in COLLECTIONS else ""
