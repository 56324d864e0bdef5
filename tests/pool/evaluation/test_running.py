"""`evaluation.run` in the supervisor: rows go out, and what comes is stored before anybody hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.pool.evaluation.rooms import METRICS, RUN, SPEC, answer, ask, given, index_of, row, run, under_way
from tests.protocol.notation import read_bytes, vectors
from tests.support.fakes import Client, Room

from dspex_pool.store import Change, Fence, Unavailable
from dspex_pool.store.memory import MemoryStore
from dspex_protocol import CALL, encode, encode_value
from dspex_protocol.frame import HEADER_BYTES
from dspex_protocol.slices import join_array, join_map

BROKEN_VALUES = [vector for vector in vectors("value") if "error" in vector]


@pytest.fixture
def room() -> Room:
    return Room(workers=2, calls_per_worker=4)


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


def test_rows_go_out_with_what_is_theirs(room: Room, client: Client) -> None:
    """The whole row as the example, what the call gave, and nothing that is the evaluation's own."""
    run(room, client, given(6, lm="x", parallelism=4, note="n", failure_score=0.5, trace=True))
    assert {0, 1, 2, 3} == under_way(room).keys()
    (call, *_) = room.workers[0].calls("evaluation.row")
    example = {"q": index_of(call), "a": str(index_of(call))}
    assert {"spec": SPEC, "metrics": METRICS, "lm": "x", "trace": True, "example": example} == call.fields


def test_the_answer_sums_it_up(room: Room, client: Client) -> None:
    """Rows without a score count as the failure score in the mean, and are told apart."""
    call = run(room, client, given(4, failure_score=0.5))
    answer(room, 0, row(1.0), lm_calls=2, tokens_in=10, cost_usd=0.25)
    answer(room, 1, row(0.0, metric_usage={"tokens_in": 3}), tokens_in=5)
    answer(room, 2, row(None))
    worker, call_id = under_way(room)[3]
    worker.fail(call_id, "prediction_failed")
    reply = client.outcome(call)
    fields: Any = reply.fields
    assert ("done", 4, 3, 1) == tuple(fields[key] for key in ("state", "rows", "done", "failed"))
    scores = fields["scores"]["right"]
    assert (2, 2, 1, 0.5, 0.5) == tuple(
        scores[key] for key in ("scored", "failed", "passed", "mean", "mean_scored")
    )
    assert scores["low"] <= 0.5 <= scores["high"]
    assert (2, 15, 0.25) == tuple(fields["usage"][key] for key in ("lm_calls", "tokens_in", "cost_usd"))
    assert 3 == fields["metric_usage"]["tokens_in"]
    assert {"p50": 2.0, "p90": 2.0, "p99": 2.0, "max": 2.0} == fields["latency_ms"]
    assert (SPEC, METRICS, None) == tuple(fields[key] for key in ("spec", "metrics", "program"))
    assert 15 == reply.meta["tokens_in"]
    assert fields == ask(client, "get", evaluation="e")
    assert [] == client.items(call)


def test_a_row_is_an_item_when_it_is_stored(room: Room, client: Client) -> None:
    """In the form in which it is found later."""
    call = run(room, client, given(2), credit=5)
    answer(room, 1, row(0.25, trace=[1]))
    (item,) = client.items(call)
    assert (1, 1, {"q": 1, "a": "1"}, [1]) == tuple(
        item.fields[key] for key in ("index", "row", "example", "trace")
    )
    assert [item.fields] == ask(client, "rows", evaluation="e")["rows"]
    worker, call_id = under_way(room)[0]
    worker.fail(call_id)
    failed = client.items(call)[1].fields
    error: Any = failed["error"]
    assert ("program_failed", None, {}) == (error["code"], failed["prediction"], failed["scores"])
    assert "done" == client.outcome(call).fields["state"]


def test_credit_holds_it_back(room: Room, client: Client) -> None:
    """Rows whose items nobody takes are not run."""
    call = run(room, client, given(20, parallelism=2), credit=1)
    for index in range(3):
        answer(room, index)
    assert 3 == len(under_way(room))
    client.credit(call, 100)
    assert 5 == len(under_way(room))


