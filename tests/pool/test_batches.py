"""`batch.run` in the supervisor: rows go out as calls, and one answer comes of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fakes import Client, FakeWorker, Frame, Room, body_of

from dspex_pool.batches import MAX_BATCHES
from dspex_protocol import CALL, CANCEL, FAIL, REPLY, decode_value, error

METHOD = "batch.run"
SPEC = {"module": "Predict", "signature": "q -> a"}


@pytest.fixture
def room() -> Room:
    return Room(workers=2, calls_per_worker=4)


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


def rows(count: int, **more: object) -> dict[str, object]:
    """A batch of so many rows."""
    return {"spec": SPEC, "inputs": [{"q": index} for index in range(count)], **more}


def row_of(call: Frame) -> int:
    """Which row a worker was given."""
    inputs: Any = call.fields["inputs"]
    row: int = inputs["q"]
    return row


def under_way(room: Room) -> dict[int, tuple[FakeWorker, int]]:
    """Which worker has which row as which call; of all that were ever sent, the last one."""
    return {
        row_of(call): (worker, call.id) for worker in room.workers for call in worker.calls("program.predict")
    }


def answer(room: Room, row: int, value: object = "a", **meta: object) -> None:
    worker, call_id = under_way(room)[row]
    worker.reply(call_id, value, **meta)


def test_rows_go_out_over_the_workers_as_predictions(room: Room, client: Client) -> None:
    """With all that was given besides, and with nothing that is the batch's own."""
    client.call(METHOD, rows(6, lm="x", parallelism=4))
    assert 4 == len(under_way(room))
    assert {2} == {len(worker.calls("program.predict")) for worker in room.workers}
    (call, *_) = room.workers[0].calls("program.predict")
    assert {"spec": SPEC, "lm": "x", "inputs": {"q": row_of(call)}} == call.fields


def test_without_credit_the_answer_has_all_rows_in_order(room: Room, client: Client) -> None:
    """However they ended; and the figures of the whole."""
    call = client.call(METHOD, rows(3))
    answer(room, 2, "two", tokens_in=3)
    worker, call_id = under_way(room)[1]
    worker.fail(call_id, "prediction_failed")
    assert [] == client.outcomes(call)
    answer(room, 0, "zero", tokens_in=4)
    reply = client.outcome(call)
    assert reply.kind == REPLY
    results: Any = reply.fields["results"]
    assert {"index": 0, "prediction": "zero"} == results[0]
    assert (1, "prediction_failed") == (results[1]["index"], results[1]["error"]["code"])
    assert {"index": 2, "prediction": "two"} == results[2]
    assert (3, 2, 1, 0, None) == tuple(
        reply.fields[key] for key in ("rows", "done", "failed", "left", "stopped")
    )
    assert 7 == reply.meta["tokens_in"]
    assert [] == client.items(call)


def test_with_credit_each_row_is_an_item_as_it_ends(room: Room, client: Client) -> None:
    """And the answer has no rows any more."""
    call = client.call(METHOD, rows(3), credit=10)
    for row in (2, 0, 1):
        answer(room, row, row)
    assert [(0, 2), (1, 0), (2, 1)] == [
        (item.meta["seq"], item.fields["index"]) for item in client.items(call)
    ]
    assert "results" not in client.outcome(call).fields
    assert call == client.sent[-1].id
    assert client.sent[-1].kind == REPLY


def test_credit_holds_the_batch_back(room: Room, client: Client) -> None:
    """To the far end: rows whose items nobody takes are not run."""
    call = client.call(METHOD, rows(20, parallelism=2), credit=1)
    for row in range(3):
        answer(room, row)
    assert 3 == len(under_way(room))
    assert 1 == len(client.items(call))
    client.credit(call, 1)
    assert 4 == len(under_way(room))
    client.credit(call, 100)
    assert 5 == len(under_way(room))
    for row in range(3, 20):
        answer(room, row)
    assert 20 == len(client.items(call))
    assert 20 == client.outcome(call).fields["done"]


def test_the_answer_waits_for_the_last_item(room: Room, client: Client) -> None:
    """A REPLY is the last frame of a call."""
    call = client.call(METHOD, rows(2), credit=1)
    answer(room, 0)
    answer(room, 1)
    assert [] == client.outcomes(call)
    client.credit(call, 1)
    assert 2 == client.outcome(call).fields["done"]


