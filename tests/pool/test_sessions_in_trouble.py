"""Sessions when the store fails or is slow, when a lease was over, and when they are closed in a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.support.fakes import Client, FakeWorker, Frame, Room, body_of
from tests.support.tasks import HandPromise

from dspex_pool import placing, session_records
from dspex_pool.session_leases import LEASE_S
from dspex_pool.session_records import key_of, lease_of
from dspex_pool.store import Change, Fence, Key, Lease, Put, Record, StoreError, Unavailable
from dspex_pool.store.memory import MemoryStore
from dspex_protocol import NOTE

LOST = Unavailable("its answer was lost", maybe_applied=True)


class Frail(MemoryStore):
    """A store that fails, or waits, when the test says so.

    Attributes:
        fails: By the name of an operation, what it raises the next time, once it has been done.
        waits: The names of operations that wait for `wake`.
    """

    def prepare(self) -> None:
        self.fails: dict[str, StoreError] = {}
        self.waits: set[str] = set()
        self.sleepers: list[HandPromise[None]] = []

    async def _pass(self, name: str) -> None:
        if name in self.waits:
            sleeper: HandPromise[None] = HandPromise()
            self.sleepers.append(sleeper)
            await sleeper

    def _fail(self, name: str) -> None:
        if name in self.fails:
            raise self.fails.pop(name)

    def wake(self) -> None:
        """The operation that has waited longest goes on."""
        self.sleepers.pop(0).set_result(None)

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        await self._pass("get")
        found = await super().get(keys)
        await self._pass("late get")
        self._fail("get")
        return found

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        await self._pass("commit")
        revisions = await super().commit(changes, fences)
        self._fail("commit")
        return revisions

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        await self._pass("lease")
        lease = await super().lease(name, owner, ttl_s)
        self._fail("lease")
        return lease

    async def release(self, lease: Lease) -> None:
        await self._pass("release")
        await super().release(lease)
        self._fail("release")


@pytest.fixture
def room() -> Room:
    room = Room(workers=2, calls_per_worker=8, store=Frail)
    store_of(room).prepare()
    room.store("chat")
    return room


@pytest.fixture
def store(room: Room) -> Frail:
    return store_of(room)


@pytest.fixture
def client(room: Room) -> Client:
    client = room.add_client()
    open_session(client)
    return client


def store_of(room: Room) -> Frail:
    assert isinstance(room.memory, Frail)
    return room.memory


def open_session(client: Client, session: str = "s", **payload: object) -> None:
    call = client.call("session.open", payload, program="chat", session=session)
    assert session == client.outcome(call).fields["session"]


def ask(client: Client, session: str = "s") -> int:
    """A turn."""
    return client.call("program.predict", {"inputs": {}}, session=session, deadline_ms=1_000_000)


def close(client: Client) -> int:
    return client.call("session.close", {}, session="s")


def at_work(room: Room) -> tuple[FakeWorker, Frame]:
    """Who has the newest turn that runs, and what it was asked."""
    running = [
        (worker, frame)
        for worker in room.workers
        for frame in worker.calls("program.predict")
        if frame.id in worker.worker.calls
    ]
    return running[-1]


def end_turn(room: Room, *history: str) -> None:
    """The turn that runs ends as it should."""
    worker, frame = at_work(room)
    turn = int(str(frame.meta["turn"])) + 1
    meta: dict[str, object] = {"call": frame.id, "session": frame.meta["session"], "turn": turn}
    value = {"history": list(history), "state": None, "schema": 1}
    worker.give(body_of(NOTE, 0, "session.checkpoint", meta, value))  # type: ignore[arg-type]
    worker.reply(frame.id)


def history_of(client: Client) -> object:
    return client.outcome(client.call("session.get", {}, session="s")).fields["history"]


def live(room: Room) -> session_records.SessionRecord:
    """What this server takes the session for."""
    session = room.switchboard.stored.sessions.live("s")
    assert session is not None
    assert session.record is not None
    return session.record


def told(client: Client, call: int) -> tuple[object, object]:
    """Code and `maybe_executed` of a call that failed."""
    failure = client.outcome(call)
    return failure.code, failure.fields["maybe_executed"]


def is_elsewhere(room: Room, *changes: Change) -> None:
    """This server does nothing for longer than its lease lasts; another one has the session meanwhile."""
    room.clock.now_s += LEASE_S + 1

    async def go_on() -> None:
        lease = await room.memory.lease(lease_of("s"), "another", LEASE_S)
        if changes:
            await room.memory.commit(changes)
        await room.memory.release(lease)

    room.tasks.start(go_on())


# Closing


def test_the_turns_of_a_session_that_is_closed_end_with_it(room: Room, client: Client) -> None:
    """The one that runs is stopped, since it would be made for nothing."""
    turns = [ask(client), ask(client)]
    worker, frame = at_work(room)
    assert None is client.outcome(close(client)).value
    assert [("unknown_session", True), ("unknown_session", False)] == [told(client, turn) for turn in turns]
    assert [frame.id] == worker.cancels()


def test_a_turn_that_is_stored_while_its_session_is_closed_is_what_the_store_says(
    room: Room, store: Frail, client: Client
) -> None:
    """Not taken for another server's doing either."""
    turn = ask(client)
    store.waits.add("commit")
    end_turn(room, "one")
    store.waits.clear()
    assert None is client.outcome(close(client)).value
    assert [] == client.outcomes(turn)
    store.wake()
    assert ("unknown_session", True) == told(client, turn)


