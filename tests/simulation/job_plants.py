"""Defects of jobs that are planted to see that they are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from dspex_pool.guest import Guest
from dspex_pool.jobs import saving, steps
from dspex_pool.jobs.asking import Asking
from dspex_pool.jobs.attempt import Attempt
from dspex_pool.jobs.following import Follower, Following
from dspex_pool.jobs.heartbeat import Heartbeat
from dspex_pool.jobs.host_calls import HostCalls
from dspex_pool.jobs.keeping import Keeper
from dspex_pool.jobs.records import Job, Spent
from dspex_pool.jobs.running import Run
from dspex_pool.jobs.shelf import Shelf, Wish
from dspex_pool.store import Append, Change, Drop, Fence, Put, Store
from dspex_protocol import decode_value, encode_value

from .occasions import Occasions
from .patches import Patch


class _Trusting:
    """A store that takes whatever somebody writes who was the owner once."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """Without looking at who it is."""
        trusted = [replace(one, expect=None) if isinstance(one, Put) else one for one in changes]
        revisions: list[int] = await self._store.commit(trusted)
        return revisions


def commit_without_fence() -> list[Patch]:
    """Who has lost a job goes on to write it."""
    right = Keeper.__init__

    def wrong(self: Keeper, *given: Any) -> None:
        right(self, *given)
        self._store = cast("Store", _Trusting(self._store))

    return [(Keeper, "__init__", wrong)]


def never_renew() -> list[Patch]:
    """A job's lease ends while it runs."""

    async def wrong(self: Keeper) -> None:
        """It stays as it is."""

    return [(Keeper, "renew", wrong)]


def tell_again() -> list[Patch]:
    """What an attempt before has told is told again."""
    right = steps.event_told

    def wrong(job: Job, number: int, event: Any, now_ms: int, *, is_anew: bool = False) -> steps.Made:
        made = right(replace(job, own_events=number - 1), number, event, now_ms)
        return steps.Made(replace(made.job, own_events=max(number, job.own_events)), made.changes)

    return [(steps, "event_told", wrong)]


def load_no_answers() -> list[Patch]:
    """An attempt begins as if there had been none before it."""

    async def wrong(self: Asking, asked: dict[str, bytes]) -> bytes:
        return encode_value({"entries": [], "last": 0})

    right = Asking.__init__

    def begin(self: Asking, *given: Any) -> None:
        right(self, *given)
        self._handlers = {**self._handlers, "job.answers": lambda asked: wrong(self, asked)}

    return [(Asking, "__init__", begin)]


def lose_a_page() -> list[Patch]:
    """Of answers that fill more than a page the last page is not read."""
    right = Asking._answers

    async def wrong(self: Asking, asked: dict[str, bytes]) -> bytes:
        if decode_value(asked["after"]):
            return encode_value({"entries": [], "last": 0})
        return await right(self, asked)

    return [(Asking, "_answers", wrong)]


def say_kept_too_soon() -> list[Patch]:
    """An answer is said to be kept before it is."""
    right, occasions = Asking._answered, Occasions(10)

    async def wrong(self: Asking, asked: dict[str, bytes]) -> bytes:
        if not occasions.is_bad():
            return await right(self, asked)
        self._tasks.start(_forgetful(right(self, asked)))
        return encode_value(None)

    return [(Asking, "_answered", wrong)]


async def _forgetful(work: Any) -> None:
    try:
        await work
    except Exception:
        return


def skip_an_event() -> list[Patch]:
    """A follower is not told of one."""
    right, occasions = Follower.send, Occasions()

    def wrong(self: Follower, item: Any) -> None:
        if "event" not in item or not occasions.is_bad():
            right(self, item)

    return [(Follower, "send", wrong)]


def end_before_the_events() -> list[Patch]:
    """A follower is told the end of a job before all that came before it."""

    async def wrong(self: Following, follower: Follower, job: str, after: int, last: int) -> int:
        return last

    return [(Following, "_tell_events", wrong)]


def ignore_the_key() -> list[Patch]:
    """A job that was submitted under a key is submitted again."""

    async def wrong(self: Shelf, key: str | None, digest: bytes) -> Job | None:
        return None

    right = Shelf._changes_for

    def changes_for(self: Shelf, job: Job, wish: Wish) -> list[Change]:
        return right(self, job, replace(wish, key=None))

    return [(Shelf, "job_of", wrong), (Shelf, "_changes_for", changes_for)]


def lose_the_cancel() -> list[Patch]:
    """A cancel is acknowledged and nobody hears of it."""

    async def wrong(self: Shelf, job: str) -> None:
        """Nothing is kept."""

    return [(Shelf, "want_end", wrong)]


