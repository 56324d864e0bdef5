"""Stored programs: resolved when the call comes, given to each worker once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.fakes import Client, FakeWorker, Room, record_of

from dspex_pool.library.library import Library
from dspex_protocol import encode_value


@pytest.fixture
def room() -> Room:
    return Room(calls_per_worker=2)


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


@pytest.fixture
def worker(room: Room) -> FakeWorker:
    return room.workers[0]


def build(worker: FakeWorker, what: str, method: str = "program.build") -> None:
    """The worker has built what it was last asked for."""
    worker.reply(worker.calls(method)[-1].id, record_of(what))


def create(client: Client, worker: FakeWorker, name: str, what: str) -> int:
    """Store a program as a client does; returns its version."""
    call = client.call("program.create", {"spec": {"what": what}}, program=name)
    build(worker, what)
    assert name == client.outcome(call).fields["program"]
    version = client.outcome(call).fields["version"]
    assert isinstance(version, int)
    return version


def update(client: Client, worker: FakeWorker, name: str, what: str, **meta: object) -> int:
    """Store another version; returns the call."""
    call = client.call("program.update", {"spec": {"what": what}}, program=name, **meta)
    build(worker, what, "program.revise")
    return call


def loaded(worker: FakeWorker) -> list[object]:
    """What the worker was sent to load, in order."""
    return [frame.value["spec"]["what"] for frame in worker.calls("program.load")]  # type: ignore[index]


def test_creating_asks_a_worker_to_build(client: Client, worker: FakeWorker) -> None:
    """What it returns is stored, and `program.get` shows it."""
    assert 1 == create(client, worker, "p", "A")
    assert {"spec": {"what": "A"}} == worker.calls("program.build")[0].value
    got = client.outcome(client.call("program.get", {}, program="p")).fields
    assert ("p", 1, 1, record_of("A")["spec"]) == tuple(
        got[key] for key in ("program", "version", "newest", "spec")
    )


def test_creating_without_an_id_makes_one(client: Client, worker: FakeWorker) -> None:
    """Two of them differ."""
    calls = []
    for _ in range(2):
        calls.append(client.call("program.create", {"spec": {}}))
        build(worker, "A")
    first, second = (client.outcome(call).fields["program"] for call in calls)
    assert first != second


def test_an_id_is_taken_once(client: Client, worker: FakeWorker) -> None:
    """Whoever is later hears so, be it by a moment."""
    calls = [client.call("program.create", {"spec": {"what": n}}, program="p") for n in "AB"]
    for frame in worker.calls("program.build"):
        worker.reply(frame.id, record_of("A"))
    assert 1 == client.outcome(calls[0]).fields["version"]
    assert "program_exists" == client.outcome(calls[1]).code


def test_a_spec_that_does_not_build_stores_nothing(client: Client, worker: FakeWorker) -> None:
    """The worker's error is the outcome."""
    call = client.call("program.create", {"spec": {}}, program="p")
    worker.fail(worker.calls("program.build")[0].id, "invalid_argument")
    assert "invalid_argument" == client.outcome(call).code
    assert [] == client.outcome(client.call("program.list", {})).fields["programs"]


def test_a_worker_that_answers_nonsense_stores_nothing(client: Client, worker: FakeWorker) -> None:
    """And cannot hurt those who come later."""
    call = client.call("program.create", {"spec": {}}, program="p")
    worker.reply(worker.calls("program.build")[0].id, [1, 2])
    assert "internal" == client.outcome(call).code
    assert "unknown_program" == client.outcome(client.call("program.get", {}, program="p")).code


def test_what_a_worker_builds_is_built_again_after_its_death(
    room: Room, client: Client, worker: FakeWorker
) -> None:
    """The client's call waits for another one, and has one outcome."""
    call = client.call("program.create", {"spec": {}}, program="p")
    worker.start_all()
    worker.die()
    build(room.add_worker(), "A")
    assert 1 == client.outcome(call).fields["version"]


def test_a_cancelled_creation_stops_its_worker(client: Client, worker: FakeWorker) -> None:
    """And stores nothing, whatever the worker says then."""
    call = client.call("program.create", {"spec": {}}, program="p")
    client.cancel(call)
    assert "cancelled" == client.outcome(call).code
    assert [worker.calls("program.build")[0].id] == worker.cancels()
    build(worker, "A")
    assert "unknown_program" == client.outcome(client.call("program.get", {}, program="p")).code


