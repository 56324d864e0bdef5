"""Evaluations that tell of themselves in an experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.pool.evaluation.rooms import METRICS, RUN, answer, given, row, run, under_way
from tests.support.fakes import Client, Room

from dspex_pool.store import Change, Fence, Full
from dspex_pool.store.memory import MemoryStore
from dspex_protocol import decode_failure


@pytest.fixture
def room() -> Room:
    return Room(workers=1, calls_per_worker=8)


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


def runs(client: Client) -> list[dict[str, Any]]:
    fields: Any = client.outcome(client.call("experiment.runs", {"experiment": "x"})).fields
    return fields["runs"]  # type: ignore[no-any-return]


def test_an_evaluation_is_a_run(room: Room, client: Client) -> None:
    """Open while it runs, and at its end with the means and what it has cost."""
    call = run(room, client, given(3, experiment="x", note="why", lm="small", failure_score=0.5))
    (one,) = runs(client)
    assert ("open", "why", {}) == (one["state"], one["note"], one["metrics"])
    assert {
        "spec.module": "Predict",
        "spec.signature": "q -> a",
        "metrics.right.metric": "exact_match",
        "metrics.right.options.field": "a",
        "failure_score": 0.5,
        "lm": "small",
        "rows": 3,
    } == one["params"]
    for index, score in enumerate((1.0, 0.0, None)):
        answer(room, index, row(score), lm_calls=2, tokens_in=5, cost_usd=0.25)
    fields: Any = client.outcome(call).fields
    assert ("x", "run-1") == (fields["experiment"], fields["run"])
    (one,) = runs(client)
    assert ("done", fields["ended"]) == (one["state"], one["ended"])
    assert {"evaluation": "e", "checksum": fields["checksum"]} == one["lineage"]
    last = {name: metric["last"] for name, metric in one["metrics"].items()}
    costs = {"lm_calls": 6.0, "tokens_in": 15.0, "tokens_out": 0.0, "cost_usd": 0.75, "failed_rows": 0.0}
    assert {"right": 0.5, **costs} == last
    assert ["right", *costs] == list(last)
    assert [one] == runs(client)


def test_a_metric_keeps_its_name(room: Room, client: Client) -> None:
    """Also where that is what something has cost."""
    call = run(room, client, given(1, experiment="x", metrics={"cost_usd": METRICS["right"]}))
    answer(room, 0, row(1.0, name="cost_usd"), cost_usd=0.25)
    assert "done" == client.outcome(call).fields["state"]
    (one,) = runs(client)
    assert (1.0, 1) == (one["metrics"]["cost_usd"]["last"], one["metrics"]["cost_usd"]["points"])


def test_one_that_goes_on_stays_one_run(room: Room, client: Client) -> None:
    """However often it was cut off, with the experiment named again or not."""
    first = run(room, client, given(2, experiment="x"))
    answer(room, 0)
    client.cancel(first)
    second = run(room, client, given(2))
    client.cancel(second)
    run(room, client, given(2, experiment="x"))
    answer(room, 1)
    (one,) = runs(client)
    assert ("done", 1) == (one["state"], one["metrics"]["right"]["points"])
    again: Any = client.outcome(client.call(RUN, given(2, experiment="x"))).fields
    assert ("done", "run-1") == (again["state"], again["run"])


@pytest.mark.parametrize("named", [{"experiment": "x"}, {}])
def test_one_that_was_stopped_goes_on_in_another_run(
    room: Room, client: Client, named: dict[str, object]
) -> None:
    """What has ended stays as it was; the experiment is the same, named again or not."""
    call = run(room, client, given(3, experiment="x", max_errors=1, parallelism=1))
    worker, call_id = under_way(room)[0]
    worker.fail(call_id)
    assert "stopped" == client.outcome(call).fields["state"]
    run(room, client, given(3, **named))
    for index in (1, 2):
        answer(room, index)
    later, first = runs(client)
    assert "q -> a" == later["params"]["spec.signature"]
    assert ("failed", "stopped: 1 rows failed") == (first["state"], first["note"])
    assert ("done", "run-1") == (later["state"], later["lineage"]["went_on_from"])


def test_one_that_is_run_again_tells_so_in_another_run(room: Room, client: Client) -> None:
    """Unless its run was deleted: then nobody wants to hear of it."""
    for times in (1, 2, 3):
        call = run(room, client, given(2, again=times > 1, **({"experiment": "x"} if times == 1 else {})))
        worker, call_id = under_way(room)[0]
        worker.fail(call_id)
        if times == 1:
            answer(room, 1)
        made: Any = client.outcome(call).fields
        names = [one["run"] for one in runs(client)]
        assert (made["failed"], f"run-{min(times, 2)}") == (1, made["run"])
        if times == 2:
            assert ["run-2", "run-1"] == names
            client.outcome(client.call("experiment.delete", {"experiment": "x", "run": "run-2"}))
    assert ["run-1"] == names


@pytest.mark.parametrize(
    ("begun", "experiment"), [({"experiment": "x"}, "other"), ({}, "x"), ({}, ""), ({}, "a\x00"), ({}, 7)]
)
def test_another_experiment_is_refused(
    room: Room, client: Client, begun: dict[str, object], experiment: object
) -> None:
    """An evaluation tells of itself in one, from its beginning."""
    client.cancel(run(room, client, given(1, **begun)))
    failure = decode_failure(client.outcome(client.call(RUN, given(1, experiment=experiment))).payload)
    assert ("invalid_argument", "experiment") == (failure.code, failure.details["field"])


@pytest.mark.parametrize(
    ("is_done", "told"), [(True, ("done", None)), (False, ("failed", "its evaluation is gone"))]
)
def test_one_that_is_deleted_has_told_what_it_had_to(
    room: Room, client: Client, is_done: bool, told: tuple[str, str | None]
) -> None:
    """And one that had not ended never will."""
    call = run(room, client, given(1, experiment="x"))
    if is_done:
        answer(room, 0)
    else:
        client.cancel(call)
    client.outcome(client.call("evaluation.delete", {"evaluation": "e"}))
    (one,) = runs(client)
    assert told == (one["state"], one["note"])


class NarrowStore(MemoryStore):
    """A store that takes no more when it is told so."""

    is_full = False

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        if self.is_full:
            raise Full("no room")
        return await super().commit(changes, fences)


def test_a_store_that_takes_no_writes_can_be_read() -> None:
    """Runs are as they were written last, and come up to date when there is room again."""
    stores: list[NarrowStore] = []

    def new_store(clock: Callable[[], float]) -> NarrowStore:
        stores.append(NarrowStore(clock))
        return stores[-1]

    room = Room(workers=1, calls_per_worker=8, store=new_store)
    client = room.add_client()
    call = run(room, client, given(1, experiment="x"))
    answer(room, 0)
    assert "done" == client.outcome(call).fields["state"]
    stores[0].is_full = True
    assert ["open"] == [one["state"] for one in runs(client)]
    # And nothing is forgotten that has not been told.
    assert "store_full" == client.outcome(client.call("evaluation.delete", {"evaluation": "e"})).code
    stores[0].is_full = False
    assert ["done"] == [one["state"] for one in runs(client)]


def test_its_experiment_may_be_deleted(room: Room, client: Client) -> None:
    """It runs on, and tells nobody."""
    call = run(room, client, given(1, experiment="x"))
    client.outcome(client.call("experiment.delete", {"experiment": "x"}))
    answer(room, 0)
    assert ("done", "run-1") == tuple(client.outcome(call).fields[key] for key in ("state", "run"))
    client.outcome(client.call("evaluation.delete", {"evaluation": "e"}))
    assert "unknown_experiment" == client.outcome(client.call("experiment.runs", {"experiment": "x"})).code
