"""The part of the checker that knows jobs: holds what clients are told of them against the book."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from dspex_pool.jobs.records import Job, State
from dspex_protocol import decode_failure

from .job_records import JobCall, JobPage, JobState
from .records import CallRecord, Violation
from .toil import undisturbed

if TYPE_CHECKING:
    from .world import World

Answer = Mapping[str, Any]

PAGE: Final = 100


class JobHistory:
    """What has become of the calls of one server that are about jobs."""

    def __init__(self, world: World) -> None:
        self._book = world.common.jobs

    # What clients are told

    def succeeded(self, call: CallRecord, value: object) -> None:
        """A call is answered.

        Raises:
            Violation: when that is not true.
        """
        about = call.about
        assert about is not None
        told = cast("Any", value)
        match call.method:
            case "job.submit":
                self._check_submitted(call, about, told)
            case "job.get" | "job.follow" | "job.cancel" | "job.resume":
                self._check_told(call, told)
            case "job.list":
                self._check_list(call, about, told)
            case "job.events":
                self._check_events(call, about, told)
            case "job.best":
                self._check_best(call, told)
            case "job.result":
                self._check_result(call, told)
            case _:
                if self._page(call).now.job is not None:
                    raise Violation("P10", f"{call} is acknowledged, and the job is there")

    def failed(self, call: CallRecord) -> None:
        """A call has failed.

        Raises:
            Violation: when it is said to have had no effect, and has had one.
        """
        about = call.about
        if about is None or not call.is_denied:
            return
        page = self._book.pages.get(about.job)
        made = about.submission is not None and about.submission.is_denied and about.submission.jobs
        ended = page is not None and (
            (page.deletes and page.now.job is None and all(other.is_denied for other in page.deletes))
            or _is_resumed_for(page)
            or (page.cancels and page.unwanted_since_s and all(other.is_denied for other in page.cancels))
        )
        if made or ended:
            raise Violation("P5", f"{call} was told {call.code}, and that it has no effect; it has one")

    def _check_submitted(self, call: CallRecord, about: JobCall, told: Answer) -> None:
        submission = about.submission
        assert submission is not None
        page = self._book.pages.get(told["job"])
        if page is None or page.submission is not submission:
            raise Violation("P10", f"{call} is told {told}, which is no job of its own")
        if told["created"] and page.states[1].mark <= call.mark:
            raise Violation("P10", f"{call} is told that it makes {told['job']}, which was there")
        if not told["created"] and submission.key is None:
            raise Violation("P10", f"{call} is told {told} without a key")

    def _check_told(self, call: CallRecord, row: Answer) -> None:
        """It was that while the call was open."""
        if not any(_is(state, row) for state in self._seen(call)):
            raise Violation("P10", f"{call} is told {row}, which the job was not")
        is_ended = row["state"] in (State.DONE, State.FAILED, State.CANCELLED)
        if call.method == "job.follow" and not is_ended:
            raise Violation("P10", f"{call} is over, and the job is {row['state']}")
        if call.method == "job.cancel" and not is_ended and not _was_heard_of(self._seen(call)):
            raise Violation(
                "P10", f"{call} is acknowledged, and nobody has heard of it: {self._page(call).now}"
            )

    def _check_list(self, call: CallRecord, about: JobCall, told: Answer) -> None:
        rows = {row["job"]: row for row in told["jobs"]}
        for job, page in self._book.pages.items():
            row = rows.pop(job, None)
            states = _since(page, call.mark)
            if row is not None:
                is_true = any(_is(state, row) and _is_wanted(state.job, about.state) for state in states)
            else:
                is_true = any(state.job is None or not _is_wanted(state.job, about.state) for state in states)
            if not is_true:
                raise Violation("P10", f"{call} lists {job} as {row}, which it was not")
        if rows or told["next"]:
            raise Violation("P10", f"{call} lists {rows} {told['next']}, which there are not")

    def _check_events(self, call: CallRecord, about: JobCall, told: Answer) -> None:
        for at, row in enumerate(told["events"], about.after + 1):
            self._check_event(call, row, at)
        last, next_ = about.after + len(told["events"]), told["next"]
        counts = [state.job.events for state in self._seen(call) if state.job is not None]
        if not any((next_ is None and last >= count) or (next_ == last < count) for count in counts):
            raise Violation("P10", f"{call} is told {last} events and {next_}, and there were {counts}")

    def _check_event(self, call: CallRecord, row: Answer, number: int) -> None:
        events = self._page(call).events
        event = {name: value for name, value in row.items() if name not in ("n", "at", "attempt")}
        if row["n"] != number or number > len(events) or events[number - 1] != event:
            raise Violation("P10", f"{call} is told {row} as event {number}, and it was {events}")

    def _check_best(self, call: CallRecord, told: Answer | None) -> None:
        scores = [None if state.job is None else state.job.best_score for state in self._seen(call)]
        if (None if told is None else told["score"]) not in scores:
            raise Violation("P10", f"{call} is told {told}, and the best was {scores}")

    def _check_result(self, call: CallRecord, told: Answer) -> None:
        page = self._page(call)
        if told["result"] != undisturbed(page.submission.toil).result:
            raise Violation("P10", f"{call} is told {told}")
        if all(state.job is None or state.job.saved != told["saved"] for state in self._seen(call)):
            raise Violation("P10", f"{call} is told {told}, and saved was something else")

    # Followers

    def item_seen(self, call: CallRecord, item: object) -> None:
        """A follower reads an item.

        Raises:
            Violation: when it is not the event that comes next.
        """
        about = call.about
        assert about is not None
        told = cast("Answer", item)
        if "event" in told:
            self._check_event(call, told["event"], about.after + 1)
            about.after += 1

    def outcome_seen(self, call: CallRecord, value: object) -> None:
        """A follower reads the end of its job: it has read all before it."""
        about = call.about
        assert about is not None
        count = cast("Answer", value)["events"]
        if call.credit_sent and about.after < count:
            raise Violation("P10", f"{call} was told {about.after} events, of {count}")

    # Why calls fail

    def explains(self, call: CallRecord, code: str) -> bool:
        """Whether what the job was is the reason."""
        about = call.about
        if about is None:
            return False
        if code == "job_key_reused":
            return self._has_other(call, about)
        if not about.job:
            return False
        states = self._seen(call)
        match code:
            case "unknown_job":
                return any(state.job is None for state in states)
            case "invalid_argument":
                is_done = any(state.job is not None and state.job.state == State.DONE for state in states)
                return call.method == "job.resume" and is_done
            case "job_not_done":
                return any(state.job is not None and not state.job.is_ended for state in states)
            case _:
                return call.method == "job.result" and any(_failed_with(state.job, code) for state in states)

    def _has_other(self, call: CallRecord, about: JobCall) -> bool:
        """Whether another submission had the key."""
        submission = about.submission
        assert submission is not None
        return any(
            page.submission is not submission
            and page.submission.key == submission.key
            and any(state.job is not None for state in _since(page, call.mark))
            for page in self._book.pages.values()
        )

    def _page(self, call: CallRecord) -> JobPage:
        assert call.about is not None
        return self._book.pages[call.about.job]

    def _seen(self, call: CallRecord) -> list[JobState]:
        return _since(self._page(call), call.mark)


def _since(page: JobPage, mark: int) -> list[JobState]:
    """All that a job has been since that commit."""
    return page.states[bisect_right(page.states, mark, key=lambda state: state.mark) - 1 :]


def _is(state: JobState, row: Answer) -> bool:
    """Whether that is what a client is told, but for figures that are not kept."""
    job = state.job
    if job is None:
        return False
    there = job.job, job.state, job.attempt, job.events, job.answers, job.best_score, job.saved
    said = tuple(
        row[name] for name in ("job", "state", "attempt", "events", "answers", "best_score", "saved")
    )
    return there == said


def _is_wanted(job: Job | None, wanted: str | None) -> bool:
    if job is None or wanted is None:
        return job is not None
    return not job.is_ended if wanted == "open" else job.state == wanted


def _was_heard_of(states: list[JobState]) -> bool:
    """Whether somebody's wish that a job ends was kept, or it has ended."""
    return any(state.is_unwanted or state.job is None or state.job.is_ended for state in states)


def _is_resumed_for(page: JobPage) -> bool:
    """Whether it was resumed, and all who wanted that were told that it was not."""
    has_been = any(event["type"] == "resumed" for event in page.events)
    return has_been and bool(page.resumers) and all(call.is_denied for call in page.resumers)


def _failed_with(job: Job | None, code: str) -> bool:
    if job is None:
        return False
    if job.state == State.CANCELLED:
        return code == "cancelled"
    return job.error is not None and decode_failure(job.error).code == code
