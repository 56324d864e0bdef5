"""Sessions: turn after turn, each stored before it is answered, in whatever worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tests.support.fakes import Client, FakeWorker, Frame, Room, body_of
from tests.support.tasks import HandPromise

from dspex_pool.session_methods import BATCH
from dspex_pool.session_records import key_of, lease_of
from dspex_pool.store import Change, Fence, Lease, Put, StoreError, Unavailable
from dspex_pool.store.memory import MemoryStore
from dspex_pool.stored_calls import MAX_WAITING
from dspex_protocol import FAIL, NOTE


@pytest.fixture
def room() -> Room:
    room = Room(workers=2, calls_per_worker=8)
    room.store("chat")
    return room


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


def open_session(client: Client, session: str = "s", **payload: object) -> Frame:
    return client.outcome(client.call("session.open", payload, program="chat", session=session))


def ask(client: Client, text: str, session: str = "s", **meta: object) -> int:
    """A turn."""
    return client.call("program.predict", {"inputs": {"q": text}}, session=session, **meta)


def at_work(room: Room) -> tuple[FakeWorker, Frame]:
    """Who has the turn that runs, and what it was asked."""
    ((worker, frame),) = [
        (worker, frame)
        for worker in room.workers
        for frame in worker.calls("program.predict")
        if frame.id in worker.worker.calls
    ]
    return worker, frame


def end_turn(room: Room, history: object, answer: object = "well") -> FakeWorker:
    """The turn that runs ends as it should; returns who ran it."""
    worker, frame = at_work(room)
    checkpoint(worker, frame, history)
    worker.reply(frame.id, answer)
    return worker


def checkpoint(worker: FakeWorker, frame: Frame, history: object, turn: int | None = None) -> None:
    number = int(str(frame.meta["turn"])) + 1 if turn is None else turn
    meta: dict[str, object] = {"call": frame.id, "session": frame.meta["session"], "turn": number}
    value = {"history": history, "state": None, "schema": 1}
    worker.give(body_of(NOTE, 0, "session.checkpoint", meta, value))  # type: ignore[arg-type]


def history_of(client: Client, session: str = "s") -> object:
    return client.outcome(client.call("session.get", {}, session=session)).fields["history"]


def loads(worker: FakeWorker) -> list[tuple[object, object]]:
    """Turn and history of each session that it was sent."""
    return [(frame.meta["turn"], frame.fields["history"]) for frame in worker.calls("session.load")]


def test_a_session_talks_to_the_version_that_was_there(client: Client) -> None:
    """Whatever becomes the newest later; and its id is taken."""
    opened = open_session(client).fields
    assert ("s", "chat", 1, 0) == tuple(opened[key] for key in ("session", "program", "version", "turn"))
    assert "session_exists" == open_session(client).code


def test_a_turn_is_stored_before_it_is_answered(room: Room, client: Client) -> None:
    """And the reply says which turn it was."""
    open_session(client)
    call = ask(client, "hi")
    end_turn(room, ["hi"])
    assert ("s", 1) == (client.outcome(call).meta["session"], client.outcome(call).meta["turn"])
    assert ["hi"] == history_of(client)


def test_the_worker_that_has_a_session_gets_its_next_turn(room: Room, client: Client) -> None:
    """It needs no second load."""
    open_session(client)
    ask(client, "one")
    worker = end_turn(room, ["one"])
    ask(client, "two")
    assert worker is at_work(room)[0]
    assert [(0, [])] == loads(worker)


def test_another_worker_is_sent_the_last_turn(room: Room, client: Client) -> None:
    """After the death of the one that had it."""
    open_session(client)
    ask(client, "one")
    end_turn(room, ["one"]).die()
    call = ask(client, "two")
    other = end_turn(room, ["one", "two"])
    assert [(1, ["one"])] == loads(other)
    assert 2 == client.outcome(call).meta["turn"]


def test_a_death_in_the_middle_of_a_turn_repeats_it(room: Room, client: Client) -> None:
    """From the turn before, also where the dead one had said what to store."""
    open_session(client)
    call = ask(client, "one")
    worker, frame = at_work(room)
    checkpoint(worker, frame, ["lost"])
    worker.die()
    other = end_turn(room, ["one"])
    assert [(0, [])] == loads(other)
    assert (1, ["one"]) == (client.outcome(call).meta["turn"], history_of(client))


def test_turns_run_one_after_another(room: Room, client: Client) -> None:
    """In the order in which they came; other sessions do not wait for them."""
    open_session(client)
    open_session(client, "t")
    calls = [ask(client, "one"), ask(client, "two")]
    (frame,) = [frame for worker in room.workers for frame in worker.calls("program.predict")]
    assert {"inputs": {"q": "one"}} == frame.value
    end_turn(room, ["one"])
    end_turn(room, ["one", "two"])
    assert [1, 2] == [client.outcome(call).meta["turn"] for call in calls]


def test_a_turn_that_fails_leaves_the_session_as_it_was(room: Room, client: Client) -> None:
    """Also where the worker is ahead of the store: it is sent the last turn again."""
    open_session(client)
    failed = ask(client, "one")
    worker, frame = at_work(room)
    worker.fail(frame.id)
    assert FAIL == client.outcome(failed).kind
    assert "turn" not in client.outcome(failed).meta
    ask(client, "two")
    again = end_turn(room, ["two"])
    assert (worker, [(0, []), (0, [])]) == (again, loads(worker))
    assert ["two"] == history_of(client)


def test_a_turn_that_was_cancelled_makes_room_for_the_next(room: Room, client: Client) -> None:
    """What its worker says of it later counts for nothing."""
    open_session(client)
    first, second = ask(client, "one"), ask(client, "two")
    worker, old = at_work(room)
    client.cancel(first)
    room.pass_time(0.05)
    assert "cancelled" == client.outcome(first).code
    checkpoint(worker, old, ["one"])
    worker.reply(old.id)
    end_turn(room, ["two"])
    assert (1, ["two"]) == (client.outcome(second).meta["turn"], history_of(client))


def test_who_waits_for_a_turn_can_give_it_up(room: Room, client: Client) -> None:
    """It is passed over."""
    open_session(client)
    calls = [ask(client, text) for text in ("one", "two", "three")]
    client.cancel(calls[1])
    end_turn(room, ["one"])
    end_turn(room, ["one", "three"])
    assert ("cancelled", 2) == (client.outcome(calls[1]).code, client.outcome(calls[2]).meta["turn"])


def test_turns_whose_time_is_over_together_are_not_begun_one_after_another(
    room: Room, client: Client
) -> None:
    """A worker is not given what nobody waits for any more."""
    open_session(client)
    calls = [ask(client, text, deadline_ms=1000) for text in ("one", "two", "three")]
    soon: list[Callable[[], None]] = []
    room.tasks.call_soon = soon.append
    room.pass_time(1.1)
    for step in soon:
        step()
    assert ["deadline"] * 3 == [client.outcome(call).code for call in calls]
    assert 1 == len([frame for worker in room.workers for frame in worker.calls("program.predict")])
    assert 0 == room.waiting


def test_turns_that_wait_are_counted_and_bounded(room: Room, client: Client) -> None:
    """They take no place in a worker, and so no other bound holds them."""
    open_session(client)
    for _ in range(MAX_WAITING + 1):
        ask(client, "x")
    waiting = room.waiting
    assert "overloaded" == client.outcome(ask(client, "x")).code
    client.hang_up()
    assert (MAX_WAITING, 0) == (waiting, room.waiting)


def test_a_reply_without_a_checkpoint_is_none(room: Room, client: Client) -> None:
    """A worker that ends a turn and does not say how is at fault."""
    open_session(client)
    call = ask(client, "one")
    worker, frame = at_work(room)
    checkpoint(worker, frame, ["one"], turn=7)  # of no turn that it has
    worker.reply(frame.id)
    assert ("internal", []) == (client.outcome(call).code, history_of(client))


def test_nobody_stores_a_turn_of_anothers_call(room: Room, client: Client) -> None:
    """A checkpoint for a call that the worker does not have is dropped."""
    open_session(client)
    call = ask(client, "one")
    worker, frame = at_work(room)
    (other,) = [one for one in room.workers if one is not worker]
    checkpoint(other, frame, ["forged"])
    worker.reply(frame.id)
    assert "internal" == client.outcome(call).code


def test_a_session_that_another_server_has_is_busy(room: Room, client: Client) -> None:
    """Until it gives it back, or its time is over."""
    open_session(client)
    taken: list[Lease] = []

    async def take() -> None:
        taken.append(await room.memory.lease(lease_of("s"), "another", 15.0))

    room.tasks.start(take())
    refused = client.outcome(ask(client, "one"))
    assert "session_busy" == refused.code
    assert 0 < int(str(refused.fields["retry_after_ms"])) <= 15_000
    room.pass_time(16)
    ask(client, "two")
    end_turn(room, ["two"])
    assert ["two"] == history_of(client)


def test_a_turn_of_a_server_that_lost_the_session_is_not_kept(room: Room, client: Client) -> None:
    """It may have had effects, and the session goes on from what the other one has stored."""
    open_session(client)
    call = ask(client, "one")
    room.clock.now_s += 16  # nobody has renewed the lease: this server was stopped

    async def take() -> None:
        await room.memory.lease(lease_of("s"), "another", 15.0)

    room.tasks.start(take())
    end_turn(room, ["one"])
    failure = client.outcome(call)
    assert ("session_busy", True) == (failure.code, failure.fields["maybe_executed"])
    assert [] == history_of(client)


def test_an_idle_session_is_given_back(room: Room, client: Client) -> None:
    """Another server can have it at once, and this one keeps nothing of it."""
    open_session(client)
    ask(client, "one")
    end_turn(room, ["one"])
    for _ in range(4):
        room.pass_time(1.0)

    async def take() -> None:
        await room.memory.lease(lease_of("s"), "another", 15.0)

    room.tasks.start(take())
    assert 0 == len(room.switchboard.stored.sessions)
    assert "session_busy" == client.outcome(ask(client, "two")).code


def test_a_long_turn_keeps_its_session(room: Room, client: Client) -> None:
    """The lease is renewed while it runs."""
    open_session(client)
    call = ask(client, "one", deadline_ms=120_000)
    for _ in range(40):
        room.pass_time(1.0)
    end_turn(room, ["one"])
    assert 1 == client.outcome(call).meta["turn"]


def test_a_fork_has_the_same_past_and_its_own_future(room: Room, client: Client) -> None:
    """Neither notices the other."""
    open_session(client)
    ask(client, "one")
    end_turn(room, ["one"])
    forked = client.outcome(client.call("session.fork", {"session": "f"}, session="s")).fields
    assert ("f", 1) == (forked["session"], forked["turn"])
    ask(client, "two", "f")
    end_turn(room, ["one", "two"])
    assert (["one"], ["one", "two"]) == (history_of(client), history_of(client, "f"))


def test_a_closed_session_is_unknown(room: Room, client: Client) -> None:
    """Its worker is told to forget it, and its id is free."""
    open_session(client)
    ask(client, "one")
    worker = end_turn(room, ["one"])
    assert None is client.outcome(client.call("session.close", {}, session="s")).value
    assert ["s"] == [frame.meta["session"] for frame in worker.calls("session.forget")]
    for method in ("session.get", "session.fork", "session.close", "program.predict"):
        assert "unknown_session" == client.outcome(client.call(method, {}, session="s")).code
    assert 0 == open_session(client).fields["turn"]


def test_a_session_moves_to_the_worker_that_is_asked_for(room: Room, client: Client) -> None:
    """With its last turn, and stays there."""
    open_session(client)
    ask(client, "one")
    first = end_turn(room, ["one"])
    (other,) = [one for one in room.workers if one is not first]
    number = other.worker.number
    moved = client.outcome(client.call("state.migrate", {"worker": number}, session="s")).value
    assert {"session": "s", "worker": number} == moved
    ask(client, "two")
    assert other is end_turn(room, ["one", "two"])
    assert [(1, ["one"])] == loads(other)
    ask(client, "three")
    assert other is at_work(room)[0]


def test_a_session_that_was_given_back_is_still_wanted_there(room: Room, client: Client) -> None:
    """However late the next turn comes."""
    open_session(client)
    client.call("state.migrate", {"worker": 2}, session="s")
    for _ in range(4):
        room.pass_time(1.0)
    assert 0 == len(room.switchboard.stored.sessions)
    ask(client, "one")
    assert 2 == end_turn(room, ["one"]).worker.number


class SlowLeases(MemoryStore):
    """Since `prepare`, who takes a lease waits until `wake`."""

    sleepers: list[HandPromise[None]] | None = None

    def prepare(self) -> None:
        self.sleepers = []

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        if self.sleepers is not None:
            self.sleepers.append(HandPromise())
            await self.sleepers[-1]
        return await super().lease(name, owner, ttl_s)

    def wake(self, failure: StoreError | None = None) -> None:
        assert self.sleepers is not None
        sleeper = self.sleepers.pop()
        sleeper.set_result(None) if failure is None else sleeper.set_exception(failure)


@pytest.mark.parametrize("failure", [None, Unavailable("it is down")])
def test_what_is_asked_of_a_session_that_is_being_read_waits_for_it(failure: StoreError | None) -> None:
    """It is not taken for another server's."""
    room = Room(store=SlowLeases)
    room.store("chat")
    store, client = room.memory, room.add_client()
    assert isinstance(store, SlowLeases)
    open_session(client)
    store.prepare()
    turn = ask(client, "one")
    move = client.call("state.migrate", {"worker": 1}, session="s")
    assert [] == client.outcomes(move)
    store.wake(failure)
    if failure is None:
        assert {"session": "s", "worker": 1} == client.outcome(move).value
        end_turn(room, ["one"])
        assert 1 == client.outcome(turn).meta["turn"]
    else:
        assert ["store_unavailable"] * 2 == [client.outcome(call).code for call in (turn, move)]


