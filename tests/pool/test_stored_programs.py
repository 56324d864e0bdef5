"""Stored programs: resolved when the call comes, given to each worker once."""

from __future__ import annotations

import pytest
from tests.support.fakes import Client, FakeWorker, Room

from dspex_pool.programs import ProgramTable
from dspex_protocol import DSPexError, encode_value


@pytest.fixture
def room() -> Room:
    return Room(calls_per_worker=2)


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


@pytest.fixture
def worker(room: Room) -> FakeWorker:
    return room.workers[0]


def create(client: Client, worker: FakeWorker, name: str, spec: str) -> None:
    """Store a program as a client does."""
    call = client.call("program.create", {"spec": spec}, program=name)
    worker.reply(worker.calls("program.build")[-1].id, {"spec": spec})
    assert {"program": name, "version": 1} == client.outcome(call).value


def test_creating_asks_a_worker_to_build(client: Client, worker: FakeWorker) -> None:
    """What it returns is stored, and `program.get` shows it."""
    create(client, worker, "p", "A")
    call = client.call("program.get", {}, program="p")
    assert {"program": "p", "version": 1, "spec": "A"} == client.outcome(call).value


def test_creating_without_an_id_makes_one(client: Client, worker: FakeWorker) -> None:
    """Two of them differ."""
    names = []
    for _ in range(2):
        call = client.call("program.create", {"spec": "A"})
        worker.reply(worker.calls()[-1].id, {"spec": "A"})
        names.append(client.outcome(call).fields["program"])
    assert names[0] != names[1]


def test_an_id_is_taken_once(client: Client, worker: FakeWorker) -> None:
    """Both when it is known at the call, and when another call was faster."""
    calls = [client.call("program.create", {"spec": n}, program="p") for n in "AB"]
    for frame in worker.calls("program.build"):
        worker.reply(frame.id, frame.value)
    third = client.call("program.create", {"spec": "C"}, program="p")
    assert 1 == client.outcome(calls[0]).fields["version"]
    assert ["program_exists"] * 2 == [client.outcome(call).code for call in (calls[1], third)]


def test_a_spec_that_does_not_build_stores_nothing(client: Client, worker: FakeWorker) -> None:
    """The worker's error is the outcome."""
    call = client.call("program.create", {"spec": "?"}, program="p")
    worker.fail(1, "invalid_argument")
    assert "invalid_argument" == client.outcome(call).code
    assert [] == client.outcome(client.call("program.list", {})).value


def test_a_worker_gets_a_program_before_its_first_call(client: Client, worker: FakeWorker) -> None:
    """Once, and the call has the version that was resolved."""
    create(client, worker, "p", "A")
    for _ in range(2):
        client.call("program.predict", program="p")
    (load,) = worker.calls("program.load")
    first, second = worker.calls("program.predict")
    assert load.id < first.id < second.id
    assert ({"spec": "A"}, {"program": "p", "version": 1}) == (load.value, load.meta)
    assert {"program": "p", "version": 1} == first.meta


def test_the_reply_says_which_program_answered(client: Client, worker: FakeWorker) -> None:
    """With its version, though the call named none."""
    create(client, worker, "p", "A")
    call = client.call("program.predict", program="p")
    worker.reply(worker.calls()[-1].id)
    assert ("p", 1) == (client.outcome(call).meta["program"], client.outcome(call).meta["version"])


def test_each_worker_gets_it_for_itself(room: Room, client: Client, worker: FakeWorker) -> None:
    """A replacement knows nothing."""
    create(client, worker, "p", "A")
    client.call("program.predict", program="p")
    worker.die()
    assert ["program.load", "program.predict"] == [frame.method for frame in room.add_worker().calls()]


def test_a_deleted_program_is_unknown(client: Client, worker: FakeWorker) -> None:
    """For every method."""
    create(client, worker, "p", "A")
    assert None is client.outcome(client.call("program.delete", {}, program="p")).value
    for method in ("program.get", "program.delete", "program.predict"):
        assert "unknown_program" == client.outcome(client.call(method, {}, program="p")).code


def test_an_id_that_was_deleted_may_be_used_anew(client: Client, worker: FakeWorker) -> None:
    """The worker is sent the new program, though id and version are the old one's."""
    create(client, worker, "p", "A")
    client.call("program.predict", program="p")
    client.call("program.delete", {}, program="p")
    worker.reply(worker.calls("program.predict")[0].id)
    create(client, worker, "p", "B")
    client.call("program.predict", program="p")
    assert [{"spec": "A"}, {"spec": "B"}] == [frame.value for frame in worker.calls("program.load")]


def test_a_call_that_waited_over_a_deletion_brings_no_stale_program(
    client: Client, worker: FakeWorker
) -> None:
    """It gets its own, and the calls for the new one get the new one."""
    create(client, worker, "p", "A")
    held = [client.call(), client.call()]
    client.call("program.predict", "old", program="p")  # it waits
    client.call("program.delete", {}, program="p")
    worker.reply(worker.calls("system.echo")[0].id)
    worker.reply(worker.calls("system.echo")[1].id)
    assert 2 == len(held)
    create(client, worker, "p", "B")
    client.call("program.predict", "new", program="p")
    sent = [(frame.method, frame.value) for frame in worker.calls()]
    assert ("program.load", {"spec": "B"}) == sent[-2]
    assert ("program.predict", "new") == sent[-1]


def test_a_record_that_is_no_map_is_an_error_not_a_crash(client: Client, worker: FakeWorker) -> None:
    """A worker that answers nonsense cannot hurt those who look later."""
    client.call("program.create", {"spec": "A"}, program="p")
    worker.reply(1, [1, 2])
    get, ping = client.call("program.get", {}, program="p"), client.call("system.ping", 1)
    assert "internal" == client.outcome(get).code
    assert 1 == client.outcome(ping).value


@pytest.mark.parametrize(
    ("program", "version", "code"),
    [
        ("q", None, "unknown_program"),
        ("p", 2, "unknown_program"),
        ("p", 0, "invalid_argument"),
        ("p", True, "invalid_argument"),
        ("p", "1", "invalid_argument"),
        (7, None, "invalid_argument"),
        (None, None, "invalid_argument"),
    ],
)
def test_what_cannot_be_resolved(program: object, version: object, code: str) -> None:
    """The code tells a wrong value from a missing program."""
    table = ProgramTable()
    table.create("p", b"A")
    with pytest.raises(DSPexError) as refusal:
        table.resolve(program, version)
    assert code == refusal.value.code


@pytest.mark.parametrize("program", ["", "x" * 129, "é" * 65, 7, b"p"])
def test_what_is_no_id(program: object) -> None:
    """1 to 128 bytes of text."""
    with pytest.raises(DSPexError) as refusal:
        ProgramTable().check_new(program)
    assert "meta.program" == refusal.value.details["field"]


def test_programs_are_listed_by_id() -> None:
    """Whatever the order of creation."""
    table = ProgramTable()
    for program in "cab":
        table.create(program, encode_value(program))
    assert [{"program": name, "version": 1} for name in "abc"] == table.list()
