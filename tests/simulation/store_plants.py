"""Defects in what is stored, planted as those of `plants.py` are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from dspex_pool import fetching, program_methods, session_methods
from dspex_pool.calls import Call
from dspex_pool.library.shelf import KnownHead, Shelf, Ticket
from dspex_pool.live_sessions import LiveSession
from dspex_pool.outcomes import Outcomes
from dspex_pool.placing import Placing
from dspex_pool.session_leases import SessionLeases
from dspex_pool.sessions import Sessions
from dspex_pool.store import Change, Fence
from dspex_pool.store.memory import MemoryStore
from dspex_pool.stored_calls import StoredCalls
from dspex_pool.switchboard import Switchboard
from dspex_pool.worker import Worker
from dspex_protocol import REPLY, DSPexError, Envelope, Meta

from .occasions import Occasions
from .patches import Patch


def answer_before_storing() -> list[Patch]:
    """A turn is answered, and then it is stored."""
    right = StoredCalls.end_turn

    def wrong(self: StoredCalls, call: Call, worker: Worker, envelope: Envelope, payload: bytes) -> None:
        right(self, call, worker, envelope, payload)
        assert call.turn is not None
        call.turn.is_stored = True
        self._outcomes.relay(call, envelope, payload)

    return [(StoredCalls, "end_turn", wrong)]


def believe_the_worker() -> list[Patch]:
    """After a turn that was not kept its worker is taken to be where it was before."""

    def wrong(self: StoredCalls, call: Call) -> None:
        if call.turn is not None:
            self.sessions.ended(call)

    return [(StoredCalls, "closed", wrong)]


def misnumber() -> list[Patch]:
    """A reply says another turn than was stored."""
    right, occasions = Outcomes._complete, Occasions(3)

    def wrong(self: Outcomes, call: Call, meta: Meta) -> None:
        right(self, call, meta)
        if call.turn is not None and call.turn.is_stored and occasions.is_bad():
            meta["turn"] = call.turn.number + 1

    return [(Outcomes, "_complete", wrong)]


def keep_the_abandoned() -> list[Patch]:
    """What a worker makes of a turn that was given up is stored all the same."""
    right = Switchboard._ended

    def wrong(self: Switchboard, worker: Worker, envelope: Envelope, body: bytes) -> None:
        call = worker.calls.get(envelope.id)
        is_abandoned = call is not None and call.caller is None and call.turn is not None
        right(self, worker, envelope, body)
        if call is not None and is_abandoned and envelope.kind == REPLY:
            self.stored.end_turn(call, worker, envelope, body[envelope.payload_at :])

    return [(Switchboard, "_ended", wrong)]


def skip_session_fence() -> list[Patch]:
    """Whoever has lost a session may write it."""
    right = MemoryStore.commit

    async def wrong(self: MemoryStore, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        return await right(self, changes)

    return [(MemoryStore, "commit", wrong)]


def forget_writes() -> list[Patch]:
    """A write that is made again happens again."""

    def wrong(call: Call) -> None:
        """No write at all."""

    return [(module, "write_of", wrong) for module in (program_methods, session_methods)]


def serve_the_former() -> list[Patch]:
    """A version is acknowledged, and calls run on the one before."""
    right, occasions = Shelf.learn_head, Occasions(3)

    def wrong(self: Shelf, found: KnownHead, ticket: Ticket | None = None, *, is_ours: bool = False) -> None:
        if not (is_ours and self.head(found.head.program) and occasions.is_bad()):
            right(self, found, ticket, is_ours=is_ours)

    return [(Shelf, "learn_head", wrong)]


def wait_for_the_store() -> list[Patch]:
    """A call waits for a store that is down, though its program is known."""
    return [(fetching, "PATIENCE_S", 2.0)]


def keep_errands() -> list[Patch]:
    """What a worker was to do for a call goes on when that has ended."""
    right = Switchboard._give_up

    def wrong(self: Switchboard, call: Call, failure: DSPexError) -> None:
        if not (call.is_errand and failure.code == "cancelled"):
            right(self, call, failure)

    return [(Switchboard, "_give_up", wrong)]


def wait_past_the_deadline() -> list[Patch]:
    """A call that waits for the store does so after its deadline too."""
    right = Switchboard._deadline_passed

    def wrong(self: Switchboard, call: Call) -> None:
        if call.worker is not None or call.errand is not None or call not in _all_waiting(self):
            right(self, call)

    return [(Switchboard, "_deadline_passed", wrong)]


def _all_waiting(switchboard: Switchboard) -> set[Call]:
    stored = switchboard.stored
    waiting = {call for calls in stored._fetching._waiting.values() for call in calls}
    return waiting | {call for session in stored.sessions._live.values() for call in session.waiting}


def leave_the_line() -> list[Patch]:
    """After a turn that failed nobody begins the next one."""
    right = Sessions._turn_over

    def wrong(self: Sessions, session: LiveSession, call: Call) -> None:
        right(self, session, call)
        if call.turn is not None and not call.turn.is_stored and session.waiting:
            session.running = call  # as if it ran

    return [(Sessions, "_turn_over", wrong)]


def keep_leases() -> list[Patch]:
    """A session that nobody uses any more is not given back."""

    def wrong(self: SessionLeases, session: str) -> None:
        """It stays."""

    return [(SessionLeases, "give_back", wrong)]


def act_when_it_is_over() -> list[Patch]:
    """A call that was given up, and told to have had no effect, writes nevertheless."""

    def wrong(self: Call) -> None:
        self.committed = True

    return [(Call, "begin_effects", wrong)]


def load_nothing() -> list[Patch]:
    """A session is taken to be in whichever worker its turn goes to."""
    right, occasions = Placing._provide_session, Occasions(5)

    def wrong(self: Any, worker: Worker, turn: Any, meta: Meta) -> Meta:
        record = turn.session.record
        if occasions.is_bad():
            worker.sessions[turn.session.id] = record.life, record.turn
        return right(self, worker, turn, meta)

    return [(Placing, "_provide_session", wrong)]


def stay_there() -> list[Patch]:
    """A session is asked to be elsewhere, and that is forgotten."""

    async def wrong(self: Sessions, session_id: str, worker: int) -> None:
        await self.taken_up(session_id)

    return [(Sessions, "move", wrong)]


STORE_PLANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    plant.__name__: plant
    for plant in (
        answer_before_storing,
        believe_the_worker,
        misnumber,
        keep_the_abandoned,
        skip_session_fence,
        forget_writes,
        serve_the_former,
        wait_for_the_store,
        keep_errands,
        wait_past_the_deadline,
        leave_the_line,
        keep_leases,
        act_when_it_is_over,
        load_nothing,
        stay_there,
    )
}
"""By name."""