def test_a_worker_that_does_not_serve_cannot_be_asked_for(client: Client) -> None:
    """The error names those that do."""
    open_session(client)
    refused = client.outcome(client.call("state.migrate", {"worker": 9}, session="s"))
    assert ("worker", True) == (refused.details["field"], "(1, 2)" in str(refused.details["expected"]))


def test_a_session_is_forgotten_after_its_time(room: Room, client: Client) -> None:
    """By the store's clock; each turn begins it anew."""
    open_session(client, ttl_s=100)
    room.pass_time(60)
    ask(client, "one")
    end_turn(room, ["one"])
    room.pass_time(60)
    assert ["one"] == history_of(client)
    room.pass_time(60)
    assert "unknown_session" == client.outcome(client.call("session.get", {}, session="s")).code


def test_a_worker_that_knows_a_former_session_of_that_id_is_sent_the_new_one(
    room: Room, client: Client
) -> None:
    """Two that have the same id, program and turn are not the same conversation."""
    numbers = [worker.worker.number for worker in room.workers]
    for life, number in enumerate(numbers):
        assert 0 == open_session(client, ttl_s=1).fields["turn"]
        client.call("state.migrate", {"worker": number}, session="s")
        ask(client, f"life {life}")
        assert number == end_turn(room, [f"life {life}"]).worker.number
        if life == 0:
            for _ in range(4):
                room.pass_time(1.0)
    client.call("state.migrate", {"worker": numbers[0]}, session="s")
    ask(client, "more")
    assert [(0, []), (1, ["life 1"])] == loads(at_work(room)[0])


