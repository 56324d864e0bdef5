"""The methods about experiments, as a client has them."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.support.fakes import Client, Room

from dspex_pool.experiments.operations import MAX_ARTIFACT_BYTES
from dspex_protocol import REPLY, decode_failure


class Lab:
    """A client that does one experiment.

    Args:
        client: On a server without workers, which none of this needs.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def ask(self, method: str, **payload: Any) -> Any:
        """What a method answers."""
        frame = self._client.outcome(
            self._client.call(f"experiment.{method}", {"experiment": "e", **payload})
        )
        assert frame.kind == REPLY, decode_failure(frame.payload)
        return cast("Any", frame.value)

    def refusal(self, method: str, **payload: Any) -> tuple[str, object]:
        """The code and the field of an error."""
        frame = self._client.outcome(
            self._client.call(f"experiment.{method}", {"experiment": "e", **payload})
        )
        failure = decode_failure(frame.payload)
        return failure.code, failure.details.get("field")


@pytest.fixture
def lab() -> Lab:
    return Lab(Room().add_client())


def test_a_run_from_its_beginning_to_its_end(lab: Lab) -> None:
    """Everything that was said is told, and what was said twice as it was said last."""
    begun = lab.ask("begin", params={"k": 4, "lm": "small"}, lineage={"program": "qa"}, note="a try")
    assert {"experiment": "e", "run": "run-1"} == begun
    run = begun["run"]
    lab.ask("log", run=run, params={"k": 5}, points=[{"name": "f1", "value": 0.5}])
    lab.ask("log", run=run, points=[{"name": "f1", "value": 0.75}, {"name": "cost", "value": 2, "step": 10}])
    lab.ask("log", run=run, lineage={"version": 3})
    lab.ask("attach", run=run, name="report.html", content="<p>", media_type="text/html")
    lab.ask("end", run=run)
    told = lab.ask("run", run=run)
    assert told.pop("created") <= told.pop("ended")
    artifact = told.pop("artifacts")["report.html"]
    assert ("text/html", 3) == (artifact["media_type"], artifact["size_bytes"])
    assert {
        "experiment": "e",
        "run": "run-1",
        "number": 1,
        "state": "done",
        "note": "a try",
        "params": {"k": 5, "lm": "small"},
        "lineage": {"program": "qa", "version": 3},
        "metrics": {
            "f1": {"last": 0.75, "step": 1, "least": 0.5, "most": 0.75, "points": 2},
            "cost": {"last": 2.0, "step": 10, "least": 2.0, "most": 2.0, "points": 1},
        },
    } == told
    points = lab.ask("points", run=run, metric="f1")
    assert [(0, 0.5), (1, 0.75)] == [(point["step"], point["value"]) for point in points["points"]]
    assert "<p>" == lab.ask("artifact", run=run, name="report.html")["content"]


def test_runs_are_sorted_by_what_they_came_to(lab: Lab) -> None:
    """Those without that metric are last, and pages go on where the one before ended."""
    for value in (0.25, None, 0.75, 0.5, 0.75):
        run = lab.ask("begin")["run"]
        if value is not None:
            lab.ask("log", run=run, points=[{"name": "f1", "value": value}])

    def numbers(**how: Any) -> list[int]:
        found = list[int]()
        offset: Any = 0
        while offset is not None:
            page = lab.ask("runs", limit=2, offset=offset, **how)
            found += [run["number"] for run in page["runs"]]
            offset = page["next"]
        return found

    assert [5, 4, 3, 2, 1] == numbers()
    assert [3, 5, 4, 1, 2] == numbers(sort="f1")
    assert [1, 4, 3, 5, 2] == numbers(sort="f1", lowest=True)


@pytest.mark.parametrize(
    ("method", "payload", "field"),
    [
        ("begin", {"run": "r"}, "run"),  # there is one
        ("begin", {"run": "a\x00b"}, "run"),
        ("begin", {"experiment": ""}, "experiment"),
        ("begin", {"params": {"k": [1]}}, "params.k"),
        ("begin", {"params": {"k": "x" * 4001}}, "params.k"),
        ("begin", {"params": {"": 1}}, "params"),
        ("begin", {"params": {str(n): n for n in range(501)}}, "params"),
        ("log", {"run": "r", "points": [{"name": "f1", "value": float("nan")}]}, "points[0].value"),
        ("log", {"run": "r", "points": [{"name": "f1", "value": "high"}]}, "points[0].value"),
        ("log", {"run": "r", "points": [{"name": "f1", "value": 1, "step": -1}]}, "points[0].step"),
        ("log", {"run": "r", "points": [{"name": str(n), "value": n} for n in range(501)]}, "points"),
        ("log", {"run": "over"}, "run"),
        ("end", {"run": "over"}, "run"),
        ("end", {"run": "r", "state": "won"}, "state"),
        ("attach", {"run": "r", "name": "a", "content": 3}, "content"),
        ("attach", {"run": "r", "name": "a", "content": bytes(MAX_ARTIFACT_BYTES + 1)}, "content"),
        ("attach", {"run": "r", "name": "", "content": ""}, "name"),
        ("artifact", {"run": "r", "name": "none"}, "name"),
        ("runs", {"limit": 0}, "limit"),
    ],
)
def test_what_cannot_be_names_its_field(lab: Lab, method: str, payload: dict[str, Any], field: str) -> None:
    """And changes nothing."""
    lab.ask("begin", run="r")
    lab.ask("begin", run="over")
    lab.ask("end", run="over")
    before = lab.ask("runs")
    assert ("invalid_argument", field) == lab.refusal(method, **payload)
    assert before == lab.ask("runs")


@pytest.mark.parametrize("method", ["run", "log", "attach", "end", "points", "artifact"])
def test_what_is_not_there_is_unknown(lab: Lab, method: str) -> None:
    """The run of an experiment, and the experiment."""
    payload = {"run": "r"} | ({"name": "a"} if method in ("attach", "artifact") else {})
    payload |= {"content": ""} if method == "attach" else {}
    assert ("unknown_experiment", None) == lab.refusal(method, **payload)
    lab.ask("begin")
    assert ("unknown_experiment", None) == lab.refusal(method, **payload)


def test_experiments_are_listed_by_id() -> None:
    """A page at a time, and not when they are deleted."""
    client = Room().add_client()
    lab = Lab(client)
    for name in ("b", "a", "c", "a", "d"):
        lab.ask("begin", experiment=name)
    lab.ask("delete", experiment="b")
    first: Any = client.outcome(client.call("experiment.list", {"limit": 2})).value
    second: Any = client.outcome(client.call("experiment.list", {"limit": 2, "after": first["next"]})).value
    rows = [*first["experiments"], *second["experiments"]]
    assert [("a", 2), ("c", 1), ("d", 1)] == [(row["experiment"], row["begun"]) for row in rows]
    assert second["next"] is None
