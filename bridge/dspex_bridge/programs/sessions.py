"""Sessions in a worker: conversations, and what stateful modules have made of themselves, by turn.

The supervisor has the last checkpoint of every session in the store. A worker keeps those that it
serves, so that the next turn needs none. A turn works on copies; what it made of them takes the
session's place when its REPLY is written, and never when the call fails or is cancelled. So a
session here is always at the turn that was answered last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args

import dspy
from pydantic_core import PydanticUndefined

from dspex_protocol import (
    NOTE,
    DSPexError,
    Meta,
    Tagged,
    decode_value,
    encode,
    encode_value,
    error,
    invalid_argument,
)
from dspex_protocol.records import Doc, read

from ..refusals import refusal
from ..values.incoming import from_wire
from ..values.outgoing import to_wire
from .live import LiveProgram, digests_of
from .state import dump_state, load_state
from .upgrades import too_new

SCHEMA: Final = 1
"""Version of a checkpoint's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A session at rest, after a turn."""

    history: Annotated[list[dict[str, object]], Doc("of each turn its inputs and its outputs")]
    state: Annotated[dict[str, object], Doc("of the predictors that differ from the program's")] | None
    schema: int
    memory: Annotated[object, Doc("what the module's dump_memory gave")] = None


def read_checkpoint(value: object) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CallerError: `record_too_new`, or `invalid_argument` naming what is wrong with it.
    """
    schema = value.get("schema") if isinstance(value, dict) else None
    if type(schema) is int and schema > SCHEMA:
        raise too_new("checkpoint.schema", schema, SCHEMA)
    return read(Checkpoint, value, "checkpoint")


class Session:
    """A session at one turn. It never changes: after the next turn there is another one.

    Args:
        session: Its id.
        program: Id and version of its program.
        turn: How many turns it has had.
        checkpoint: As it was stored; read when it is first needed.

    Attributes:
        id, program, turn: As given.
    """

    def __init__(self, session: str, program: tuple[str, int], turn: int, checkpoint: object) -> None:
        self.id = session
        self.program = program
        self.turn = turn
        self._checkpoint = checkpoint
        self._messages: list[dict[str, Any]] | None = None
        self._live: LiveProgram | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """What is stored of it.

        Raises:
            CallerError: as `read_checkpoint`, each time.
        """
        if not isinstance(self._checkpoint, Checkpoint):
            self._checkpoint = read_checkpoint(self._checkpoint)
        return self._checkpoint

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The turns so far, as `dspy.History` wants them."""
        if self._messages is None:
            self._messages = [_message(entry) for entry in self.checkpoint.history]
        return self._messages

    def program_for_a_turn(self, stored: LiveProgram) -> LiveProgram:
        """What a turn may run, and change.

        Args:
            stored: The session's program.

        Raises:
            CallerError: `invalid_argument` when the checkpoint does not fit the program.
        """
        if not stored.keeps_state:
            return stored
        if self._live is None:
            self._live = self._restored(stored)
        return self._live.for_one_call()

    def _restored(self, stored: LiveProgram) -> LiveProgram:
        checkpoint = self.checkpoint
        if checkpoint.state is None and checkpoint.memory is None:
            return stored
        state = {**stored.state, **(checkpoint.state or {})}
        loaded = load_state(stored.template.module, state, "checkpoint.state")
        if checkpoint.memory is not None:
            load_memory: Any = getattr(loaded.module, "load_memory", None)
            if load_memory is None:
                raise invalid_argument("checkpoint.memory", "nothing: the module keeps none", "a value")
            load_memory(from_wire(checkpoint.memory, "checkpoint.memory"))
        return LiveProgram(stored.template, loaded.module, loaded.lms)

    def after(self, entry: dict[str, object], ran: LiveProgram, stored: LiveProgram) -> Session:
        """The session with one more turn.

        Args:
            entry: The turn's inputs and outputs, as values of the wire.
            ran: The program as the turn left it.
            stored: The program as it is stored.

        Raises:
            DSPexError: `value_unencodable`, naming what a stateful module has kept that cannot be
                stored; `program_failed` when it has other predictors than before.
        """
        stateful = stored.keeps_state
        checkpoint = Checkpoint(
            history=[*self.checkpoint.history, entry],
            state=_changed(ran, stored) if stateful else None,
            memory=_memory_of(ran.module) if stateful else None,
            schema=SCHEMA,
        )
        following = Session(self.id, self.program, self.turn + 1, checkpoint)
        following._messages = [*self.messages, _message(entry)]
        following._live = ran if stateful else None
        return following

    def note(self, call_id: int) -> bytes:
        """The frame that has the supervisor store this turn.

        Args:
            call_id: Of the call that made it.
        """
        checkpoint: dict[str, object] = {
            "history": self.checkpoint.history,
            "state": self.checkpoint.state,
            "schema": SCHEMA,
        }
        if self.checkpoint.memory is not None:
            checkpoint["memory"] = self.checkpoint.memory
        meta: Meta = {"call": call_id, "session": self.id, "turn": self.turn}
        return encode(NOTE, 0, "session.checkpoint", meta, encode_value(checkpoint))