class SlowCommit(MemoryStore):
    """The next commit after `prepare` is made when it is let go."""

    held: HandPromise[None] | None = None

    def prepare(self) -> HandPromise[None]:
        self.held = HandPromise()
        return self.held

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        held, self.held = self.held, None
        if held is not None:
            await held
        return await super().commit(changes, fences)


def test_a_turn_that_outlasts_its_session_is_not_kept_in_the_next_of_that_id() -> None:
    """Though the next one begins with the revision that the turn's commit, still on its way, expects."""
    room = Room(store=SlowCommit)
    room.store("chat")
    store, client = room.memory, room.add_client()
    assert isinstance(store, SlowCommit)
    open_session(client, ttl_s=1.0)
    turn = ask(client, "one")
    on_its_way = store.prepare()
    end_turn(room, ["one"])
    room.pass_time(2)
    assert 0 == open_session(client).fields["turn"]
    on_its_way.set_result(None)
    refused = client.outcome(turn)
    assert ("unknown_session", True) == (refused.code, refused.fields["maybe_executed"])
    assert [] == history_of(client)


def test_a_session_is_not_begun_beside_a_turn_that_another_server_makes(room: Room, client: Client) -> None:
    """Of an earlier one with that id; once its lease is over it can be."""

    async def take() -> None:
        await room.memory.lease(lease_of("s"), "another", 15.0)

    room.tasks.start(take())
    refused = open_session(client)
    assert "session_busy" == refused.code
    assert 0 < int(str(refused.fields["retry_after_ms"])) <= 15_000
    room.pass_time(16)
    assert 0 == open_session(client).fields["turn"]