def test_a_turn_that_waits_for_a_worker_ends_with_its_session(room: Room, client: Client) -> None:
    """It is not made for nothing, beside the turns of one that may be opened anew."""
    for worker in room.workers:
        room.retire(worker)
    turn = ask(client)
    client.call("session.close", {}, session="s")
    assert ("unknown_session", False) == told(client, turn)
    assert [] == room.add_worker().calls("program.predict")


def test_a_session_that_could_not_be_closed_goes_on(room: Room, store: Frail, client: Client) -> None:
    """With the turn that runs, and those behind it."""
    turns = [ask(client), ask(client)]
    store.waits.add("commit")
    refused = close(client)
    store.sleepers.pop().set_exception(Unavailable("it cannot be reached"))
    store.waits.clear()
    assert ("store_unavailable", False) == told(client, refused)
    end_turn(room, "one")
    end_turn(room, "one", "two")
    assert [1, 2] == [client.outcome(turn).meta["turn"] for turn in turns]


def test_a_session_that_may_be_closed_is_looked_for_before_its_next_turn(
    room: Room, store: Frail, client: Client
) -> None:
    """Which would be made for nothing where it is."""
    ask(client)
    end_turn(room, "one")
    store.fails["commit"] = LOST
    assert ("store_unavailable", True) == told(client, close(client))
    assert ("unknown_session", False) == told(client, ask(client))


def test_what_cannot_be_given_back_is_closed_all_the_same(store: Frail, client: Client) -> None:
    """Nobody waits for that, and a lease ends by itself. What is not there is as little the store's fault."""
    store.fails["release"] = LOST
    assert None is client.outcome(close(client)).value
    store.fails["release"] = LOST
    assert ("unknown_session", False) == told(client, ask(client))


def test_a_session_that_is_opened_anew_is_not_the_former_one(room: Room, client: Client) -> None:
    """Whose time was over while a turn of it ran."""
    open_session(client, "t", ttl_s=5)
    late = ask(client, "t")
    room.clock.now_s += 6
    open_session(client, "t")
    turn = ask(client, "t")
    end_turn(room, "new")
    assert 1 == client.outcome(turn).meta["turn"]
    end_turn(room, "old")
    assert ("unknown_session", True) == told(client, late)


def test_a_session_is_there_for_whoever_comes_after_it_was_opened(
    room: Room, store: Frail, client: Client
) -> None:
    """Also where the store was asked for it before that, and has not answered yet."""
    store.waits.add("late get")
    early = ask(client, "t")
    store.waits.clear()
    open_session(client, "t")
    turn = ask(client, "t")
    move = client.call("state.migrate", {"worker": 1}, session="t")
    store.wake()
    assert ("unknown_session", False) == told(client, early)
    end_turn(room, "hi")
    assert 1 == client.outcome(turn).meta["turn"]
    assert {"session": "t", "worker": 1} == client.outcome(move).value


# Turns that are not kept


def test_only_the_turn_that_cannot_be_kept_fails_for_want_of_a_checkpoint(room: Room, client: Client) -> None:
    """Who waits behind it is none the wiser."""
    turns = [ask(client), ask(client)]
    worker, frame = at_work(room)
    worker.reply(frame.id)
    assert ("internal", True) == told(client, turns[0])
    end_turn(room, "two")
    assert 1 == client.outcome(turns[1]).meta["turn"]


def test_a_turn_of_which_nobody_knows_comes_no_later(room: Room, store: Frail, client: Client) -> None:
    """The next one has another epoch, so that a write which is still on its way is refused."""

    def epoch() -> int:
        session = room.switchboard.stored.sessions.live("s")
        assert session is not None
        assert session.lease is not None
        return session.lease.epoch

    turn = ask(client)
    first = epoch()
    store.fails["commit"] = LOST
    end_turn(room, "one")
    assert ("store_unavailable", True) == told(client, turn)
    ask(client)
    assert epoch() > first