def overlook_wishes() -> list[Patch]:
    """Who runs a job does not look whether somebody wants it to end."""

    async def wrong(self: Heartbeat) -> None:
        """It looks at nothing."""

    return [(Heartbeat, "_look", wrong)]


def drop_after_death() -> list[Patch]:
    """A job whose worker has died is not begun again."""

    async def wrong(self: Run, for_s: float) -> None:
        self._pausing = self._tasks.promise()
        await self._pausing

    return [(Run, "_pause", wrong)]


def give_up_at_once() -> list[Patch]:
    """A job fails with the first worker that dies."""
    return [(steps, "MAX_CRASHES", 1)]


def save_twice() -> list[Patch]:
    """A program that was saved, of which nobody has heard, is saved again."""

    def wrong(write_id: str, digest: bytes) -> None:
        """No write at all."""

    return [(saving, "Write", wrong)]


def leave_answers() -> list[Patch]:
    """The answers of a job that is done stay."""
    right = steps.done

    def wrong(*given: Any) -> steps.Made:
        made = right(*given)
        return steps.Made(made.job, tuple(one for one in made.changes if not isinstance(one, Drop)))

    return [(steps, "done", wrong)]


def take_any_for_the_best() -> list[Patch]:
    """The best result is the last one."""
    right = steps.best_told

    def wrong(job: Job, score: float, content: bytes) -> steps.Made:
        return right(replace(job, best_score=None), score, content)

    return [(steps, "best_told", wrong)]


def forget_what_was_spent() -> list[Patch]:
    """Each attempt has the whole budget."""
    right = Attempt.ready

    def wrong(self: Attempt, guest: Guest) -> None:
        job = self._keeper.job
        self._keeper.job = replace(job, spent=Spent())
        right(self, guest)
        self._keeper.job = job

    return [(Attempt, "ready", wrong)]


def ask_nobody_else() -> list[Patch]:
    """What a client was asked for that has gone is asked of nobody else."""

    def wrong(self: HostCalls, caller: Any) -> None:
        """It waits."""

    return [(HostCalls, "client_gone", wrong)]


def spare_the_worker() -> list[Patch]:
    """The worker of a job that has ended goes on."""

    def wrong(self: Guest, cause: str | None = None) -> None:
        self._is_over = self._is_over or cause is None

    return [(Guest, "kill", wrong)]


def take_up_what_has_ended() -> list[Patch]:
    """A cancelled job is begun once more."""
    right = steps.cancelled

    def wrong(job: Job, now_ms: int) -> steps.Made:
        made = right(job, now_ms)
        return steps.Made(replace(made.job, state="running"), made.changes)

    return [(steps, "cancelled", wrong)]


def miss_the_deadline() -> list[Patch]:
    """The time of a job that runs is never over."""
    right = Heartbeat.__init__

    def wrong(self: Heartbeat, *given: Any, on_cancel: Any, on_late: Any) -> None:
        right(self, *given, on_cancel=on_cancel, on_late=lambda: None)

    return [(Heartbeat, "__init__", wrong)]


def lose_an_answer() -> list[Patch]:
    """Of answers that come together the last one is counted, and not kept."""
    right = steps.answered

    def wrong(job: Job, entries: Any) -> steps.Made:
        made = right(job, entries)
        kept = made.changes[:-1] if len(made.changes) > 2 else made.changes
        appends = sum(isinstance(one, Append) for one in kept)
        return steps.Made(replace(made.job, answers=job.answers + appends), kept)

    return [(steps, "answered", wrong)]


def keep_the_job() -> list[Patch]:
    """The lease of a job that has ended is not given back, and renewed for ever."""

    def wrong(self: Heartbeat) -> None:
        """It beats on."""

    async def keep(self: Keeper) -> None:
        """It stays ours."""

    return [(Heartbeat, "stop", wrong), (Keeper, "release", keep)]


JOB_PLANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    plant.__name__: plant
    for plant in (
        commit_without_fence,
        never_renew,
        tell_again,
        load_no_answers,
        lose_a_page,
        say_kept_too_soon,
        skip_an_event,
        end_before_the_events,
        ignore_the_key,
        lose_the_cancel,
        overlook_wishes,
        drop_after_death,
        give_up_at_once,
        save_twice,
        leave_answers,
        take_any_for_the_best,
        forget_what_was_spent,
        ask_nobody_else,
        spare_the_worker,
        take_up_what_has_ended,
        miss_the_deadline,
        lose_an_answer,
        keep_the_job,
    )
}
"""By name."""