def test_a_creation_that_is_late_ends_by_its_deadline(room: Room, client: Client, worker: FakeWorker) -> None:
    """With the worker's call, and nothing is left of either."""
    call = client.call("program.create", {"spec": {}}, program="p", deadline_ms=1000)
    room.pass_time(1.1)
    assert "deadline" == client.outcome(call).code
    build(worker, "A")
    assert (0, 0) == (room.open_bytes, len(worker.worker.calls))


def test_a_call_may_end_before_it_hears_of_its_worker(room: Room, client: Client, worker: FakeWorker) -> None:
    """The worker's part and the whole are due in the same moment, or the worker answers just then."""
    calls = [client.call("program.create", {"spec": {}}, deadline_ms=1000) for _ in range(3)]
    soon: list[Callable[[], None]] = []
    room.tasks.call_soon = soon.append
    worker.reply(worker.calls("program.build")[0].id, record_of("A"))
    worker.fail(worker.calls("program.build")[1].id)
    room.pass_time(1.1)
    while soon:
        soon.pop(0)()
    assert ["deadline"] * 3 == [client.outcome(call).code for call in calls]
    assert (0, 0) == (room.open_bytes, room.tasks.waiting)


def test_whoever_hangs_up_while_it_creates_leaves_nothing(
    room: Room, client: Client, worker: FakeWorker
) -> None:
    """The worker is told to stop."""
    client.call("program.create", {"spec": {}}, program="p")
    client.hang_up()
    assert 1 == len(worker.cancels())
    assert (0, 0) == (room.open_bytes, room.tasks.waiting)


def test_an_update_is_made_from_the_newest_version(client: Client, worker: FakeWorker) -> None:
    """The worker has it before it is asked, and the new one is used from then on."""
    create(client, worker, "p", "A")
    call = update(client, worker, "p", "B")
    assert {"program": "p", "version": 2} == client.outcome(call).value
    revise = worker.calls("program.revise")[0]
    assert (1, {"spec": {"what": "B"}}) == (revise.meta["version"], revise.value)
    client.call("program.predict", program="p")
    assert ["A", "B"] == loaded(worker)
    assert 2 == worker.calls("program.predict")[-1].meta["version"]


def test_an_update_of_a_version_that_is_not_the_newest_is_refused(client: Client, worker: FakeWorker) -> None:
    """It says which is."""
    create(client, worker, "p", "A")
    update(client, worker, "p", "B")
    late = update(client, worker, "p", "C", version=1)
    assert ("version_conflict", 2) == (client.outcome(late).code, client.outcome(late).details["newest"])


def test_updates_that_name_no_version_go_one_after_another(client: Client, worker: FakeWorker) -> None:
    """However many come together, each is made on the one before, and none is refused."""
    create(client, worker, "p", "A")
    calls = [client.call("program.update", {"spec": {"what": n}}, program="p") for n in range(20)]
    for n in range(20):
        revise = worker.calls("program.revise")[-1]
        assert n + 1 == revise.meta["version"]
        worker.reply(revise.id, record_of(n))
    assert list(range(2, 22)) == [client.outcome(call).fields["version"] for call in calls]


def test_an_update_that_was_given_up_holds_up_no_other(client: Client, worker: FakeWorker) -> None:
    """Neither where its worker had it, nor where it waited for the one before."""
    create(client, worker, "p", "A")
    calls = [client.call("program.update", {"spec": {"what": n}}, program="p") for n in range(3)]
    client.cancel(calls[1])
    client.cancel(calls[0])
    build(worker, "C", "program.revise")
    assert ["cancelled", "cancelled"] == [client.outcome(call).code for call in calls[:2]]
    assert 2 == client.outcome(calls[2]).fields["version"]


def test_an_update_that_names_no_version_is_made_again(
    room: Room, client: Client, worker: FakeWorker
) -> None:
    """On what another server has made the newest meanwhile."""
    create(client, worker, "p", "A")
    call = client.call("program.update", {"spec": {"what": "C"}}, program="p")
    other = Library(room.memory, clock=room.clock, wall_ms=room.stored.wall_ms, new_id=room.stored.new_id)

    async def add() -> None:
        await other.add("p", base=1, must_be_newest=True, content=encode_value(record_of("B")))

    room.tasks.start(add())
    build(worker, "A+C", "program.revise")
    again = worker.calls("program.revise")[-1]
    assert 2 == again.meta["version"]
    worker.reply(again.id, record_of("B+C"))
    assert 3 == client.outcome(call).fields["version"]