def test_a_turn_that_its_client_gives_up_while_it_is_stored_is_kept(
    room: Room, store: Frail, client: Client
) -> None:
    """The client is told that it may be; the next turn comes after it, and not beside it."""
    turns = [ask(client), ask(client)]
    store.waits.add("commit")
    end_turn(room, "one")
    client.cancel(turns[0])
    room.pass_time(0.05)
    assert ("cancelled", True) == told(client, turns[0])
    store.waits.clear()
    store.wake()
    end_turn(room, "one", "two")
    assert (2, ["one", "two"]) == (client.outcome(turns[1]).meta["turn"], history_of(client))


# Leases


def test_who_takes_a_session_again_waits_until_it_was_given_back(
    room: Room, store: Frail, client: Client
) -> None:
    """Else what is on its way back would end what was taken."""
    ask(client)
    end_turn(room, "one")
    store.waits.add("release")
    for _ in range(4):
        room.pass_time(1.0)
    assert 0 == len(room.switchboard.stored.sessions)
    turn = ask(client)
    store.wake()
    end_turn(room, "one", "two")
    assert 2 == client.outcome(turn).meta["turn"]
    another = room.memory.lease(lease_of("s"), "another", LEASE_S)
    with pytest.raises(StoreError):
        another.send(None)


def test_a_lease_that_was_over_is_taken_again(room: Room, client: Client) -> None:
    """Nobody has made turns meanwhile: the one that runs is kept."""
    turn = ask(client)
    is_elsewhere(room)
    room.pass_time(1.0)
    end_turn(room, "one")
    assert 1 == client.outcome(turn).meta["turn"]


def test_a_turn_is_kept_whose_lease_is_taken_again_while_it_is_stored(
    room: Room, store: Frail, client: Client
) -> None:
    """Its commit has the former epoch, and is refused; it is made again with the one of today."""
    turn = ask(client)
    is_elsewhere(room)
    store.waits.add("commit")
    end_turn(room, "one")
    store.waits.clear()
    room.pass_time(1.0)
    store.wake()
    assert 1 == client.outcome(turn).meta["turn"]


def test_a_session_that_was_anothers_meanwhile_is_not_gone_on_with(room: Room, client: Client) -> None:
    """Not even where it is at the same revision again, having been closed and opened anew."""
    turns = [ask(client), ask(client)]
    record = replace(live(room), life="another's")
    is_elsewhere(room, Put(key=key_of("s"), body=b"", ttl_s=0.001))
    is_elsewhere(room, Put(key=key_of("s"), body=session_records.write("s", record), expect=0, ttl_s=100))
    room.pass_time(1.0)
    assert ("unknown_session", False) == told(client, turns[1])
    end_turn(room, "one")
    assert ("unknown_session", True) == told(client, turns[0])
    assert [] == history_of(client)


def test_a_session_of_which_another_has_made_turns_is_read_again(room: Room, client: Client) -> None:
    """Those that run or wait here are not kept."""
    turns = [ask(client), ask(client)]
    record = replace(live(room), turn=1)
    is_elsewhere(room, Put(key=key_of("s"), body=session_records.write("s", record), ttl_s=100))
    room.pass_time(1.0)
    assert ("session_busy", False) == told(client, turns[1])
    end_turn(room, "one")
    assert ("session_busy", True) == told(client, turns[0])
    turn = ask(client)
    end_turn(room, "elsewhere", "one")
    assert 2 == client.outcome(turn).meta["turn"]


# Memory of workers


def test_a_worker_forgets_before_it_is_given_more(
    room: Room, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But no session with a turn there: what that makes of it would be nowhere."""
    monkeypatch.setattr(placing, "MAX_SESSIONS", 1)
    room.retire(room.workers[1])
    open_session(client, "t")
    open_session(client, "u")
    ask(client)
    ask(client, "t")
    worker, _ = at_work(room)
    assert [] == worker.calls("session.forget")
    end_turn(room, "one")  # of t
    ask(client, "u")
    names = [
        (frame.method, frame.meta["session"])
        for frame in worker.calls()
        if frame.method in ("session.load", "session.forget")
    ]
    assert [("session.forget", "t"), ("session.load", "u")] == names[-2:]


def test_a_worker_forgets_what_it_made_of_a_turn_that_is_not_kept(room: Room, client: Client) -> None:
    """Else it would keep one more session with each of them, and nobody would know."""
    turn = ask(client)
    worker, _ = at_work(room)
    client.cancel(turn)
    room.pass_time(0.05)
    assert ["s"] == [frame.meta["session"] for frame in worker.calls("session.forget")]
    assert "s" not in worker.worker.sessions