def test_run_again_it_goes_on(room: Room, client: Client) -> None:
    """Rows that are stored are not run again, and what they came to counts."""
    first = run(room, client, given(5), credit=9)
    for index in (0, 3):
        answer(room, index, row(0.0), tokens_in=4)
    client.cancel(first)
    assert "cancelled" == client.outcome(first).code
    assert "running" == ask(client, "get", evaluation="e")["state"]
    second = run(room, client, given(5, parallelism=1, note="another"), credit=9)
    for index in (1, 2, 4):
        answer(room, index, row(1.0), tokens_in=1)
    assert [1, 2, 4] == [item.fields["index"] for item in client.items(second)]
    fields: Any = client.outcome(second).fields
    assert ("done", 5, 0.6, 11) == (
        fields["state"],
        fields["done"],
        fields["scores"]["right"]["mean"],
        fields["usage"]["tokens_in"],
    )
    assert 3 == client.outcome(second).meta["tokens_in"]
    third = client.call(RUN, given(5))
    assert fields == client.outcome(third).fields


def test_what_failed_is_run_again_where_that_is_asked_for() -> None:
    """In place of what it had come to: rows with an error, and those that lack a score."""
    room = Room(workers=1, calls_per_worker=8)
    client = room.add_client()
    call = run(room, client, given(4))
    answer(room, 0, row(1.0))
    worker, call_id = under_way(room)[1]
    worker.fail(call_id)
    answer(room, 2, row(None), tokens_in=5)
    answer(room, 3, row(0.0))
    made: Any = client.outcome(call).fields
    assert ("done", 3, 1, 2) == (
        made["state"],
        made["done"],
        made["failed"],
        made["scores"]["right"]["scored"],
    )
    sent = sum(len(worker.calls("evaluation.row")) for worker in room.workers)
    assert made == client.outcome(run(room, client, given(4))).fields
    again = run(room, client, given(4, again=True, max_errors=1), credit=9)
    assert "running" == ask(client, "get", evaluation="e")["state"]
    answer(room, 1, row(1.0))
    answer(room, 2, row(0.5), tokens_in=7)
    assert [1, 2] == [item.fields["index"] for item in client.items(again)]
    assert sent + 2 == sum(len(worker.calls("evaluation.row")) for worker in room.workers)
    made = client.outcome(again).fields
    figures = made["scores"]["right"]
    assert ("done", 4, 0, 4, 0.625, 12) == (
        made["state"],
        made["done"],
        made["failed"],
        figures["scored"],
        figures["mean"],
        made["usage"]["tokens_in"],
    )
    assert figures["failed"] == 0
    rows = ask(client, "rows", evaluation="e")
    assert (4, [0, 1, 2, 3]) == (rows["total"], [one["index"] for one in rows["rows"]])
    assert [1.0, 1.0, 0.5, 0.0] == [one["scores"]["right"]["score"] for one in rows["rows"]]
    assert 0 == ask(client, "rows", evaluation="e", error=True)["total"]
    failures = ask(client, "failures", evaluation="e")
    assert (4, 2) == (failures["rows"], failures["failing"])
    refused = client.outcome(client.call(RUN, {**given(1, again=True), "evaluation": None}))
    assert ("invalid_argument", "again") == (refused.code, refused.details["field"])


def test_another_request_under_its_id_is_refused(room: Room, client: Client) -> None:
    """Whatever differs of what the result depends on; the order of a map's keys does not."""
    run(room, client, given(1))
    answer(room, 0)
    for other in (
        given(2),
        given(1, lm="x"),
        given(1, failure_score=0.5),
        given(1, metrics={"left": METRICS["right"]}),
        given(1, spec={**SPEC, "module": "ChainOfThought"}),
    ):
        assert "evaluation_exists" == client.outcome(client.call(RUN, other)).code
    turned = {key: given(1)[key] for key in reversed(given(1))}
    assert "done" == client.outcome(client.call(RUN, turned)).fields["state"]