def _message(entry: Mapping[str, object]) -> dict[str, Any]:
    return {name: from_wire(value, name) for name, value in entry.items()}


def _in_order(value: Any) -> Any:
    """A value of the wire with arrays in the place of sets, whose order is another in each process."""
    match value:
        case set() | frozenset():
            members: set[Any] = {*value}
            return sorted(members, key=lambda member: (type(member).__name__, repr(member)))
        case Tagged():
            return Tagged(value.tag, _in_order(value.value))
        case dict():
            return {key: _in_order(member) for key, member in value.items()}
        case list() | tuple():
            return type(value)(_in_order(member) for member in value)
        case _:
            return value


def _changed(ran: LiveProgram, stored: LiveProgram) -> dict[str, object] | None:
    state = dump_state(ran.module, ran.lms)
    before, after = stored.digests, digests_of(state)
    if state.keys() != before.keys():
        raise error(
            "program_failed",
            f"after the call the module has the predictors {', '.join(state)},"
            f" and before it had {', '.join(before)}; a session cannot keep that",
        )
    changed = {name: own for name, own in state.items() if after[name] != before[name]}
    return changed or None


def _memory_of(module: Any) -> object:
    dump_memory = getattr(module, "dump_memory", None)
    return None if dump_memory is None else to_wire(dump_memory())


# A turn ----------------------------------------------------------------------------------


class Turn:
    """A call within a session.

    Args:
        table: To which the session belongs.
        session: Before the call.
        stored: Its program.
        call_id: The call's.

    Attributes:
        program: What the call runs.

    Raises:
        CallerError: as `Session.program_for_a_turn`.
    """

    def __init__(self, table: SessionTable, session: Session, stored: LiveProgram, call_id: int) -> None:
        self.program = session.program_for_a_turn(stored)
        self._table = table
        self._session = session
        self._stored = stored
        self._call_id = call_id
        self._following: Session | None = None

    def with_history(self, inputs: dict[str, object]) -> dict[str, object]:
        """A call's inputs with the conversation so far, where the signature has an input for it.

        Raises:
            CallerError: `invalid_argument` when the call gives one itself.
        """
        name = _history_input(self._stored.signature)
        if name is None:
            return inputs
        if name in inputs:
            raise refusal(f"inputs.{name}", "nothing: the session has the conversation", "a value")
        return {**inputs, name: dspy.History(messages=self._session.messages)}

    def end(self, inputs: Mapping[str, object], prediction: Mapping[str, object]) -> None:
        """Put the turn together, to be stored when the call is answered.

        Args:
            inputs: As they were checked.
            prediction: All outputs.

        Raises:
            DSPexError: as `Session.after`.
        """
        signature = self._stored.signature
        entry = {**_defaults(signature), **inputs, **prediction}
        entry.pop(_history_input(signature) or "", None)
        # As it will be read from the store, so that a session that moves says the same as one
        # that stays.
        settled: Any = _in_order(decode_value(encode_value(to_wire(entry))))
        self._following = self._session.after(settled, self.program, self._stored)

    def note(self) -> bytes:
        """The frame that goes before the REPLY."""
        assert self._following is not None
        return self._following.note(self._call_id)

    def commit(self) -> None:
        """Let the session be at the new turn.

        Raises:
            CallerError: `unknown_session` when it has gone elsewhere meanwhile.
        """
        assert self._following is not None
        self._table.replace(self._session, self._following)


