"""Programs that are not at hand: who waits for the store, for how long, and who does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.support.fakes import Client, FakeWorker, Room, record_of
from tests.support.tasks import HandPromise

from dspex_pool.fetching import ASK_AGAIN_S, PATIENCE_S
from dspex_pool.library.library import Library
from dspex_pool.store import Change, Fence, Key, Record, Unavailable
from dspex_pool.store.memory import MemoryStore
from dspex_protocol import encode_value


class Shaky(MemoryStore):
    """A store that can be down, or slow.

    Attributes:
        is_down: It fails at once.
        is_slow: Reads wait until `wake`.
        reads: How often it was asked.
    """

    is_down = False
    is_slow = False
    reads = 0

    def prepare(self) -> None:
        self.sleepers: list[HandPromise[None]] = []

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        self.reads += 1
        if self.is_slow:
            sleeper: HandPromise[None] = HandPromise()
            self.sleepers.append(sleeper)
            await sleeper
        if self.is_down:
            raise Unavailable("it is down")
        return await super().get(keys)

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        if self.is_down:
            raise Unavailable("it is down")
        return await super().commit(changes, fences)

    def wake(self) -> None:
        """All that wait go on."""
        sleepers, self.sleepers = self.sleepers, []
        for sleeper in sleepers:
            sleeper.set_result(None)


@pytest.fixture
def room() -> Room:
    room = Room(store=Shaky)
    room.store("p", "A")
    return room


@pytest.fixture
def store(room: Room) -> Shaky:
    store = room.memory
    assert isinstance(store, Shaky)
    store.prepare()
    return store


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


@pytest.fixture
def worker(room: Room) -> FakeWorker:
    return room.workers[0]


def predict(client: Client, **meta: object) -> int:
    return client.call("program.predict", {}, **{"program": "p", **meta})


def running(worker: FakeWorker) -> list[object]:
    """Versions of the predictions that it was given."""
    return [frame.meta["version"] for frame in worker.calls("program.predict")]


def another(room: Room) -> Library:
    """The library of another server at the same store."""
    return Library(room.memory, clock=room.clock, wall_ms=room.stored.wall_ms, new_id=room.stored.new_id)


def update_elsewhere(room: Room) -> None:
    """Another server makes version 2."""

    async def add() -> None:
        await another(room).add("p", base=1, must_be_newest=True, content=encode_value(record_of("B")))

    room.tasks.start(add())


def test_what_was_looked_at_just_now_is_not_looked_at_again(client: Client, store: Shaky) -> None:
    """A thousand calls a second cost the store one read."""
    for _ in range(10):
        predict(client)
    assert 0 == store.reads


def test_another_servers_version_is_used_after_a_second(
    room: Room, client: Client, worker: FakeWorker
) -> None:
    """Each reply says what ran."""
    update_elsewhere(room)
    predict(client)
    room.clock.now_s += 1.1
    predict(client)
    assert [1, 2] == running(worker)


def test_calls_that_need_the_same_look_share_it(room: Room, client: Client, store: Shaky) -> None:
    """However many come while the store is asked."""
    room.clock.now_s += 2
    store.is_slow = True
    for _ in range(10):
        predict(client)
    assert 1 == store.reads


def test_a_slow_store_is_not_waited_for_long(
    room: Room, client: Client, store: Shaky, worker: FakeWorker
) -> None:
    """Where a version is known; what the store says then counts for the next call."""
    update_elsewhere(room)
    room.clock.now_s += 2
    store.is_slow = True
    predict(client)
    assert [] == running(worker)
    room.pass_time(PATIENCE_S + 0.01)
    assert [1] == running(worker)
    store.is_slow = False
    store.wake()
    predict(client)
    assert [1, 2] == running(worker)


def test_only_the_first_waits_for_a_store_that_hangs(
    room: Room, client: Client, store: Shaky, worker: FakeWorker
) -> None:
    """Who comes before it has answered or failed does not, and nor does who comes after it has failed."""
    room.clock.now_s += 2
    store.is_slow = True
    predict(client)
    room.pass_time(PATIENCE_S + 0.01)
    predict(client)
    assert [1, 1] == running(worker)
    store.is_down = True
    store.wake()
    predict(client)
    assert [1, 1, 1] == running(worker)
    room.pass_time(ASK_AGAIN_S + 0.01)
    predict(client)  # the one before has the store asked still
    assert [1, 1, 1, 1] == running(worker)
    assert 2 == store.reads


def test_a_store_that_is_down_is_not_waited_for(
    room: Room, client: Client, store: Shaky, worker: FakeWorker
) -> None:
    """What is known goes on being used; the store is asked now and then."""
    room.clock.now_s += 2
    store.is_down = True
    predict(client)
    store.is_slow = True
    for _ in range(10):
        predict(client)
    assert [1] * 11 == running(worker)
    assert 2 == store.reads
    store.wake()
    room.clock.now_s += ASK_AGAIN_S
    predict(client)
    assert 3 == store.reads


def test_a_store_that_is_back_is_used_again(
    room: Room, client: Client, store: Shaky, worker: FakeWorker
) -> None:
    """By the next call."""
    update_elsewhere(room)
    room.clock.now_s += 2
    store.is_down = True
    predict(client)
    store.is_down = False
    predict(client)
    predict(client)
    assert [1, 1, 2] == running(worker)


def test_a_program_that_nobody_knows_waits_for_the_store(
    room: Room, client: Client, store: Shaky, worker: FakeWorker
) -> None:
    """There is nothing else to be run."""
    store.is_slow = True
    call = predict(client, program="q")
    room.pass_time(5)
    assert [] == client.outcomes(call)
    store.wake()
    assert "unknown_program" == client.outcome(call).code


def test_a_program_that_nobody_knows_fails_while_the_store_is_down(client: Client, store: Shaky) -> None:
    """It says when to come back."""
    store.is_down = True
    refused = client.outcome(predict(client, program="q"))
    assert ("store_unavailable", True) == (refused.code, refused.fields["retryable"])
    assert isinstance(refused.fields["retry_after_ms"], int)


def test_who_waits_for_the_store_can_give_up(room: Room, client: Client, store: Shaky) -> None:
    """By cancel or deadline; what the store says later is for nobody."""
    store.is_slow = True
    cancelled, late = predict(client, program="q"), predict(client, program="q", deadline_ms=1000)
    client.cancel(cancelled)
    room.pass_time(1.1)
    store.wake()
    assert ["cancelled", "deadline"] == [client.outcome(call).code for call in (cancelled, late)]
    assert 0 == room.open_bytes


def test_who_waits_for_the_store_is_counted_in_the_queue(room: Room, client: Client, store: Shaky) -> None:
    """A store that hangs fills no memory."""
    store.is_slow = True
    many = [predict(client, program="q") for _ in range(room.config.max_queue)]
    for _ in range(room.config.calls_per_worker):
        client.call()
    assert "overloaded" == client.outcome(client.call()).code
    assert len(many) == room.config.max_queue


def test_an_update_fails_while_the_store_is_down(client: Client, store: Shaky, worker: FakeWorker) -> None:
    """After the worker has built it, since the version was known."""
    store.is_down = True
    call = client.call("program.update", {"spec": {}}, program="p")
    worker.reply(worker.calls("program.revise")[0].id, record_of("B"))
    assert "store_unavailable" == client.outcome(call).code


def test_a_program_that_was_deleted_elsewhere_is_unknown(room: Room, client: Client) -> None:
    """After a second, as a new version would be."""

    async def delete() -> None:
        await another(room).delete("p")

    room.tasks.start(delete())
    room.clock.now_s += 1.1
    assert "unknown_program" == client.outcome(predict(client)).code


def test_who_gives_up_while_the_store_is_asked_takes_no_place(
    room: Room, client: Client, store: Shaky, worker: FakeWorker
) -> None:
    """In the queue, which has few; who comes next is not refused for want of one."""
    room.clock.now_s += 2
    store.is_slow = True
    call = predict(client, version=2)
    assert 1 == room.switchboard.stored.fetching
    client.cancel(call)
    assert 0 == room.switchboard.stored.fetching
    store.wake()
    assert [] == running(worker)