def test_no_rows_are_answered_at_once(client: Client) -> None:
    """Nothing is no error."""
    assert (0, []) == tuple(
        client.outcome(client.call(METHOD, rows(0))).fields[key] for key in ("rows", "results")
    )


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (3, "payload"),
        ({}, "inputs"),
        ({"inputs": {"q": 1}}, "inputs"),
        ({"inputs": [{}, {}, 3]}, "inputs[2]"),
        ({"inputs": [], "parallelism": 0}, "parallelism"),
        ({"inputs": [], "parallelism": 1025}, "parallelism"),
        ({"inputs": [], "max_errors": 0}, "max_errors"),
        ({"inputs": [], "row_deadline_ms": "soon"}, "row_deadline_ms"),
    ],
)
def test_a_wrong_argument_is_named(room: Room, client: Client, payload: object, field: str) -> None:
    """Before any row runs."""
    outcome = client.outcome(client.call(METHOD, payload))
    assert ("invalid_argument", field) == (outcome.code, outcome.details["field"])
    assert {} == under_way(room)


def test_a_session_has_no_batch(client: Client) -> None:
    """Its turns go one after another."""
    outcome = client.outcome(client.call(METHOD, rows(1), session="s"))
    assert ("invalid_argument", "meta.session") == (outcome.code, outcome.details["field"])


def test_what_is_wrong_with_the_call_ends_it(room: Room, client: Client) -> None:
    """The other rows are given up."""
    call = client.call(METHOD, rows(4))
    worker, call_id = under_way(room)[3]
    worker.fail(call_id, "unknown_lm")
    assert "unknown_lm" == client.outcome(call).code
    assert 3 == sum(len(worker.cancels()) for worker in room.workers)


def test_max_errors_stops_it(room: Room, client: Client) -> None:
    """What runs may end; what has not begun never does."""
    call = client.call(METHOD, rows(9, parallelism=2, max_errors=1))
    worker, call_id = under_way(room)[0]
    worker.fail(call_id)
    assert [] == client.outcomes(call)
    answer(room, 1)
    fields = client.outcome(call).fields
    assert (1, 1, 7, "max_errors") == tuple(fields[key] for key in ("done", "failed", "left", "stopped"))
    assert 2 == len(under_way(room))


def test_a_cancelled_batch_gives_up_its_rows(room: Room, client: Client) -> None:
    """With one outcome; what is said of the rows after that reaches nobody."""
    call = client.call(METHOD, rows(3), credit=5)
    answer(room, 0)
    client.cancel(call)
    assert ("cancelled", "left") == (client.outcome(call).code, client.outcome(call).details["rung"])
    assert 2 == sum(len(worker.cancels()) for worker in room.workers)
    answer(room, 1)
    assert 1 == len(client.items(call))
    assert 1 == len(client.outcomes(call))


def test_a_batch_ends_at_its_deadline_as_one(room: Room, client: Client) -> None:
    """And no row is begun for the sake of the rows that were late."""
    call = client.call(METHOD, rows(9, parallelism=2), deadline_ms=1000, credit=9)
    answer(room, 0)
    room.pass_time(1.5)
    outcome = client.outcome(call)
    assert ("deadline", 1, 8) == (outcome.code, outcome.details["done"], outcome.details["left"])
    assert 3 == len(under_way(room))
    assert 1 == len(client.items(call))


def test_a_row_has_a_deadline_of_its_own(room: Room, client: Client) -> None:
    """A slow one costs its own outcome and no other."""
    call = client.call(METHOD, rows(2, parallelism=1, row_deadline_ms=1000))
    room.pass_time(1.5)
    answer(room, 1)
    results: Any = client.outcome(call).fields["results"]
    assert "deadline" == results[0]["error"]["code"]
    assert "a" == results[1]["prediction"]


def test_a_client_that_goes_takes_its_batch_with_it(room: Room, client: Client) -> None:
    """Its rows are stopped in their workers."""
    client.call(METHOD, rows(5, parallelism=3))
    client.hang_up()
    assert 3 == sum(len(worker.cancels()) for worker in room.workers)
    for row in range(3):
        answer(room, row)
    assert 3 == len(under_way(room))


def test_a_death_repeats_the_rows_that_were_there(room: Room, client: Client) -> None:
    """Elsewhere, and each has its one outcome."""
    call = client.call(METHOD, rows(7))
    room.workers[0].start_all()
    room.workers[0].die()
    room.add_worker()
    for row, (worker, call_id) in under_way(room).items():
        assert worker is not room.workers[0]
        worker.reply(call_id, row)
    results: Any = client.outcome(call).fields["results"]
    assert list(range(7)) == [entry["prediction"] for entry in results]


