"""What the supervisor keeps of the last calls: bounded, by whose they were, and nothing that was forged."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import pytest
from tests.support.fakes import Client, FakeWorker, Room, body_of

from dspex_pool import history
from dspex_protocol import FAIL, NOTE


def tell(worker: FakeWorker, call_id: int, requests: object, outcome: str = "ok") -> None:
    """A worker says what is to be kept of a call."""
    worker.give(body_of(NOTE, 0, "call.history", {"call": call_id, "outcome": outcome}, requests))


class Scene:
    """A room with a client whose calls are made one after the other."""

    def __init__(self, workers: int = 1, **settings: object) -> None:
        self.room = Room(workers, **settings)  # type: ignore[arg-type]
        self.client: Client = self.room.add_client()

    def run(self, requests: object, outcome: str = "ok", **meta: Any) -> None:
        """A call of which its worker says so."""
        self.client.call("program.predict", {"inputs": {}}, **meta)
        worker = next(one for one in self.room.workers if one.worker.calls)
        (inner,) = worker.worker.calls
        tell(worker, inner, requests, outcome)
        worker.reply(inner)

    def ask(self, payload: object = None, **meta: Any) -> dict[str, Any]:
        asked = self.client.call("program.history", payload or {}, **meta)
        return cast("dict[str, Any]", self.client.outcome(asked).value)

    def numbers(self, payload: object = None, **meta: Any) -> list[int]:
        return [call["number"] for call in self.ask(payload, **meta)["calls"]]


def test_a_call_is_kept_with_what_is_known_of_it() -> None:
    """Whose it was, who ran it, how it ended; the requests as the worker has told them."""
    scene = Scene(history="redacted")
    scene.room.store("qa")
    scene.run([{"predictor": "self"}], "lm_error", program="qa", tenant="shop")
    answer = scene.ask()
    assert ("redacted", None) == (answer["level"], answer["next"])
    (call,) = answer["calls"]
    assert dt.datetime.fromtimestamp(1_700_000_000, dt.UTC) == call.pop("at")
    assert {
        "number": 1,
        "method": "program.predict",
        "program": "qa",
        "version": 1,
        "session": None,
        "tenant": "shop",
        "worker": 1,
        "attempt": 1,
        "outcome": "lm_error",
        "requests": [{"predictor": "self"}],
    } == call


def test_nothing_is_there_where_nothing_was_told() -> None:
    """As with history off."""
    scene = Scene()
    assert {"level": "off", "calls": [], "next": None} == scene.ask()


def test_calls_are_found_by_whose_they_are() -> None:
    """The newest first."""
    scene = Scene()
    scene.room.store("qa")
    scene.room.store("other")
    for program, tenant in (("qa", "a"), ("other", "a"), ("qa", "b")):
        scene.run([], program=program, tenant=tenant)
    scene.run([])
    assert [4, 3, 2, 1] == scene.numbers()
    assert [3, 1] == scene.numbers(program="qa") == scene.numbers(program="qa", version=1)
    assert [] == scene.numbers(program="qa", version=2) == scene.numbers({"worker": 2})
    assert [2, 1] == scene.numbers(tenant="a")
    assert [4, 3, 2, 1] == scene.numbers({"worker": 1})


def test_pages_follow_one_another() -> None:
    """Until there is no more."""
    scene = Scene()
    for _ in range(5):
        scene.run([])
    first = scene.ask({"limit": 2})
    assert ([5, 4], 4) == ([call["number"] for call in first["calls"]], first["next"])
    second = scene.ask({"limit": 2, "before": 4})
    third = scene.ask({"limit": 2, "before": second["next"]})
    assert ([1], None) == ([call["number"] for call in third["calls"]], third["next"])


def test_a_page_is_no_longer_than_a_client_can_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though one call always is on it."""
    monkeypatch.setattr(history, "MAX_ANSWER_BYTES", 50)
    scene = Scene()
    for _ in range(3):
        scene.run(["x" * 30])
    answer = scene.ask()
    assert ([3], 3) == ([call["number"] for call in answer["calls"]], answer["next"])


def test_the_oldest_go_by_number_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is too large is not kept at all."""
    monkeypatch.setattr(history, "MAX_CALLS", 3)
    scene = Scene()
    for _ in range(5):
        scene.run([])
    assert [5, 4, 3] == scene.numbers()
    monkeypatch.setattr(history, "MAX_BYTES", 100)
    for _ in range(2):
        scene.run(["x" * 60])
    assert [7] == scene.numbers()
    monkeypatch.setattr(history, "MAX_CALL_BYTES", 50)
    scene.run(["x" * 60])
    assert [7] == scene.numbers()


def test_a_worker_says_nothing_of_calls_that_are_not_its_own() -> None:
    """Nor of one that there is not, nor what is no value."""
    scene = Scene(workers=2)
    scene.client.call("program.predict", {"inputs": {}})
    owner = next(one for one in scene.room.workers if one.worker.calls)
    other = next(one for one in scene.room.workers if not one.worker.calls)
    (inner,) = owner.worker.calls
    for call_id in (inner, inner + 1, 0, "x"):
        tell(other, call_id, ["forged"])  # type: ignore[arg-type]
    tell(owner, inner + 7, ["forged"])
    assert [] == scene.numbers()
    note = body_of(NOTE, 0, "call.history", {"call": inner, "outcome": "ok"}, None)
    owner.give(note[:-1] + b"\xc1")
    assert [[]] == [call["requests"] for call in scene.ask()["calls"]]


def test_what_is_asked_for_is_checked() -> None:
    """By the name of the field."""
    scene = Scene()
    for payload, meta, field in (
        ({"limit": 0}, {}, "limit"),
        ({"worker": "x"}, {}, "worker"),
        ({"text": True}, {}, "text"),
        ({}, {"version": 0}, "meta.version"),
        ({}, {"program": ""}, "meta.program"),
    ):
        outcome = scene.client.outcome(scene.client.call("program.history", payload, **meta))
        assert (FAIL, "invalid_argument", field) == (outcome.kind, outcome.code, outcome.details["field"])