def test_sessions_are_listed_by_id(client: Client) -> None:
    """A page at a time."""
    for name in "cab":
        open_session(client, name)
    first = client.outcome(client.call("session.list", {"limit": 2})).fields
    rest = client.outcome(client.call("session.list", {"limit": 2, "after": first["next"]})).fields
    assert ["a", "b", "c"] == [row["session"] for page in (first, rest) for row in page["sessions"]]  # type: ignore[attr-defined]


def test_a_session_that_cannot_be_read_does_not_hide_the_others(room: Room, client: Client) -> None:
    """It is named beside them."""
    for name in "abc":
        open_session(client, name)

    async def damage() -> None:
        await room.memory.commit([Put(key=key_of("b"), body=b"x")])

    room.tasks.start(damage())
    listed = client.outcome(client.call("session.list", {"limit": 2})).fields
    assert (["a", "c"], None, ["b"]) == (
        [row["session"] for row in listed["sessions"]],  # type: ignore[attr-defined]
        listed["next"],
        listed["unreadable"],
    )


def test_many_sessions_are_listed(room: Room, client: Client) -> None:
    """Some are read at a time, whatever the limit."""
    for number in range(BATCH * 2):
        open_session(client, f"{number:03}")
    everything = client.outcome(client.call("session.list", {"limit": 1000})).fields
    first = client.outcome(client.call("session.list", {"limit": BATCH * 2})).fields
    assert (BATCH * 2, None, None) == (len(everything["sessions"]), everything["next"], first["next"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "payload", "field"),
    [
        ("session.fork", {"session": "a\0b"}, "session"),
        ("session.fork", {"session": "é" * 65}, "session"),
        ("session.list", {"prefix": "\x7f"}, "prefix"),
        ("session.list", {"after": "🦀" * 33}, "after"),
    ],
)
def test_what_is_no_name(client: Client, method: str, payload: dict[str, object], field: str) -> None:
    """The error names the field."""
    open_session(client)
    meta = {"session": "s"} if method == "session.fork" else {}
    assert field == client.outcome(client.call(method, payload, **meta)).details["field"]