def _history_input(signature: Any) -> str | None:
    """The input that takes a conversation; DSPy looks for the first."""
    for name, info in signature.input_fields.items():
        if info.annotation is dspy.History or dspy.History in get_args(info.annotation):
            return str(name)
    return None


def _defaults(signature: Any) -> dict[str, object]:
    """What DSPy fills in where a call gives nothing."""
    return {
        name: info.default
        for name, info in signature.input_fields.items()
        if info.default is not PydanticUndefined
    }


# All of them -----------------------------------------------------------------------------


class SessionTable:
    """The sessions that this worker keeps."""

    MAX_SESSIONS: Final = 1024
    """Should the supervisor not say what to forget. The least recently used goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def load(self, meta: Meta, checkpoint: object) -> None:
        """Keep a session; one of the same id is replaced.

        One whose checkpoint cannot be read is kept all the same, so that the calls behind it say
        what is wrong with it.

        Raises:
            CallerError: as `read_checkpoint`, or `invalid_argument` for a meta that names no
                session at a turn.
        """
        name, program, turn = _named(meta)
        session = Session(name, program, turn, checkpoint)
        self._kept[name] = session
        self._kept.move_to_end(name)
        while len(self._kept) > self.MAX_SESSIONS:
            self._kept.popitem(last=False)
        _ = session.checkpoint

    def forget(self, meta: Meta) -> None:
        """Drop a session; nothing when it is not here. A turn that is running ends as it would."""
        self._kept.pop(_text(meta, "session"), None)

    def named(self, meta: Meta) -> Session | None:
        """The session in which a call is made; None for a call without one.

        Raises:
            CallerError: `unknown_session` when it is not here at exactly that turn.
        """
        if "session" not in meta:
            return None
        name, program, turn = _named(meta)
        session = self._kept.get(name)
        if session is None or session.program != program or session.turn != turn:
            raise _unknown(name, turn, session)
        self._kept.move_to_end(name)
        return session

    def replace(self, before: Session, after: Session) -> None:
        """Put a session in the place of what it was a turn ago.

        Raises:
            CallerError: `unknown_session` when another turn has been made of it meanwhile, or
                another checkpoint has come.
        """
        kept = self._kept.get(before.id)
        if kept is before:
            self._kept[before.id] = after
        elif kept is not None:
            raise _unknown(before.id, before.turn, kept)


def _unknown(name: str, turn: int, session: Session | None) -> DSPexError:
    here = "is not here" if session is None else f"is here at turn {session.turn} of {session.program[0]!r}"
    return error(
        "unknown_session",
        f"session {name!r} {here}; wanted at turn {turn}",
        details={"turn": None if session is None else session.turn},
    )


def _named(meta: Meta) -> tuple[str, tuple[str, int], int]:
    """Session, program with version, and turn."""
    program = _text(meta, "program"), _number(meta, "version", 1)
    return _text(meta, "session"), program, _number(meta, "turn", 0)


def _text(meta: Meta, key: str) -> str:
    value = meta.get(key)
    if not isinstance(value, str):
        raise invalid_argument(f"meta.{key}", "a string", value)
    return value


def _number(meta: Meta, key: str, least: int) -> int:
    value = meta.get(key)
    if type(value) is not int or value < least:
        raise invalid_argument(f"meta.{key}", f"an integer from {least}", value)
    return value
