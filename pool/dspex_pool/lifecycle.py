"""Worker states and the moves between them: one table, applied in one place."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from dspex_protocol.states import move


class WorkerState(StrEnum):
    """What a worker is doing."""

    STARTING = "starting"  # its process is not there or has not answered hello
    READY = "ready"  # it has nothing to do
    BUSY = "busy"  # it has calls
    DRAINING = "draining"  # it gets no more calls
    GONE = "gone"


class WorkerEvent(StrEnum):
    """What moves a worker."""

    GREETED = "greeted"
    TAKE = "take"
    EMPTY = "empty"
    DRAIN = "drain"
    RETURN = "return"  # its successor was of no use
    DIE = "die"


_S, _E = WorkerState, WorkerEvent

WORKER: Final[Mapping[tuple[WorkerState, WorkerEvent], WorkerState]] = {
    (_S.STARTING, _E.GREETED): _S.READY,
    (_S.STARTING, _E.DRAIN): _S.DRAINING,
    (_S.STARTING, _E.DIE): _S.GONE,
    (_S.READY, _E.TAKE): _S.BUSY,
    (_S.READY, _E.DRAIN): _S.DRAINING,
    (_S.READY, _E.DIE): _S.GONE,
    (_S.BUSY, _E.TAKE): _S.BUSY,
    (_S.BUSY, _E.EMPTY): _S.READY,
    (_S.BUSY, _E.DRAIN): _S.DRAINING,
    (_S.BUSY, _E.DIE): _S.GONE,
    (_S.DRAINING, _E.EMPTY): _S.DRAINING,
    (_S.DRAINING, _E.DRAIN): _S.DRAINING,
    (_S.DRAINING, _E.RETURN): _S.READY,
    (_S.DRAINING, _E.DIE): _S.GONE,
}

ACCEPTING: Final = frozenset((WorkerState.READY, WorkerState.BUSY))
"""States in which a worker may be given calls."""


def after(state: WorkerState, event: WorkerEvent) -> WorkerState:
    """The state that follows.

    Raises:
        IllegalMove: naming event and state.
    """
    return move(WORKER, state, event)
