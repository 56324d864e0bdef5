"""The two state machines of the protocol, as tables.

`CONNECTION` is a connection seen by the side that answers `hello`; `CALL` is one call
seen by its caller. A move that is not in a table is a fault of whoever made it, and
`move` says which. docs/protocol.md sections 4 and 5 are these tables in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar


class ConnectionState(StrEnum):
    """How far a connection is."""

    NEW = "new"
    GREETING = "greeting"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


class ConnectionEvent(StrEnum):
    """What moves a connection."""

    HELLO = "hello"
    WELCOME = "welcome"
    REFUSE = "refuse"
    GOODBYE = "goodbye"
    END = "end"


class CallState(StrEnum):
    """How far a call is."""

    OPEN = "open"
    CANCELLING = "cancelling"
    ENDED = "ended"


class CallEvent(StrEnum):
    """What moves a call."""

    ITEM = "item"
    CANCEL = "cancel"
    OUTCOME = "outcome"


_N, _E = ConnectionState, ConnectionEvent

CONNECTION: Final[Mapping[tuple[ConnectionState, ConnectionEvent], ConnectionState]] = {
    (_N.NEW, _E.HELLO): _N.GREETING,
    (_N.GREETING, _E.WELCOME): _N.OPEN,
    (_N.GREETING, _E.REFUSE): _N.NEW,
    (_N.OPEN, _E.GOODBYE): _N.DRAINING,
    (_N.NEW, _E.END): _N.CLOSED,
    (_N.GREETING, _E.END): _N.CLOSED,
    (_N.OPEN, _E.END): _N.CLOSED,
    (_N.DRAINING, _E.END): _N.CLOSED,
}

_S, _V = CallState, CallEvent

CALL: Final[Mapping[tuple[CallState, CallEvent], CallState]] = {
    (_S.OPEN, _V.ITEM): _S.OPEN,
    (_S.OPEN, _V.CANCEL): _S.CANCELLING,
    (_S.OPEN, _V.OUTCOME): _S.ENDED,
    (_S.CANCELLING, _V.ITEM): _S.CANCELLING,  # it was under way already
    (_S.CANCELLING, _V.CANCEL): _S.CANCELLING,  # repeated: no effect
    (_S.CANCELLING, _V.OUTCOME): _S.ENDED,
}

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


class IllegalMove(Exception):
    """A state machine was asked for a move that its table does not have."""


def move(table: Mapping[tuple[State, Event], State], state: State, event: Event) -> State:
    """Look up where an event leads.

    Raises:
        IllegalMove: naming event and state.
    """
    try:
        return table[state, event]
    except KeyError:
        raise IllegalMove(f"{event!s} is not possible in state {state!s}") from None
