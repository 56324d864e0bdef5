"""`report.make` in the supervisor: what it reads, and how the text gets to its client."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from tests.pool.evaluation.rooms import answer, ask, given, row, run
from tests.support.fakes import Client, Frame, Room

from dspex_pool.reports import delivery, text

MAKE = "report.make"


@pytest.fixture
def room() -> Room:
    return Room(workers=2, calls_per_worker=16)


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


def evaluated(room: Room, client: Client, evaluation: str, scores: list[float | None]) -> None:
    """An evaluation that is done."""
    call = run(room, client, given(len(scores), evaluation=evaluation))
    for index, score in enumerate(scores):
        answer(room, index, row(score))
    assert "done" == client.outcome(call).fields["state"]


def made(client: Client, **payload: object) -> str:
    """A report, whole."""
    reply = client.outcome(client.call(MAKE, payload)).fields
    whole = str(reply["text"])
    assert len(whole.encode()) == reply["size_bytes"]
    assert payload["format"] == reply["format"]
    return whole


def failed(client: Client, payload: dict[str, object], **meta: object) -> Frame:
    """The error of one that cannot be."""
    return client.outcome(client.call(MAKE, payload, **meta))


def test_an_evaluation_is_reported_in_every_format(room: Room, client: Client) -> None:
    """With its rows in their order, whatever the order in which they came."""
    evaluated(room, client, "e", [1.0, 0.0, None, 1.0])
    assert "<h1>e</h1>" in made(client, evaluation="e", format="html")
    assert "# Evaluation of e" in made(client, evaluation="e", format="markdown")
    whole = json.loads(made(client, evaluation="e", format="json"))
    assert [0, 1, 2, 3] == [one["index"] for one in whole["rows"]]
    assert 2 == whole["failures"]["failing"]
    asked = ask(client, "get", evaluation="e")
    assert asked["scores"] == whole["evaluation"]["scores"]
    head, *lines = csv.reader(io.StringIO(made(client, evaluation="e", format="csv"), newline=""))
    assert ["1.0", "0.0", "", "1.0"] == [line[head.index("right.score")] for line in lines]
    assert ["0", "1", "2", "3"] == [line[head.index("example.a")] for line in lines]


def test_a_comparison_has_its_rows_side_by_side(room: Room, client: Client) -> None:
    """Each with what every evaluation has of it."""
    evaluated(room, client, "a", [1.0, 0.0, 0.0, 1.0])
    evaluated(room, client, "b", [1.0, 1.0, 1.0, None])
    wish = {"evaluations": ["a", "b"], "resamples": 200}
    whole = json.loads(made(client, comparison=wish, format="json"))
    assert 0.25 == whole["comparison"]["metrics"]["right"][0]["difference"]
    assert [[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, None]] == [
        one["scores"]["right"] for one in whole["rows"]
    ]
    assert [[1, 1]] * 3 == [
        [side["scores"]["right"]["score"] is not None for side in one["sides"]] for one in whole["rows"][:3]
    ]
    assert ["a", "b"] == [side["evaluation"] for side in whole["evaluations"]]
    assert "b against a" in made(client, comparison=wish, format="markdown")
    assert "No significant" in made(client, comparison=wish, format="html").replace("no s", "No s")
    head, *lines = csv.reader(io.StringIO(made(client, comparison=wish, format="csv"), newline=""))
    assert ["0.0", "1.0", "1.0", "-1.0"] == [line[head.index("difference of right")] for line in lines]


def test_three_evaluations_are_compared_pair_by_pair(room: Room, client: Client) -> None:
    """Each with its scores of every row; differences of rows are of two only."""
    for name, scores in {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [1.0, 1.0]}.items():
        evaluated(room, client, name, list[float | None](scores))
    wish = {"evaluations": ["a", "b", "c"], "resamples": 200}
    page = made(client, comparison=wish, format="html")
    assert all(f"{b} less {a}" in page for a, b in (("a", "b"), ("a", "c"), ("b", "c")))
    head, *lines = csv.reader(io.StringIO(made(client, comparison=wish, format="csv"), newline=""))
    assert [["1.0", "0.0", "1.0"], ["0.0", "1.0", "1.0"]] == [
        [line[head.index(f"{name}: right")] for name in "abc"] for line in lines
    ]
    assert not any("difference" in name for name in head)
    assert "| right | c less b |" in made(client, comparison=wish, format="markdown")


def test_an_experiment_has_its_runs_with_their_values(room: Room, client: Client) -> None:
    """The newest first, as of `experiment.runs`."""
    for number in range(3):
        begun = {"experiment": "x", "run": f"r{number}", "params": {"k": number}}
        client.call("experiment.begin", begun)
        points = [{"name": "f1", "value": value / 10} for value in range(number + 2)]
        client.call("experiment.log", {"experiment": "x", "run": f"r{number}", "points": points})
    whole = json.loads(made(client, experiment="x", format="json"))
    assert [("r2", 2), ("r1", 1), ("r0", 0)] == [(one["run"], one["params"]["k"]) for one in whole["runs"]]
    assert [0.0, 0.1, 0.2, 0.3] == [point["value"] for point in whole["runs"][0]["points"]]
    page = made(client, experiment="x", format="html")
    assert "f1 over steps" in page
    assert "unknown_experiment" == failed(client, {"experiment": "y", "format": "html"}).fields["code"]


@pytest.mark.parametrize(
    ("payload", "code", "field"),
    [
        ({"format": "html"}, "invalid_argument", "payload"),
        ({"format": "html", "evaluation": "e", "experiment": "x"}, "invalid_argument", "payload"),
        ({"format": "pdf", "evaluation": "e"}, "invalid_argument", "format"),
        ({"evaluation": "e"}, "invalid_argument", "format"),
        ({"format": "csv", "evaluation": "a\x00"}, "invalid_argument", "evaluation"),
        ({"format": "csv", "evaluation": "nobody's"}, "unknown_evaluation", None),
        ({"format": "csv", "job": "nobody's"}, "unknown_job", None),
        ({"format": "csv", "job": "j", "evaluation": "e"}, "invalid_argument", "payload"),
        (
            {"format": "csv", "comparison": {"evaluations": ["e"]}},
            "invalid_argument",
            "comparison.evaluations",
        ),
    ],
)
def test_what_cannot_be_reported_is_refused(
    room: Room, client: Client, payload: dict[str, object], code: str, field: str | None
) -> None:
    """By code, and where the call is wrong by the field."""
    refusal: Any = failed(client, payload).fields
    assert (code, field) == (refusal["code"], refusal["details"].get("field"))


def test_pieces_come_as_there_is_credit(room: Room, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbered, none more than was asked for; together they are the whole text."""
    monkeypatch.setattr(text, "PIECE_CHARACTERS", 2_000)
    evaluated(room, client, "e", [1.0] * 5)
    call = client.call(MAKE, {"evaluation": "e", "format": "html"}, credit=2)
    assert ([0, 1], []) == ([item.meta["seq"] for item in client.items(call)], client.outcomes(call))
    client.credit(call, 1)
    assert 3 == len(client.items(call))
    client.credit(call, 1_000)
    reply = client.outcome(call).fields
    whole = "".join(pieces_of(client, call))
    assert made(client, evaluation="e", format="html") == whole
    assert (None, len(whole.encode())) == (reply["text"], reply["size_bytes"])