def test_the_last_run_has_it() -> None:
    """The one before ends, and what it had stored is kept."""
    room = Room(workers=1, calls_per_worker=8)
    client = room.add_client()
    first = run(room, client, given(3))
    answer(room, 0)
    second = run(room, client, given(3))
    room.workers[0].reply(room.workers[0].calls("evaluation.row")[1].id, row())
    assert "evaluation_taken" == client.outcome(first).code
    for index in (1, 2):
        answer(room, index)
    assert ("done", 3) == tuple(client.outcome(second).fields[key] for key in ("state", "done"))


def test_max_errors_stops_it_until_more_are_allowed(room: Room, client: Client) -> None:
    """Errors of all runs count."""
    call = run(room, client, given(6, parallelism=1, max_errors=2))
    for index in range(2):
        worker, call_id = under_way(room)[index]
        worker.fail(call_id)
    assert ("stopped", 2, 0) == tuple(client.outcome(call).fields[key] for key in ("state", "failed", "done"))
    assert "stopped" == client.outcome(run(room, client, given(6, max_errors=2))).fields["state"]
    call = run(room, client, given(6, max_errors=3))
    for index in range(2, 6):
        answer(room, index)
    assert ("done", 2, 4) == tuple(client.outcome(call).fields[key] for key in ("state", "failed", "done"))


def test_what_is_wrong_with_all_of_it_stores_nothing(room: Room, client: Client) -> None:
    """A worker has looked at it before the first row."""
    call = client.call(RUN, given(3))
    worker = next(worker for worker in room.workers if worker.calls("evaluation.check"))
    worker.fail(worker.calls("evaluation.check")[0].id, "unknown_lm")
    assert "unknown_lm" == client.outcome(call).code
    assert [] == ask(client, "list")["evaluations"]


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (3, "payload"),
        ({"metrics": METRICS, "spec": SPEC}, "dataset"),
        (given(1, dataset={"dataset": "d"}), "dataset"),
        (given(1, rows=[3]), "rows[0]"),
        (given(1, rows="x"), "rows"),
        (given(1, metrics={}), "metrics"),
        (given(1, metrics=[1]), "metrics"),
        (given(1, metrics={"a\n": 1}), "metrics"),
        (given(1, evaluation=""), "evaluation"),
        (given(1, evaluation="a\x00"), "evaluation"),
        (given(1, failure_score="x"), "failure_score"),
        (given(1, parallelism=0), "parallelism"),
        ({"dataset": {"dataset": "d", "select": {"side": "x"}}, "metrics": METRICS}, "dataset.select.side"),
        ({"dataset": {"dataset": "d"}, "metrics": METRICS, "input_keys": ["q"]}, "input_keys"),
        ({"dataset": "d", "metrics": METRICS}, "dataset"),
    ],
)
def test_a_wrong_argument_is_named(room: Room, client: Client, payload: object, field: str) -> None:
    """Before any worker hears of it."""
    outcome = client.outcome(client.call(RUN, payload))
    assert ("invalid_argument", field) == (outcome.code, outcome.details["field"])
    assert [] == [call for worker in room.workers for call in worker.calls("evaluation.check")]


def test_a_session_has_no_evaluation(client: Client) -> None:
    """Its turns go one after another."""
    outcome = client.outcome(client.call(RUN, given(1), session="s"))
    assert ("invalid_argument", "meta.session") == (outcome.code, outcome.details["field"])


def test_no_rows_are_done_at_once(room: Room, client: Client) -> None:
    """With no mean, and nothing that could be between two ends."""
    fields: Any = client.outcome(run(room, client, given(0))).fields
    assert ("done", 0, None) == (fields["state"], fields["rows"], fields["latency_ms"])
    assert {None} == {fields["scores"]["right"][key] for key in ("mean", "low", "high", "passed")}