def test_a_write_with_an_id_happens_once(client: Client, worker: FakeWorker) -> None:
    """The second time it has the first one's reply; with other parameters it is refused."""
    create(client, worker, "p", "A")
    calls = [update(client, worker, "p", "B", write_id="w") for _ in range(2)]
    assert [2, 2] == [client.outcome(call).fields["version"] for call in calls]
    other = update(client, worker, "p", "C", write_id="w")
    assert "write_id_reused" == client.outcome(other).code


def test_a_write_is_the_same_in_whatever_order_its_keys_come(client: Client, worker: FakeWorker) -> None:
    """On the wire the order of keys means nothing."""
    create(client, worker, "p", "A")
    calls = []
    for payload in (
        {"note": "n", "spec": {"a": 1, "b": [{"c": 2, "d": 3}]}},
        {"spec": {"b": [{"d": 3, "c": 2}], "a": 1}, "note": "n"},
    ):
        calls.append(client.call("program.update", payload, program="p", write_id="w"))
        build(worker, "B", "program.revise")
    assert [2, 2] == [client.outcome(call).fields["version"] for call in calls]


def test_an_update_that_was_made_is_answered_again_after_a_deletion(
    client: Client, worker: FakeWorker
) -> None:
    """What it was made from is gone, and need not be there."""
    create(client, worker, "p", "A")
    first = client.outcome(update(client, worker, "p", "B", write_id="w"))
    client.call("program.delete", {}, program="p")
    again = client.outcome(client.call("program.update", {"spec": {"what": "B"}}, program="p", write_id="w"))
    assert {"program": "p", "version": 2} == first.value == again.value


def test_a_version_is_found_by_its_tag(client: Client, worker: FakeWorker) -> None:
    """The worker hears of its number only."""
    create(client, worker, "p", "A")
    update(client, worker, "p", "B")
    tagged = client.call("program.tag", {"tag": "stable"}, program="p", version=1)
    assert None is client.outcome(tagged).value
    client.call("program.predict", program="p", tag="stable")
    assert {"program": "p", "version": 1} == worker.calls("program.predict")[-1].meta
    untagged = client.call("program.untag", {"tag": "stable"}, program="p")
    assert None is client.outcome(untagged).value
    late = client.call("program.predict", program="p", tag="stable")
    assert "unknown_program" == client.outcome(late).code


def test_an_older_version_is_brought_back_as_a_new_one(client: Client, worker: FakeWorker) -> None:
    """With its content, and its number as parent."""
    create(client, worker, "p", "A")
    update(client, worker, "p", "B")
    call = client.call("program.rollback", {"note": "B was worse"}, program="p", version=1)
    assert {"program": "p", "version": 3} == client.outcome(call).value
    got = client.outcome(client.call("program.get", {}, program="p")).fields
    assert record_of("A")["spec"] == got["spec"]
    assert {"parent": 1, "by": "rollback", "note": "B was worse", "scores": {}} == got["lineage"]


def test_versions_are_listed_and_compared(client: Client, worker: FakeWorker) -> None:
    """The newest first; what differs by its path."""
    create(client, worker, "p", "A")
    update(client, worker, "p", "B")
    listed = client.outcome(client.call("program.versions", {}, program="p")).fields["versions"]
    assert [2, 1] == [row["version"] for row in listed]  # type: ignore[attr-defined]
    call = client.call("program.diff", {"old": 1, "new": 2}, program="p")
    change = {"path": "spec.what", "change": "changed", "before": "A", "after": "B"}
    assert [change] == client.outcome(call).fields["changes"]


def test_what_was_exported_is_imported_under_another_id(client: Client, worker: FakeWorker) -> None:
    """After a worker has built it."""
    create(client, worker, "p", "A")
    document = client.outcome(client.call("program.export", {}, program="p")).fields["document"]
    call = client.call("program.import", {"document": document}, program="q")
    assert {"spec": record_of("A")["spec"], "state": {}} == worker.calls("program.build")[-1].value
    build(worker, "A")
    assert {"program": "q", "version": 1} == client.outcome(call).value


