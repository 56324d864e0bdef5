"""What is stored of sessions: each with its whole past, turn by turn."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dspex_pool.session_records import SessionRecord, read_record
from dspex_protocol import decode_value

from .records import CallRecord, Violation, WriteRecord, must_not_be_denied

if TYPE_CHECKING:
    from .world import World

History = tuple[int, ...]
"""The nonces of a session's turns."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """What a session was for a while.

    Attributes:
        mark: Which commit made it so.
        since_s: When that was, by the store's time.
        record: None while there is no such session.
        history: Its turns.
        over_s: When it is forgotten, if nothing comes before that.
    """

    mark: int
    since_s: float
    record: SessionRecord | None
    history: History
    over_s: float


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn that was stored.

    Attributes:
        session: Of which session.
        number: As the how manieth.
        program: What it ran, with its version.
        state: Which of its session's states it has made.
    """

    session: str
    number: int
    program: tuple[str, int]
    state: int


NOTHING = SessionState(0, 0.0, None, (), float("inf"))


class SessionBook:
    """All sessions of one store.

    Args:
        calls: Every call of every client, by its nonce.

    Attributes:
        turns: Which turn a call has made.
        openers: The writes that open or fork a session, by the time to live that they give it.
        opened: What such a write has made, and as which of the session's states.
        closers: The calls that close a session, by its id.
    """

    def __init__(self, calls: dict[int, CallRecord]) -> None:
        self._calls = calls
        self._states: dict[str, list[SessionState]] = {}
        self._pasts: set[History] = {()}
        self.turns: dict[int, StoredTurn] = {}
        self.openers: dict[float, WriteRecord] = {}
        self.opened: dict[int, tuple[SessionRecord, int]] = {}
        self.closers: dict[str, list[CallRecord]] = {}

    def states(self, session: str) -> list[SessionState]:
        """All that it has been, the first state being that there is none."""
        return self._states.setdefault(session, [NOTHING])

    @property
    def names(self) -> list[str]:
        """All that there ever were."""
        return list(self._states)

    def since(self, session: str, mark: int) -> list[SessionState]:
        """What it has been from that commit on."""
        states = self.states(session)
        return states[bisect_right(states, mark, key=lambda state: state.mark) - 1 :]

    def was_there(self, session: str, mark: int) -> bool:
        """Whether there has been such a session, at some time since that commit."""
        return any(state.record is not None for state in self.since(session, mark))

    def was_missing(self, session: str, mark: int, now_s: float) -> bool:
        """Whether there has been none, at some time since that commit."""
        return is_missing(self.since(session, mark), now_s)

    # What commits do

    def put(self, session: str, body: bytes, ttl_s: float, mark: int, now_s: float, world: World) -> None:
        """A session is written: a new one, or one with one more turn.

        Raises:
            Violation: when it is neither.
        """
        record = read_record(session, body)
        checkpoint = decode_value(record.checkpoint)
        assert isinstance(checkpoint, dict)
        history: History = tuple(checkpoint["history"])
        before = self.states(session)[-1]
        if record.turn != len(history):
            raise Violation("P5", f"session {session} is at turn {record.turn} and had {history}")
        if before.record is None or before.over_s <= now_s:
            self._check_new(session, record, history)
        else:
            self._check_turn(session, before, record, history, world)
        self._pasts.add(history)
        self._states[session].append(SessionState(mark, now_s, record, history, now_s + ttl_s))

    def _check_new(self, session: str, record: SessionRecord, history: History) -> None:
        opener = self.openers[record.ttl_s]
        if opener.number in self.opened:
            raise Violation("P5", f"{opener.calls[-1]} opens a second session")
        if history not in self._pasts or (history and opener.method != "session.fork"):
            raise Violation("P5", f"session {session} begins with {history}")
        must_not_be_denied(opener)
        self.opened[opener.number] = record, len(self.states(session))

    def _check_turn(
        self,
        session: str,
        before: SessionState,
        record: SessionRecord,
        history: History,
        world: World,
    ) -> None:
        assert before.record is not None
        if history[:-1] != before.history:
            raise Violation("P5", f"after {before.history} session {session} has {history}")
        if record.life != before.record.life or record.turn != before.record.turn + 1:
            raise Violation(
                "P5", f"session {session} is not at the turn after {before.record.turn}: {record}"
            )
        call = self._calls[history[-1]]
        if call.nonce in self.turns:
            raise Violation("P5", f"{call} is made twice: {self.turns[call.nonce]}")
        if not call.is_turn or call.session != session or call.world is not world:
            raise Violation("P5", f"session {session} gets a turn that is not its own: {call}")
        if call.is_denied or _was_abandoned(call):
            raise Violation("P5", f"{call} is stored and was given up ({call.code})")
        program, state = (record.program, record.version), len(self.states(session))
        self.turns[call.nonce] = StoredTurn(session, record.turn, program, state)

    def delete(self, session: str, mark: int, now_s: float) -> None:
        """A session is closed.

        Raises:
            Violation: when nobody has asked for that.
        """
        if all(call.is_denied for call in self.closers.get(session, ())):
            raise Violation("P5", f"session {session} is closed, and nobody asks for that")
        self.states(session).append(SessionState(mark, now_s, None, (), float("inf")))


def _was_abandoned(call: CallRecord) -> bool:
    """Whether its client had given it up before its worker answered."""
    over_s = call.over_s
    ended_s = [sending.ended_s for sending in call.sendings if sending.ended_s is not None]
    return over_s is not None and all(at_s > over_s for at_s in ended_s)


def is_missing(states: Sequence[SessionState], now_s: float) -> bool:
    """Whether a session was not there, at some time while it was in those states."""
    ends_s = [state.since_s for state in states[1:]] + [now_s]
    return any(
        state.record is None or state.over_s <= end_s for state, end_s in zip(states, ends_s, strict=True)
    )
