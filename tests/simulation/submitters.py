"""What clients do with jobs: they submit them, look on, are cut off and look on again, and end them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from dspex_protocol import Meta

from .job_records import JobCall, Submission
from .keepers import PROGRAMS, UNSURE_CODES
from .records import CallRecord
from .toil import draw_toil

if TYPE_CHECKING:
    from .world import World

KEYS: Final = ("k1", "k2", "k3")
MOST_JOBS: Final = 12
"""Of a world: more of them would take long and show nothing else."""


class SendJob(Protocol):
    """Makes a call; `clients.SimClient.send` is it."""

    def __call__(
        self, method: str, script: dict[str, object], meta: Meta, *, about: JobCall | None = None
    ) -> CallRecord:
        """See there."""
        ...


class Submitter:
    """One client's dealings with jobs.

    Args:
        world: Where it lives.
        send: Makes its calls.
        meta: Draws a call's deadline and the like.
    """

    def __init__(self, world: World, send: SendJob, meta: Callable[[], Meta]) -> None:
        self._world = world
        self._common = world.common
        self._book = world.common.jobs
        self._random = world.random
        self._send = send
        self._meta = meta
        self._followed: dict[str, JobCall] = {}
        self._acts: tuple[tuple[Callable[[], object], int], ...] = (
            (self._submit, 8),
            (self._follow, 8),
            (lambda: self._about("job.get", {"request": self._random.random() < 0.2}), 2),
            (self._events, 1),
            (self._list, 1),
            (self._cancel, 2),
            (lambda: self._about("job.best"), 1),
            (lambda: self._about("job.result"), 2),
            (self._delete, 1),
            (self._resume, 2),
        )

    def deal_with_jobs(self) -> None:
        """Do something."""
        if not self._common.known_jobs:
            self._submit()
            return
        (act,) = self._random.choices([act for act, _ in self._acts], [weight for _, weight in self._acts])
        act()

    def heard(self, call: CallRecord, value: object) -> None:
        """A call of its has ended."""
        about = call.about
        assert about is not None
        if call.method == "job.submit" and call.code == "ok":
            assert isinstance(value, dict)
            if value["job"] not in self._common.known_jobs:
                self._common.known_jobs.append(value["job"])
        elif call.method == "job.submit" and call.code in UNSURE_CODES:
            assert about.submission is not None
            if about.submission.key is not None:
                self._common.unsure_jobs.append(about.submission)
        elif call.method == "job.delete" and call.code == "ok" and about.job in self._common.known_jobs:
            self._common.known_jobs.remove(about.job)

    # Submissions

    def _submit(self) -> None:
        again = [one for one in self._book.submissions.values() if one.key is not None]
        if self._common.unsure_jobs and self._random.random() < 0.6:
            self.ask(self._common.unsure_jobs.pop())
        elif again and (self._random.random() < 0.4 or len(self._book.submissions) >= MOST_JOBS):
            self.ask(self._random.choice(again))
        elif len(self._book.submissions) < MOST_JOBS:
            submission = self._draw()
            self.ask(submission)
            if submission.key is not None and self._random.random() < 0.15:
                self.ask(submission)  # and at the same time again
        else:
            self._follow()

    def _draw(self) -> Submission:
        random, number = self._random, self._world.next_nonce()
        toil = draw_toil(random, number, PROGRAMS[:2])
        payload: dict[str, object] = {"kind": "toil", "request": toil.told()}
        submission = Submission(toil=toil, key=None, payload=payload)
        if random.random() < 0.55:
            submission.key = payload["key"] = random.choice(KEYS)
        elif random.random() < 0.6:
            submission.write_id = f"j{number}"
            submission.key = f"write/{submission.write_id}"
        if random.random() < 0.15:
            submission.lm_calls = random.randint(0, toil.steps * toil.at_once + 1)
            payload["budget"] = {"lm_calls": submission.lm_calls}
        if random.random() < 0.2:
            submission.deadline_s = payload["deadline_s"] = random.choice((0.3, 2.0, 10.0))
        self._book.submissions[number] = submission
        return submission

    def ask(self, submission: Submission) -> None:
        """Submit that, or submit it again."""
        meta = self._meta()
        if submission.write_id is not None:
            meta = {**meta, "write_id": submission.write_id}
        call = self._send("job.submit", submission.payload, meta, about=JobCall(submission=submission))
        submission.calls.append(call)

    # Jobs

    def _job(self) -> str:
        return self._random.choice(self._common.known_jobs)

    def _about(self, method: str, more: dict[str, object] | None = None, job: str = "") -> CallRecord:
        job = job or self._job()
        return self._send(method, {"job": job, **(more or {})}, self._meta(), about=JobCall(job=job))

    def _follow(self) -> None:
        if not self._common.known_jobs:
            return
        job = self._job()
        before = self._followed.get(job)
        after = before.after if before is not None and self._random.random() < 0.8 else 0
        meta = self._meta()
        if self._random.random() < 0.85:
            meta = {**meta, "credit": self._random.randint(1, 4)}
        about = self._followed[job] = JobCall(job=job, after=after)
        self._send("job.follow", {"job": job, "after": after}, meta, about=about)

    def _events(self) -> None:
        job, after = self._job(), self._random.choice((0, 0, 2))
        payload: dict[str, object] = {"job": job, "after": after, "limit": self._random.choice((1, 3, 100))}
        self._send("job.events", payload, self._meta(), about=JobCall(job=job, after=after))

    def _list(self) -> None:
        state = self._random.choice((None, "open", "done", "running"))
        payload: dict[str, object] = {} if state is None else {"state": state}
        self._send("job.list", payload, self._meta(), about=JobCall(state=state))

    def _cancel(self) -> None:
        call = self._about("job.cancel")
        assert call.about is not None
        self._book.pages[call.about.job].cancels.append(call)

    def _resume(self) -> None:
        job, random = self._job(), self._random
        more: dict[str, object] = {}
        if random.random() < 0.4:
            more["budget"] = {"lm_calls": random.randint(1, 30)}
        if random.random() < 0.2:
            more["deadline_s"] = random.choice((1.0, 5.0))
        call = self._about("job.resume", more, job)
        self._book.pages[job].resumers.append(call)

    def _delete(self) -> None:
        call = self._about("job.delete")
        assert call.about is not None
        self._book.pages[call.about.job].deletes.append(call)
