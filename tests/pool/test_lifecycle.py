"""A worker's states: the table, walked."""

from __future__ import annotations

import itertools

import pytest
from tests.support.fakes import Room

from dspex_pool.lifecycle import ACCEPTING, WORKER, WorkerEvent, WorkerState, after
from dspex_pool.worker import CLOGGED_BYTES
from dspex_protocol.states import IllegalMove


@pytest.mark.parametrize(("state", "event"), list(itertools.product(WorkerState, WorkerEvent)))
def test_each_move_is_in_the_table_or_named(state: WorkerState, event: WorkerEvent) -> None:
    """A move that is not there raises with state and event in its text."""
    if (state, event) in WORKER:
        assert WORKER[state, event] is after(state, event)
    else:
        with pytest.raises(IllegalMove, match=f"{event}.*{state}"):
            after(state, event)


def test_every_state_can_be_reached_and_left_for_gone() -> None:
    """But the last, which has no way out."""
    reached = {WorkerState.STARTING, *WORKER.values()}
    assert set(WorkerState) == reached
    for state in set(WorkerState) - {WorkerState.GONE}:
        assert WorkerState.GONE is after(state, WorkerEvent.DIE)
    assert not [event for state, event in WORKER if state is WorkerState.GONE]


def test_a_draining_worker_accepts_again_only_when_it_returns() -> None:
    """Whatever else happens to it."""
    events = {event for state, event in WORKER if state is WorkerState.DRAINING}
    accepting = {event for event in events if after(WorkerState.DRAINING, event) in ACCEPTING}
    assert {WorkerEvent.RETURN} == accepting


def test_a_worker_is_busy_while_it_has_calls() -> None:
    """And ready when the last has ended."""
    room = Room()
    client, fake = room.add_client(), room.workers[0]
    states = [fake.worker.state]
    for step in (client.call, client.call, lambda: fake.reply(1), lambda: fake.reply(2)):
        step()
        states.append(fake.worker.state)
    ready, busy = WorkerState.READY, WorkerState.BUSY
    assert [ready, busy, busy, busy, ready] == states


def test_ids_on_a_workers_link_only_grow() -> None:
    """So that `up_to` can say which calls have begun."""
    room = Room()
    client, fake = room.add_client(), room.workers[0]
    for n in range(1, 4):
        client.call()
        fake.reply(n)
    assert [1, 2, 3] == [frame.id for frame in fake.calls()]


def test_a_worker_is_clogged_beyond_a_bound() -> None:
    """Not at it."""
    fake = Room().workers[0]
    clogged: list[bool] = []
    for unread in (CLOGGED_BYTES, CLOGGED_BYTES + 1):
        fake.link.unread = unread
        clogged.append(fake.worker.is_clogged)
    assert [False, True] == clogged
