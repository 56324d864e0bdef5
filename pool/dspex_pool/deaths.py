"""What becomes of a call when its worker dies: one pure function, over the call and what was seen.

A worker runs many calls at once, so a death has suspects and no culprit. The calls that it
was running are sent again. One that is there when a second worker dies is the killer, unless
another suspect stood beside it: then both go on **alone**, never together on one worker, and
the next death tells which of them it was. So a killer costs two workers where nobody confuses
it with another and three at most, and those that stood beside it get their answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from dspex_protocol.states import CallState

if TYPE_CHECKING:
    from .calls import Call

CONVICTING_DEATHS: Final = 2
"""Workers that die under one call before it is refused, where no other suspect was beside it.

Not 1: any call may be in one accident.
"""

MAX_DEATHS: Final = 3
"""Workers that die under one call before it is refused, whoever was beside it.

The third death finds it alone among suspects, since the second has set them apart.
"""

MAX_UNSTARTED_SENDS: Final = 10
"""How often a call is sent at most: a bound, met only by what kills before it has begun."""

UNSTARTED_SENDS_TOGETHER: Final = 2
"""Workers that may die before a call has begun; then it is set apart from other suspects.

What kills while it is read, or runs inline, is never announced as begun: without this bound
the calls beside it would die with it again and again, and be refused in its place.
"""


class AfterDeath(Enum):
    """What becomes of a call; the rows of docs/reliability.md."""

    DROP = auto()
    """Its caller has had an outcome already."""
    CANCELLED = auto()
    """Its caller gave it up, and the death is the answer to that."""
    RESEND = auto()
    """It had not begun: another worker gets it, and nobody notices."""
    RESEND_ALONE = auto()
    """As RESEND, and from now on never on one worker with another call that is alone."""
    REPEAT = auto()
    """It had begun and is free of effects: it runs once more. Takes a token of the retry budget."""
    REPEAT_ALONE = auto()
    """As REPEAT, and from now on never on one worker with another call that is alone."""
    FAIL = auto()
    """It may have had effects: `worker_died`, `maybe_executed`."""
    SPENT = auto()
    """It could be repeated, and there is no token left: `worker_died`, `retryable`."""
    POISONED = auto()
    """It kills workers: refused, and kept in the quarantine."""


ALONE: Final = frozenset((AfterDeath.RESEND_ALONE, AfterDeath.REPEAT_ALONE))
"""After these the call is alone until its end; the other verdicts leave that as it is."""


def is_suspect(call: Call) -> bool:
    """Whether a worker has died with this call before, begun or not, given up since or not."""
    return call.attempt > 1


def count_suspects(calls: Iterable[Call]) -> int:
    """How many suspects a worker had, as it died.

    Ask once for all of its calls and before any is sent on. Calls that their clients gave up
    belong to it: they are still at work there, and may be what killed it.
    """
    return sum(map(is_suspect, calls))


def after_death(
    call: Call, *, started: bool, has_effects: bool, innocent: bool, suspects_beside: int, may_repeat: bool
) -> AfterDeath:
    """Decide what becomes of a call. Changes and counts nothing.

    A death counts for a call (`deaths`) when the call had begun and the death is not
    innocent; the caller adds it afterwards.

    Args:
        call: As it stood when the worker died, this death not counted.
        started: The worker had said that it had begun.
        has_effects: Its method changes something outside by nature.
        innocent: The supervisor ended the worker, and not for anything that this call did.
        suspects_beside: Other calls on that worker that were suspects already.
        may_repeat: The retry budget has a token left.
    """
    # 1. There is nobody to answer, or nothing to decide.
    if call.caller is None:
        return AfterDeath.DROP
    if call.state is CallState.CANCELLING:
        return AfterDeath.CANCELLED
    # 2. It may have had effects. Committed goes by itself: the effect was seen, whether the
    #    worker had said that it began or not.
    if call.committed or (started and has_effects):
        return AfterDeath.FAIL
    # 3. It kills, or may be what kills.
    alone = False
    if not innocent:
        guilty, alone = _judge(call, started, suspects_beside)
        if guilty:
            return AfterDeath.FAIL if has_effects else AfterDeath.POISONED
    # 4. It is sent again, at no price if it had not begun.
    if not started:
        return AfterDeath.RESEND_ALONE if alone else AfterDeath.RESEND
    if not may_repeat:
        return AfterDeath.SPENT
    return AfterDeath.REPEAT_ALONE if alone else AfterDeath.REPEAT


def _judge(call: Call, started: bool, suspects_beside: int) -> tuple[bool, bool]:
    """Whether a call is taken for the killer, and whether it must be set apart from others."""
    deaths = call.deaths + started
    if call.attempt >= MAX_UNSTARTED_SENDS or deaths >= MAX_DEATHS:
        return True, True
    if not started:
        return False, call.attempt - call.deaths >= UNSTARTED_SENDS_TOGETHER
    is_second = deaths >= CONVICTING_DEATHS
    return is_second and not suspects_beside, is_second
