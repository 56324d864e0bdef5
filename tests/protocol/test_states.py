"""The state tables, walked."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import product
from typing import Any

import pytest

from dspex_protocol.states import (
    CALL,
    CONNECTION,
    CallEvent,
    CallState,
    ConnectionEvent,
    ConnectionState,
    IllegalMove,
    move,
)

TABLES = [(CONNECTION, ConnectionState, ConnectionEvent), (CALL, CallState, CallEvent)]
EVERY_MOVE = [
    pytest.param(table, state, event, id=f"{state}-{event}")
    for table, states, events in TABLES
    for state, event in product(states, events)
]


@pytest.mark.parametrize(("table", "state", "event"), EVERY_MOVE)
def test_each_pair_is_a_move_or_illegal(table: Mapping[Any, Any], state: Any, event: Any) -> None:
    """What is in the table leads where it says; all else raises with event and state in the text."""
    if (state, event) in table:
        assert table[state, event] is move(table, state, event)
    else:
        with pytest.raises(IllegalMove, match=f"{event} .* {state}"):
            move(table, state, event)


@pytest.mark.parametrize("state", [state for state in ConnectionState if state != ConnectionState.CLOSED])
def test_every_connection_can_end(state: ConnectionState) -> None:
    """End of file closes a connection in any state."""
    assert move(CONNECTION, state, ConnectionEvent.END) is ConnectionState.CLOSED


def test_nothing_leaves_the_last_states() -> None:
    """Closed is closed, and an ended call never moves again."""
    assert not [state for state, _ in CONNECTION if state is ConnectionState.CLOSED]
    assert not [state for state, _ in CALL if state is CallState.ENDED]


@pytest.mark.parametrize(("table", "states"), [(CONNECTION, ConnectionState), (CALL, CallState)])
def test_every_state_is_reached(table: Mapping[Any, Any], states: type[StrEnum]) -> None:
    """No state is there in vain."""
    assert set(states) == {next(iter(states)), *table.values()}


def test_a_refused_hello_may_be_repeated() -> None:
    """After a failed handshake the connection is as new."""
    greeting = move(CONNECTION, ConnectionState.NEW, ConnectionEvent.HELLO)
    assert ConnectionState.NEW is move(CONNECTION, greeting, ConnectionEvent.REFUSE)


def test_cancel_is_idempotent() -> None:
    """A second CANCEL changes nothing, and one outcome still comes."""
    state = CallState.OPEN
    for event in (CallEvent.CANCEL, CallEvent.CANCEL, CallEvent.ITEM, CallEvent.OUTCOME):
        state = move(CALL, state, event)
    assert CallState.ENDED is state