def test_a_worker_that_says_nonsense_costs_that_row(room: Room, client: Client) -> None:
    """It is an error of ours, and stored as one."""
    call = run(room, client, given(3))
    for index, nonsense in enumerate(
        (7, {"scores": {}}, {**row(), "scores": {"right": 3}, "worker_ms": "x"})
    ):
        answer(room, index, nonsense)
    assert (1, 2) == tuple(client.outcome(call).fields[key] for key in ("done", "failed"))
    rows = ask(client, "rows", evaluation="e")["rows"]
    assert ["internal", "internal", None] == [one["error"] and one["error"]["code"] for one in rows]


def test_a_row_under_which_workers_die_is_an_error_of_its_own() -> None:
    """It is repeated, then given up, and stored as that; the others have their scores."""
    room = Room(workers=1, calls_per_worker=1)
    client = room.add_client()
    call = run(room, client, given(2, parallelism=1))
    for _ in range(5):
        worker = room.workers[-1]
        if [0] != [index_of(sent) for sent in worker.calls("evaluation.row")]:
            break
        worker.start_all()
        worker.die("SIGSEGV")
        room.add_worker()
    answer(room, 1)
    made = client.outcome(call).fields
    assert ("done", 1, 1) == tuple(made[key] for key in ("state", "done", "failed"))
    first, second = ask(client, "rows", evaluation="e")["rows"]
    assert ("poisoned", None) == (first["error"]["code"], first["worker_ms"])
    assert 1.0 == second["scores"]["right"]["score"]


def test_deleted_it_ends(room: Room, client: Client) -> None:
    """Its run hears of that at its next row; nothing of it is left, and its id is free."""
    call = run(room, client, given(3))
    answer(room, 0)
    assert None is client.outcome(client.call("evaluation.delete", {"evaluation": "e"})).value
    answer(room, 1)
    assert "unknown_evaluation" == client.outcome(call).code
    again = client.call("evaluation.delete", {"evaluation": "e"})
    assert "unknown_evaluation" == client.outcome(again).code
    call = run(room, client, given(1, lm="another"))
    answer(room, 0)
    assert 1 == client.outcome(call).fields["done"]
    assert 1 == ask(client, "rows", evaluation="e")["total"]


class FailingStore(MemoryStore):
    """A store whose commits fail when it is told so."""

    is_away = False

    async def commit(self, changes: Any, fences: Any = ()) -> list[int]:
        if self.is_away:
            raise Unavailable("gone")
        given: tuple[list[Change], list[Fence]] = (list(changes), list(fences))
        return await super().commit(*given)


def test_a_store_that_fails_ends_the_run_and_not_the_evaluation() -> None:
    """What was not stored is run again by the next one."""
    stores: list[FailingStore] = []

    def make(clock: Any) -> MemoryStore:
        stores.append(FailingStore(clock))
        return stores[0]

    room = Room(workers=1, calls_per_worker=4, store=make)
    client = room.add_client()
    call = run(room, client, given(3))
    answer(room, 0)
    stores[0].is_away = True
    answer(room, 1)
    assert "store_unavailable" == client.outcome(call).code
    stores[0].is_away = False
    call = run(room, client, given(3))
    for index in (1, 2):
        answer(room, index)
    assert 3 == client.outcome(call).fields["done"]


@pytest.mark.parametrize("place", ["payload", "rows", "metrics", "dataset", "spec"])
def test_broken_values_fail_their_call(room: Room, client: Client, place: str) -> None:
    """As a whole or as a part; none of them is a fault of ours, and nothing is stored."""
    parts = {key: encode_value(value) for key, value in given(1).items()}
    for number, vector in enumerate(BROKEN_VALUES, start=100):
        raw = read_bytes(vector)
        if place in ("payload", "metrics", "dataset", "spec"):
            payload = raw if place == "payload" else join_map({**parts, place: raw})
        else:
            payload = join_map({**parts, "rows": join_array([parts["metrics"], raw])})
        client.give(encode(CALL, number, RUN, {}, payload)[HEADER_BYTES:])
        for worker in room.workers:
            for check in worker.calls("evaluation.check"):
                if check.id in worker.worker.calls:  # what only a worker reads may be anything
                    worker.fail(check.id, "invalid_argument")
        assert client.outcome(number).code != "internal", vector
    assert [] == ask(client, "list")["evaluations"]
    assert {} == under_way(room)
