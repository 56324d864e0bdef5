"""What may become of a job: from which state into which, and with what it may end. Pure."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from dspex_pool.jobs.records import Job, State
from dspex_protocol import decode_failure

from .job_attempts import read_entry
from .records import Violation
from .toil import HOST, LM, answer_to, undisturbed

if TYPE_CHECKING:
    from .job_records import JobPage

MOVES: Final[dict[str, frozenset[State]]] = {
    State.QUEUED: frozenset((State.QUEUED, State.RUNNING, State.FAILED, State.CANCELLED)),
    State.RUNNING: frozenset((State.RUNNING, State.DONE, State.FAILED, State.CANCELLED)),
    State.FAILED: frozenset((State.QUEUED,)),
    State.CANCELLED: frozenset((State.QUEUED,)),
}
CRASHES: Final = 3
DEATHS: Final = 20
"""After so many in a row with nothing new between them a job is given up."""
NOT_SAVED: Final = frozenset(("unknown_program",))
"""Why a program may not have been saved: the one of that id was deleted in the same moment."""
FOR_EVER: Final = ("key", "kind", "note", "tenant", "created_ms")
UNTIL_RESUMED: Final = ("budget", "deadline_s", "resumes")
NEVER_LESS: Final = ("attempt", "events", "own_events", "answers")


def check_move(page: JobPage, before: Job, job: Job) -> None:
    """A job's record is written anew.

    Raises:
        Violation: when it cannot have become that.
    """
    if job.state not in MOVES.get(before.state, ()):
        raise Violation("P10", f"{job.job} was {before.state}, and is {job.state}")
    same = FOR_EVER if is_resumed(before, job) else FOR_EVER + UNTIL_RESUMED
    changed = [name for name in same if getattr(before, name) != getattr(job, name)]
    less = [name for name in NEVER_LESS if getattr(before, name) > getattr(job, name)]
    if changed or less:
        raise Violation("P10", f"{job.job} has another {changed}, and less {less}")
    page.blamed += max(0, job.crashes - before.crashes)


def is_resumed(before: Job, job: Job) -> bool:
    """Whether it goes on although it had ended."""
    return before.is_ended and not job.is_ended


def resume(page: JobPage, job: Job, now_s: float) -> None:
    """It goes on although it had ended.

    Raises:
        Violation: when nobody wants that.
    """
    if all(call.is_denied for call in page.resumers):
        raise Violation("P10", f"{job.job} is resumed, and {page.resumers} want that")
    page.since_s, page.ended_s = now_s, None
    # A cancel that is under way may be seen to when its wish has gone with the end that was before this.
    if all(call.is_denied or call.code == "ok" for call in page.cancels):
        page.unwanted_since_s = None


def add_event(page: JobPage, job: str, event: dict[str, Any]) -> None:
    """Something has happened to it.

    Raises:
        Violation: when that was told already, or it had ended.
    """
    has_ended = bool(page.events) and page.events[-1]["type"] in ("done", "failed", "cancelled")
    if has_ended != (event["type"] == "resumed"):
        raise Violation("P10", f"{job} has ended, and then {event} happens")
    if event["type"] == "step" and event["step"] != page.steps + 1:
        raise Violation("P10", f"{job} has told {page.steps} steps, and now {event}")
    page.steps += event["type"] == "step"
    page.events.append(event)


def keep_answer(page: JobPage, job: str, entry: bytes) -> None:
    """An answer is kept.

    Raises:
        Violation: when it was, or is another's.
    """
    place, answer = read_entry(entry)
    if place in page.places or answer != answer_to(place.key):
        raise Violation("P10", f"{job} keeps {answer} for {place}, and has it already or in truth another")
    page.places[place] = None


def keep_best(page: JobPage, job: str, score: float) -> None:
    """It has a result that is the best so far.

    Raises:
        Violation: when there was a better one.
    """
    if page.bests and score <= page.bests[-1]:
        raise Violation("P10", f"the best of {job} was {page.bests[-1]}, and is {score}")
    page.bests.append(score)


def check_agreement(page: JobPage, job: Job) -> None:
    """What its record says of it is what there is of it.

    Raises:
        Violation: when it is not.
    """
    paid = sum(place.kind == LM for place in page.places)
    said = job.events, job.own_events, job.answers, job.best_score
    there = len(page.events), page.steps, len(page.places), page.bests[-1] if page.bests else None
    if said != there:
        raise Violation("P10", f"{job.job} says {said} of its events, answers and best, and has {there}")
    if not paid <= job.spent.lm_calls <= page.paid:
        raise Violation(
            "P10", f"{job.job} says that it has spent {job.spent}, and {paid} of {page.paid} are kept"
        )
    page.limit = max(page.limit, job.budget.get("lm_calls", inf))
    if paid > page.limit:
        raise Violation("P10", f"{job.job} may ask {page.limit} times, and {paid} answers are kept")


def check_end(page: JobPage, job: Job, made: tuple[str, int] | None, now_s: float) -> None:
    """It has ended.

    Args:
        page: With all that belongs to the end.
        job: As it is then.
        made: The program and version that are stored of it.
        now_s: When, by the store's time.

    Raises:
        Violation: when it had no reason to, or has come to something else than it should have.
    """
    if page.events[-1]["type"] != job.state:
        raise Violation("P10", f"{job.job} is {job.state}, and the last that happened is {page.events[-1]}")
    match job.state:
        case State.DONE:
            _check_done(page, job, made)
        case State.CANCELLED if page.unwanted_since_s is None:
            raise Violation("P10", f"{job.job} is cancelled, and nobody wanted that")
        case State.FAILED:
            assert job.error is not None
            code = decode_failure(job.error).code
            if not _has_reason(page, job, code, now_s):
                raise Violation("P10", f"{job.job} fails with {code} without a reason")
        case _:
            pass


def _check_done(page: JobPage, job: Job, made: tuple[str, int] | None) -> None:
    toil = page.submission.toil
    if toil.is_endless or toil.fails:
        raise Violation("P10", f"{job.job} is done, which it never can be")
    wanted = undisturbed(toil)
    asked = {kind: sum(place.kind == kind for place in page.places) for kind in (LM, HOST)}
    came = page.result, page.bests[-1], asked, page.steps
    if came != (wanted.result, wanted.best, wanted.places, toil.steps):
        raise Violation("P10", f"{job.job} comes to {came}, and undisturbed to {wanted}")
    if job.replay is None or job.replay["diverged"]:
        raise Violation("P10", f"{job.job} has gone another way: {job.replay}")
    not_saved = {event["code"] for event in page.events if event["type"] == "not_saved"}
    told = None if job.saved is None else (job.saved["program"], job.saved["version"])
    if told != made or (toil.saves and told is None and not not_saved) or not_saved - NOT_SAVED:
        raise Violation("P10", f"{job.job} has made {made}, and says that it has saved {told} ({not_saved})")


def _has_reason(page: JobPage, job: Job, code: str, now_s: float) -> bool:
    match code:
        case "deadline":
            return job.deadline_s is not None and now_s >= page.since_s + job.deadline_s
        case "worker_died":
            return job.deaths >= DEATHS or job.crashes >= CRASHES
        case "budget_spent":
            return job.spent.lm_calls >= job.budget.get("lm_calls", inf)
        case "program_failed":
            return page.submission.toil.fails
        case _:
            return False