@pytest.mark.parametrize(
    ("method", "meta", "field"),
    [
        ("system.echo", {"session": "s"}, "meta.session"),
        ("program.predict", {"session": None}, "meta.session"),
        ("program.predict", {"session": "s", "program": "chat"}, "meta.program"),
        ("program.predict", {"session": 7}, "meta.session"),
        ("session.open", {}, "meta.program"),
        ("session.get", {}, "meta.session"),
        ("state.migrate", {}, "meta.session"),
    ],
)
def test_what_is_no_turn(client: Client, method: str, meta: dict[str, object], field: str) -> None:
    """The error names the key."""
    payload = {"worker": 1} if method == "state.migrate" else {}
    assert field == client.outcome(client.call(method, payload, **meta)).details["field"]


def test_a_damaged_session_is_an_error_and_stays_as_it_is(room: Room, client: Client) -> None:
    """For whoever repairs it."""
    open_session(client)

    async def damage() -> None:
        (found,) = await room.memory.get([key_of("s")])
        assert found is not None
        body = found.body.replace(b"chat", b"chet")
        await room.memory.commit([Put(key=key_of("s"), body=body)])

    room.tasks.start(damage())
    for method in ("session.get", "session.fork", "program.predict"):
        assert "store_damaged" == client.outcome(client.call(method, {}, session="s")).code


def test_whoever_hangs_up_leaves_the_session_to_others(room: Room, client: Client) -> None:
    """The next turn does not wait for the one that nobody wants."""
    open_session(client)
    ask(client, "one")
    worker, _ = at_work(room)
    client.hang_up()
    other = room.add_client()
    call = ask(other, "two")
    frame = worker.calls("program.predict")[-1]
    checkpoint(worker, frame, ["two"])
    worker.reply(frame.id)
    assert 1 == other.outcome(call).meta["turn"]


def test_a_session_that_is_opened_again_with_the_same_write_id_is_one(client: Client) -> None:
    """Its id, where none was wanted, is the first one's; with other parameters it is refused."""
    calls = [client.call("session.open", {}, program="chat", write_id="w") for _ in range(2)]
    first, again = (client.outcome(call).fields["session"] for call in calls)
    assert first == again
    other = client.call("session.open", {"ttl_s": 5}, program="chat", write_id="w")
    assert "write_id_reused" == client.outcome(other).code


def test_a_fork_with_a_write_id_is_made_once(room: Room, client: Client) -> None:
    """Also where its id was wanted: that it is there is no error then."""
    open_session(client)
    for _ in range(2):
        forked = client.call("session.fork", {"session": "f"}, session="s", write_id="w")
        assert "f" == client.outcome(forked).fields["session"]
    late = client.call("session.fork", {"session": "f"}, session="s")
    assert "session_exists" == client.outcome(late).code