def test_who_waits_for_credit_holds_nobody_up(
    room: Room, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a report made for a client that is gone, or that gave it up."""
    monkeypatch.setattr(text, "PIECE_CHARACTERS", 2_000)
    evaluated(room, client, "e", [1.0] * 5)
    waiting = [client.call(MAKE, {"evaluation": "e", "format": "html"}, credit=1) for _ in range(40)]
    assert [] == [call for call in waiting if client.outcomes(call)]
    assert "e" == ask(client, "get", evaluation="e")["evaluation"]
    for call in waiting:
        client.cancel(call)
    assert {"cancelled"} == {client.outcome(call).fields["code"] for call in waiting}
    assert 0 == len(room.switchboard.stored.deliveries)
    other = room.add_client()
    other.call(MAKE, {"evaluation": "e", "format": "html"}, credit=1)
    assert 1 == len(room.switchboard.stored.deliveries)
    other.hang_up()
    assert 0 == len(room.switchboard.stored.deliveries)


def test_so_many_are_made_and_no_more(room: Room, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes then is told when to come back."""
    monkeypatch.setattr(delivery, "MAX_OPEN", 2)
    monkeypatch.setattr(text, "PIECE_CHARACTERS", 2_000)
    evaluated(room, client, "e", [1.0])
    payload: dict[str, object] = {"evaluation": "e", "format": "html"}
    first, _ = (client.call(MAKE, payload, credit=1) for _ in range(2))
    assert "overloaded" == failed(client, payload, credit=1).fields["code"]
    client.credit(first, 1_000)
    assert "html" == client.outcome(first).fields["format"]
    assert "html" == failed(client, payload, credit=1_000).fields["format"]


def test_a_report_that_is_longer_than_a_frame_wants_credit(room: Room) -> None:
    """Its client is told so by the error, and gets it in pieces."""
    client = room.add_client(max_frame_bytes=65_536)
    evaluated(room, client, "e", [1.0] * 5)
    rows = [{"q": "x" * 10_000, "a": "y"} for _ in range(8)]
    call = run(room, client, {**given(0, evaluation="long"), "rows": rows})
    for worker in room.workers:
        for frame in worker.calls("evaluation.row"):
            if frame.id in worker.worker.calls:
                worker.reply(frame.id, row())
    assert "done" == client.outcome(call).fields["state"]
    payload: dict[str, object] = {"evaluation": "long", "format": "json"}
    assert "result_too_large" == failed(client, payload).fields["code"]
    call = client.call(MAKE, payload, credit=100)
    assert all(len(piece.encode()) < 65_000 for piece in pieces_of(client, call))
    assert 8 == json.loads(text_of(client, call))["evaluation"]["rows"]


def pieces_of(client: Client, call: int) -> list[str]:
    """What came in pieces."""
    return [str(item.fields["text"]) for item in client.items(call)]


def text_of(client: Client, call: int) -> str:
    """What came in pieces."""
    assert "json" == client.outcome(call).fields["format"]
    return "".join(pieces_of(client, call))