def test_a_row_that_has_called_its_host_fails_with_its_worker(room: Room, client: Client) -> None:
    """It alone: what it did may not be done twice."""
    call = client.call(METHOD, rows(2))
    worker, call_id = under_way(room)[0]
    worker.start(call_id)
    worker.call_host(1, call_id)
    worker.die()
    answer(room, 1)
    results: Any = client.outcome(call).fields["results"]
    assert ("worker_died", True) == tuple(results[0]["error"][key] for key in ("code", "maybe_executed"))
    assert "a" == results[1]["prediction"]


def test_what_a_row_asks_of_the_host_is_asked_within_the_batch(room: Room, client: Client) -> None:
    """And the answer finds the row."""
    call = client.call(METHOD, rows(2))
    worker, call_id = under_way(room)[1]
    worker.call_host(7, call_id)
    (asked,) = client.callbacks()
    assert call == asked.meta["parent"]
    client.answer(asked.id, "it is so")
    assert "it is so" == next(frame.value for frame in worker.sent if frame.kind == REPLY and frame.id == 7)
    worker.call_host(8, call_id)
    worker.reply(call_id, "a")
    assert [client.callbacks()[1].id] == [frame.id for frame in client.sent if frame.kind == CANCEL]


def test_a_call_within_a_rows_callback_is_nested(room: Room, client: Client) -> None:
    """It waits for no place, though the batch has them all."""
    client.call(METHOD, rows(7, parallelism=8))
    worker, call_id = under_way(room)[0]
    worker.call_host(1, call_id)
    nested = client.call("system.echo", "x", parent=client.callbacks()[0].id)
    (taken_by,) = [worker for worker in room.workers if worker.calls("system.echo")]
    taken_by.reply(taken_by.calls("system.echo")[0].id, "x")
    assert "x" == client.outcome(nested).value


def test_rows_are_of_the_batch_lane(room: Room, client: Client) -> None:
    """One place stays free, so that somebody who waits for an answer has it at once."""
    client.call(METHOD, rows(50))
    assert 7 == len(under_way(room))
    client.call("system.echo")
    assert 1 == sum(len(worker.calls("system.echo")) for worker in room.workers)


def test_rows_leave_half_of_the_queue_to_others() -> None:
    """What somebody waits for is not refused for the sake of what can wait."""
    room = Room(workers=1, calls_per_worker=1, max_queue=4)
    client = room.add_client()
    client.call(METHOD, rows(50, parallelism=50))
    assert 2 == room.waiting
    call = client.call("system.echo")
    room.workers[0].reply(room.workers[0].calls()[0].id)
    room.workers[0].reply(room.workers[0].calls("system.echo")[0].id, "x")
    assert "x" == client.outcome(call).value


def test_a_batch_waits_for_room_and_goes_on() -> None:
    """A full server is no error of a row."""
    room = Room(workers=1, calls_per_worker=1, max_queue=1)
    client = room.add_client()
    call = client.call(METHOD, rows(5, parallelism=5))
    worker = room.workers[0]
    for row in range(5):
        room.pass_time(5.0)
        (frame,) = [frame for frame in worker.calls("program.predict") if row_of(frame) == row]
        worker.reply(frame.id, row)
    results: Any = client.outcome(call).fields["results"]
    assert list(range(5)) == [entry["prediction"] for entry in results]


def test_a_client_that_does_not_read_begins_no_rows(room: Room, client: Client) -> None:
    """Until it reads again."""
    call = client.call(METHOD, rows(4, parallelism=1), credit=100)
    client.link.unread = 1 << 24
    answer(room, 0)
    assert 1 == len(under_way(room))
    client.link.drain()
    assert 2 == len(under_way(room))
    for row in (1, 2, 3):
        answer(room, row)
    assert 4 == client.outcome(call).fields["done"]


def test_results_that_fit_no_answer_end_the_batch_early(room: Room) -> None:
    """No more is spent on rows of which nobody can be told."""
    client = room.add_client(max_frame_bytes=8192)
    call = client.call(METHOD, rows(100, parallelism=1))
    for row in range(3):
        if row in under_way(room):
            answer(room, row, "x" * 4000)
    assert "result_too_large" == client.outcome(call).code
    assert 2 == len(under_way(room))


