"""The part of the checker that knows the store: holds what clients are told against the ledger."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, cast

from dspex_pool.library.names import Reference
from dspex_pool.library.shelf import HEAD_FRESH_S
from dspex_pool.store.opening import TIMEOUT_S
from dspex_protocol import Meta

from .program_book import HeadState
from .records import CallRecord, Violation
from .session_book import SessionState, is_missing

if TYPE_CHECKING:
    from .world import World

EARLY_S: Final = 0.01
TROUBLED_S: Final = 1.5
"""For so long after trouble with the store a server goes on with what it knows."""
MADE: Final = frozenset(("program.create", "program.update", "program.rollback"))
BEGUN: Final = frozenset(("session.open", "session.fork"))
NOT_AGAIN: Final = frozenset(
    (
        "unknown_program",
        "program_exists",
        "version_conflict",
        "write_id_reused",
        "unknown_session",
        "session_exists",
    )
)
"""What a write that has happened cannot end with when it is asked for again."""

Answer = Mapping[str, object]


class StoredHistory:
    """What has become of the calls of one server that concern the store."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ledger = world.common.ledger
        self._programs = self._ledger.programs
        self._sessions = self._ledger.sessions
        self._floors: dict[CallRecord, int] = {}
        self._session_floors: dict[CallRecord, int] = {}
        self._acknowledged: dict[str, int] = {}  # by session, the newest state that was told
        self._wanted: dict[str, int] = {}  # by session, the worker where it was asked to be
        self._turns: dict[str, list[CallRecord]] = {}  # those without an outcome, as they came
        self._turn_over_s: dict[str, float] = {}

    # What happens to calls

    def arrived(self, call: CallRecord) -> None:
        """The supervisor reads a call."""
        call.mark = self._ledger.mark
        if call.program:
            self._floors[call] = self._world.common.floor(self._world, call.program)
            call.is_known = call.method == "program.predict" and self._world.knows(call.reference)
        if call.session:
            self._session_floors[call] = self._acknowledged.get(call.session, 0)
        if call.is_turn:
            self._turns.setdefault(call.session, []).append(call)

    def sent(self, call: CallRecord, worker: int) -> None:
        """It is given to the worker with that number.

        Raises:
            Violation: when it is another's turn, or its session was asked to be elsewhere.
        """
        if not call.is_turn:
            return
        wanted = self._wanted.get(call.session, worker)
        if wanted != worker and not call.sendings and self._world.has_room(wanted):
            raise Violation("P5", f"{call} runs in worker {worker}, and was to run in {wanted}")
        is_before = True
        for other in self._turns.get(call.session, ()):
            if other is call:
                is_before = False
            elif other.sendings and self._is_stored_for_a_former(other):
                continue  # of that id, which is no more
            elif other.sendings:
                raise Violation("P5", f"{call} runs and so does {other}: turns of session {call.session}")
            elif is_before:
                raise Violation("P5", f"{call} runs before {other}: turns of session {call.session}")

    def _is_stored_for_a_former(self, call: CallRecord) -> bool:
        """Whether a turn is being stored although its session has been closed or forgotten since it came."""
        is_at_work = any(sending.ended_s is None for sending in call.sendings)
        return not is_at_work and self._sessions.was_missing(call.session, call.mark, self._world.outside_s)

    def over(self, call: CallRecord) -> None:
        """It is answered, or nobody waits for it any more."""
        if call.is_turn and call in self._turns.get(call.session, ()):
            self._turns[call.session].remove(call)
            self._turn_over_s[call.session] = self._world.now_s

    def busy_until_s(self, call: CallRecord) -> float:
        """Until when it could not run, since the store was asked for it, or its session had other turns."""
        if call.is_turn and (self._turns.get(call.session) or [call])[0] is not call:
            return self._world.now_s
        turn_over_s = self._turn_over_s.get(call.session, 0.0) if call.is_turn else 0.0
        # Those that are answered from the store wait for each other.
        names = None if call.is_stored else self.names_of(call)
        return max(turn_over_s, self._world.store.busy_until_s(names))

    def names_of(self, call: CallRecord) -> frozenset[str]:
        """What it concerns in the store; of a turn also its session's program."""
        if not call.is_turn:
            return call.names
        return call.names | {f"program/{program}" for program, _ in self._programs_of(call)}

    # What clients are told

    def succeeded(self, call: CallRecord, meta: Meta, value: object) -> None:
        """A call is answered.

        Raises:
            Violation: when that is not true.
        """
        if call.method in BEGUN:
            self._check_opened(call, cast("Answer", value))
        elif call.write is not None:
            self._check_write(call, value)
        elif call.is_turn:
            self._check_turn(call, meta, cast("Answer", value))
        elif call.method == "program.predict":
            self._check_prediction(call, meta, cast("Answer", value))
        elif call.method == "program.get":
            self._check_get(call, cast("Answer", value))
        elif call.method == "program.list":
            self._check_list(call, cast("Answer", value))
        elif call.method == "state.migrate":
            self._wanted[call.session] = cast("int", cast("Answer", value)["worker"])
        elif call.method == "session.close":
            self._wanted.pop(call.session, None)
            if all(state.record is not None for state in self._sessions.since(call.session, call.mark)[1:]):
                raise Violation("P5", f"{call} is acknowledged and has not happened")
        elif call.method == "session.get":
            self._check_session(call, cast("Answer", value))
        elif call.method == "session.list":
            self._check_sessions(call, cast("Answer", value))

    def failed(self, call: CallRecord) -> None:
        """A call has failed.

        Raises:
            Violation: when it is said to have had no effect, and has had one.
        """
        write = call.write
        if write is not None:
            applied = self._ledger.applied.get(write.id or "")
            made = write.number in self._programs.made or write.number in self._sessions.opened
            if write.is_denied and (made or applied is not None):
                raise Violation("P5", f"{call} was told {call.code}, and that it has no effect; it has one")
            if applied is not None and applied <= call.mark and call.code in NOT_AGAIN:
                raise Violation("P5", f"{call} was made before, and made again it fails with {call.code}")
        elif call.is_denied and call.nonce in self._sessions.turns:
            raise Violation("P5", f"{call} was told {call.code}, and that it has no effect; it has one")

    # Programs

    def _check_write(self, call: CallRecord, value: object) -> None:
        write = call.write
        assert write is not None
        program, state = call.program, None
        if call.method in MADE:
            assert isinstance(value, dict)
            program, version = value["program"], value["version"]
            if self._programs.made.get(write.number) == (program, version):
                state = self._programs.begun(program, version)
        elif write.id is not None:
            mark = self._ledger.applied.get(write.id)
            state = None if mark is None else self._programs.at_mark(program, mark)
        else:
            state = self._first_after(call, program)
        if state is None:
            raise Violation("P5", f"{call} is acknowledged with {value} and is not stored")
        self._world.common.raise_floor(self._world, program, state)

    def _first_after(self, call: CallRecord, program: str) -> int | None:
        """The first state that could be of the call's making; writes without an id cannot be told apart."""
        states = self._programs.states(program)
        for number in range(self._programs.at_mark(program, call.mark) + 1, len(states)):
            if _is_done(call, states[number]):
                return number
        return None

    def _check_prediction(self, call: CallRecord, meta: Meta, value: Answer) -> None:
        program, version = str(meta.get("program")), meta.get("version")
        self._check_ran(call, program, version, value)
        if program != call.program or all(
            state.resolve(call.reference) != version for state in self.possible(call)
        ):
            raise Violation(
                "P5", f"{call} ran on version {version} of {program}, and {call.reference} was asked"
            )

    def _check_ran(self, call: CallRecord, program: str, version: object, value: Answer) -> None:
        stored = self._programs.versions.get((program, version)) if isinstance(version, int) else None
        if stored is None or value.get("record") != stored.record:
            raise Violation("P2", f"{call} says version {version} of {program} and ran {value.get('record')}")

    def possible(self, call: CallRecord) -> list[HeadState]:
        """What a call's program may be for it: not older than what is acknowledged, nor than a second."""
        return self.states_since(call, self._oldest(call))

    def states_since(self, call: CallRecord, number: int) -> list[HeadState]:
        """All that its program has been since a state of it."""
        return self._programs.states(call.program)[number:]

    def _oldest(self, call: CallRecord) -> int:
        floor = self._floors.get(call, 0)
        arrived_s = call.arrived_s
        assert arrived_s is not None
        if call.version is not None or self._world.store.was_in_trouble(arrived_s - TROUBLED_S):
            return floor
        fresh_s = self._world.loop.outside_at(arrived_s - HEAD_FRESH_S - EARLY_S)
        return max(floor, self._programs.at_time(call.program, fresh_s))

    def seen(self, call: CallRecord, program: str) -> list[HeadState]:
        """What the store may have said of a program, to a call that asked it."""
        return self._programs.states(program)[self._programs.at_mark(program, call.mark) :]

    def _check_get(self, call: CallRecord, value: Answer) -> None:
        version, spec = value["version"], cast("Answer", value["spec"])
        self._check_ran(call, call.program, version, spec)
        for state in self.seen(call, call.program):
            if state.resolve(call.reference) == version and state.head is not None:
                head = state.head
                if (head.newest, head.tags_of(int(str(version)))) == (value["newest"], value["tags"]):
                    return
        raise Violation("P5", f"{call} is told {value}, which {call.program} was not")

    def _check_list(self, call: CallRecord, value: Answer) -> None:
        rows = {str(row["program"]): row for row in cast("list[Answer]", value["programs"])}
        for program in self._programs.names:
            states = self.seen(call, program)
            row = rows.pop(program, None)
            if row is None:
                is_true = any(state.head is None for state in states)
            else:
                told = row["version"], row["tags"]
                is_true = any(
                    state.head is not None and (state.head.newest, state.head.tags) == told
                    for state in states
                )
            if not is_true:
                raise Violation("P5", f"{call} lists {program} as {row}, which it was not")
        if rows:
            raise Violation("P5", f"{call} lists {rows}, which there are not")

    # Sessions

    def _check_turn(self, call: CallRecord, meta: Meta, value: Answer) -> None:
        stored = self._sessions.turns.get(call.nonce)
        if stored is None or (stored.session, stored.number) != (meta.get("session"), meta.get("turn")):
            raise Violation("P5", f"{call} is answered as turn {meta.get('turn')} and stored as {stored}")
        program, version = stored.program
        if (meta.get("program"), meta.get("version")) != (program, version):
            raise Violation("P5", f"{call} ran on {meta}, and its session is with {stored.program}")
        self._check_ran(call, program, version, value)
        self._acknowledged[call.session] = max(stored.state, self._acknowledged.get(call.session, 0))

    def _check_opened(self, call: CallRecord, value: Answer) -> None:
        assert call.write is not None
        opened = self._sessions.opened.get(call.write.number)
        if opened is None:
            raise Violation("P5", f"{call} is acknowledged and is not stored")
        record, state = opened
        session = str(value["session"])
        self._acknowledged[session] = max(state, self._acknowledged.get(session, 0))
        told = value["program"], value["version"], value["turn"], value["ttl_s"]
        if told != (record.program, record.version, record.turn, record.ttl_s):
            raise Violation("P5", f"{call} is told {value} and stored as {record}")
        if call is not call.write.calls[0]:
            return  # what it was made from may be gone since
        if call.method == "session.open":
            reference = call.reference
            if all(state.resolve(reference) != record.version for state in self.possible(call)):
                raise Violation("P5", f"{call} is opened on {record.version}, and {reference} was asked")
        elif all(
            state.record is None or state.record.turn != record.turn for state in self._known_states(call)
        ):
            raise Violation("P5", f"{call} begins at turn {record.turn}, at which {call.session} was not")

    def _check_session(self, call: CallRecord, value: Answer) -> None:
        told = value["turn"], tuple(cast("list[int]", value["history"]))
        for state in self._known_states(call):
            if state.record is not None and (state.record.turn, state.history) == told:
                return
        raise Violation("P5", f"{call} is told {told}, which session {call.session} was not")

    def _known_states(self, call: CallRecord) -> list[SessionState]:
        """What a server may take a session for: not for less than it has acknowledged."""
        states = self._sessions.states(call.session)
        if self.was_elsewhere(call):
            return states  # whoever has lost a session goes on with it until it notices
        return self._states_lately(call, TIMEOUT_S)

    def _states_lately(self, call: CallRecord, for_s: float) -> list[SessionState]:
        states = self._sessions.states(call.session)
        assert call.arrived_s is not None
        since_s = self._world.loop.outside_at(call.arrived_s - for_s)
        oldest = bisect_right(states, since_s, key=lambda state: state.since_s) - 1
        return states[max(0, oldest, self._session_floors.get(call, 0)) :]

    def may_be_unknown(self, call: CallRecord) -> bool:
        """Whether a call's session may have been missing, as far as its server can know."""
        shared = self._world.common.servers > 1
        return is_missing(self._states_lately(call, FORMER_S if shared else TIMEOUT_S), self._world.outside_s)

    def _check_sessions(self, call: CallRecord, value: Answer) -> None:
        now_s = self._world.outside_s
        rows = {str(row["session"]): row for row in cast("list[Answer]", value["sessions"])}
        for session in self._sessions.names:
            row = rows.pop(session, None)
            states = self._sessions.since(session, call.mark)
            if row is None:
                is_true = self._sessions.was_missing(session, call.mark, now_s)
            else:
                is_true = any(
                    state.record is not None and state.record.turn == row["turn"] for state in states
                )
            if not is_true:
                raise Violation("P5", f"{call} lists {session} as {row}, which it was not")
        if rows:
            raise Violation("P5", f"{call} lists {rows}, which there are not")

    def was_elsewhere(self, call: CallRecord, session: str | None = None) -> bool:
        """Whether another server has had a session lately; that of the call, where none is named."""
        assert call.arrived_s is not None
        # By the server's own time: while its machine slept it could notice nothing.
        since_s = self._world.loop.outside_at(call.arrived_s - LOST_S)
        return self._ledger.was_others(self._world, session or call.session, since_s)

    def resolves_not(self, call: CallRecord) -> bool:
        """Whether there may have been no such program for a call."""
        if call.is_turn:
            return any(self._is_gone(*program) for program in self._programs_of(call))
        asks_store = call.is_stored and call.method != "session.open"
        states = self.seen(call, call.program) if asks_store else self.possible(call)
        return any(state.resolve(call.reference) is None for state in states)

    def _programs_of(self, call: CallRecord) -> Iterable[tuple[str, int]]:
        # Of all that the session ever was: that it is closed may not be known.
        for state in self._sessions.states(call.session):
            if state.record is not None:
                yield state.record.program, state.record.version

    def _is_gone(self, program: str, version: int) -> bool:
        return self._programs.now(program).resolve(Reference(program, version)) is None


FORMER_S: Final = 4.0
"""For so long a session whose time is over may be taken for what it was, though another server has
opened one of its id."""

LOST_S: Final = 30.0
"""How long ago another server may have had a session that this one takes for its own."""


def _is_done(call: CallRecord, state: HeadState) -> bool:
    """Whether a state is as a write wanted it."""
    write, head = call.write, state.head
    assert write is not None
    if call.method == "program.delete":
        return head is None
    tag = str(write.payload["tag"])
    if head is None:
        return False
    return head.tags.get(tag) == (call.version if call.method == "program.tag" else None)