def test_dspys_own_form_goes_through_a_worker(client: Client, worker: FakeWorker) -> None:
    """Both ways; without a spec there is nothing that could be built."""
    create(client, worker, "p", "A")
    out = client.call("program.export", {"format": "dspy"}, program="p")
    worker.reply(worker.calls("program.dump")[0].id, {"document": "{}"})
    assert {"document": "{}"} == client.outcome(out).value
    for version in (1, 2):
        back = client.call("program.import", {"document": "{}", "format": "dspy", "spec": {}}, program="q")
        build(worker, "B", "program.undump")
        assert {"program": "q", "version": version} == client.outcome(back).value
    bare = client.call("program.import", {"document": "{}", "format": "dspy"}, program="q")
    assert "spec" == client.outcome(bare).details["field"]


def test_a_worker_gets_a_program_before_its_first_call(client: Client, worker: FakeWorker) -> None:
    """Once, and the call has the version that was resolved."""
    create(client, worker, "p", "A")
    for _ in range(2):
        client.call("program.predict", program="p")
    (load,) = worker.calls("program.load")
    first, second = worker.calls("program.predict")
    assert load.id < first.id < second.id
    assert (record_of("A"), {"program": "p", "version": 1}) == (load.value, load.meta)
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
    """Its versions go on from where they were, so nobody takes one for the other."""
    create(client, worker, "p", "A")
    client.call("program.predict", program="p")
    client.call("program.delete", {}, program="p")
    worker.reply(worker.calls("program.predict")[0].id)
    assert 2 == create(client, worker, "p", "B")
    client.call("program.predict", program="p")
    assert ["A", "B"] == loaded(worker)


def test_a_call_that_waited_over_a_deletion_has_its_own(client: Client, worker: FakeWorker) -> None:
    """And the calls for the new one get the new one."""
    create(client, worker, "p", "A")
    for _ in range(2):
        client.call()
    client.call("program.predict", "old", program="p")  # it waits
    client.call("program.delete", {}, program="p")
    for frame in worker.calls("system.echo"):
        worker.reply(frame.id)
    create(client, worker, "p", "B")
    client.call("program.predict", "new", program="p")
    sent = [(frame.value, frame.meta["version"]) for frame in worker.calls("program.predict")]
    assert ([("old", 1), ("new", 2)], ["A", "B"]) == (sent, loaded(worker))


@pytest.mark.parametrize(
    ("meta", "field"),
    [
        ({"program": 7}, "meta.program"),
        ({"program": ""}, "meta.program"),
        ({"program": "a\nb"}, "meta.program"),
        ({"program": "x" * 129}, "meta.program"),
        ({"program": "p", "version": 0}, "meta.version"),
        ({"program": "p", "version": True}, "meta.version"),
        ({"program": "p", "version": "1"}, "meta.version"),
        ({"program": "p", "version": 1, "tag": "t"}, "meta.tag"),
        ({"program": "p", "tag": "x" * 65}, "meta.tag"),
        ({"program": "p", "write_id": ""}, "meta.write_id"),
    ],
)
def test_what_names_no_program(client: Client, meta: dict[str, object], field: str) -> None:
    """The error names the key, whatever the method."""
    for method in ("program.predict", "program.get"):
        refused = client.call(method, {}, **meta)
        assert ("invalid_argument", field) == (
            client.outcome(refused).code,
            client.outcome(refused).details["field"],
        )


def test_a_method_about_a_program_needs_one(client: Client) -> None:
    """And those about a version a version."""
    for method, field in (
        ("program.get", "program"),
        ("program.delete", "program"),
        ("program.update", "program"),
        ("program.export", "program"),
    ):
        assert f"meta.{field}" == client.outcome(client.call(method, {})).details["field"]
    bare = client.call("program.rollback", {}, program="p")
    assert "meta.version" == client.outcome(bare).details["field"]


def test_programs_are_listed_by_id(client: Client, worker: FakeWorker) -> None:
    """Whatever the order of creation; a page at a time."""
    for name in "cab":
        create(client, worker, name, "A")
    first = client.outcome(client.call("program.list", {"limit": 2})).fields
    rest = client.outcome(client.call("program.list", {"limit": 2, "after": first["next"]})).fields
    names = [row["program"] for page in (first, rest) for row in page["programs"]]  # type: ignore[attr-defined]
    assert (["a", "b", "c"], None) == (names, rest["next"])