def test_a_row_whose_result_fits_no_frame_fails_alone(room: Room) -> None:
    """The stream goes on."""
    client = room.add_client(max_frame_bytes=8192)
    call = client.call(METHOD, rows(2), credit=5)
    answer(room, 0, "x" * 8180)
    answer(room, 1)
    first, second = client.items(call)
    failure: Any = first.fields["error"]
    assert "result_too_large" == failure["code"]
    assert {"index": 1, "prediction": "a"} == second.fields


def test_an_input_that_is_wrong_is_named_with_its_row(room: Room, client: Client) -> None:
    """As the worker named it, in the words of the batch."""
    call = client.call(METHOD, rows(2), credit=5)
    worker, call_id = under_way(room)[1]
    failure = {
        "code": "invalid_argument",
        "message": "inputs.q: expected a string, got 1",
        "details": {"field": "inputs.q", "expected": "a string", "got": "1"},
    }
    worker.give(body_of(FAIL, call_id, None, {}, failure))
    named: Any = client.items(call)[0].fields["error"]
    assert "inputs[1].q" == named["details"]["field"]
    assert named["message"].startswith("inputs[1].q: expected a string")


def test_a_stored_program_is_found_once_for_all_rows(room: Room, client: Client) -> None:
    """All rows run on the version that was there when the batch came."""
    room.store("p")
    call = client.call(METHOD, {"inputs": [{"q": 0}, {"q": 1}]}, program="p")
    frames = [frame for worker in room.workers for frame in worker.calls("program.predict")]
    assert [("p", 1), ("p", 1)] == [(frame.meta["program"], frame.meta["version"]) for frame in frames]
    answer(room, 0)
    answer(room, 1)
    assert ("p", 1) == tuple(client.outcome(call).meta[key] for key in ("program", "version"))


def test_an_unknown_program_ends_it(client: Client) -> None:
    """As any call."""
    call = client.call(METHOD, rows(2), program="nobody")
    assert "unknown_program" == client.outcome(call).code


def test_a_batch_keeps_the_server_until_it_has_ended(room: Room, client: Client) -> None:
    """Draining waits for it as for one call, and its rows still begin."""
    call = client.call(METHOD, rows(3, parallelism=1))
    client.connection.drain()
    for row in range(3):
        answer(room, row)
    assert 3 == client.outcome(call).fields["done"]
    assert room.house.left


def test_a_row_that_kills_is_refused_and_the_others_are_not(room: Room, client: Client) -> None:
    """Two workers at most die for it; then it is poisoned."""
    call = client.call(METHOD, rows(2, parallelism=1))
    for number in range(2):
        worker = room.workers[number]
        other, call_id = under_way(room)[0]
        assert worker.worker is not None
        other.start(call_id)
        other.die("SIGSEGV")
        room.add_worker()
    answer(room, 1)
    results: Any = client.outcome(call).fields["results"]
    assert "poisoned" == results[0]["error"]["code"]
    assert "a" == results[1]["prediction"]


def test_only_so_many_batches_are_open_at_a_time() -> None:
    """One more is refused, to be tried again; where one has ended there is room."""
    room = Room(workers=1, calls_per_worker=1)
    client = room.add_client()
    batches = [client.call(METHOD, rows(1)) for _ in range(MAX_BATCHES)]
    refused = client.outcome(client.call(METHOD, rows(1)))
    assert ("overloaded", True) == (refused.code, "retry_after_ms" in refused.fields)
    client.cancel(batches[-1])
    assert [] == client.outcomes(client.call(METHOD, rows(1)))


def test_workers_that_do_not_start_end_a_batch_once() -> None:
    """Though all of its rows wait for one."""
    room = Room(workers=0)
    client = room.add_client()
    call = client.call(METHOD, rows(5))
    assert 5 == len(room.switchboard.placing.waiting)
    room.switchboard.no_workers(error("boot_failed", "they end at once"))
    assert "boot_failed" == client.outcome(call).code
    assert 0 == room.waiting


def test_meta_goes_with_each_row(room: Room, client: Client) -> None:
    """The tenant and the priority too; credit and the like are the batch's own."""
    client.call(METHOD, rows(1), credit=3, tenant="t", priority=9, traceparent="x", deadline_ms=5000)
    ((worker, call_id),) = under_way(room).values()
    (frame,) = [frame for frame in worker.calls() if frame.id == call_id and frame.kind == CALL]
    assert {"tenant": "t", "priority": 9, "traceparent": "x"}.items() <= frame.meta.items()
    assert "credit" not in frame.meta
    assert isinstance(frame.meta["deadline_ms"], int)
    assert decode_value(frame.payload) == {"spec": SPEC, "inputs": {"q": 0}}
