"""An evaluation between fakes: a worker that the test speaks for, and a store in memory."""

from __future__ import annotations

from typing import Any, Final

from tests.support.fakes import Client, FakeWorker, Frame, Room

RUN: Final = "evaluation.run"
SPEC: Final = {"module": "Predict", "signature": "q -> a"}
METRICS: Final = {"right": {"metric": "exact_match", "options": {"field": "a"}}}


def given(count: int, **more: object) -> dict[str, object]:
    """An evaluation of so many rows that come with it."""
    rows = [{"q": index, "a": str(index)} for index in range(count)]
    return {"evaluation": "e", "spec": SPEC, "rows": rows, "metrics": METRICS, **more}


def run(room: Room, client: Client, payload: dict[str, object], **meta: object) -> int:
    """Begin one: a worker finds nothing wrong with it."""
    call = client.call(RUN, payload, **meta)
    for worker in room.workers:
        for check in worker.calls("evaluation.check"):
            if check.id in worker.worker.calls:
                worker.reply(check.id)
    return call


def index_of(call: Frame) -> int:
    """Which row a worker was given."""
    example: Any = call.fields["example"]
    index: int = example["q"]
    return index


def under_way(room: Room) -> dict[int, tuple[FakeWorker, int]]:
    """Which worker has which row as which call; of all that were ever sent, the last one."""
    return {
        index_of(call): (worker, call.id)
        for worker in room.workers
        for call in worker.calls("evaluation.row")
    }


def row(score: float | None = 1.0, *, name: str = "right", **more: object) -> dict[str, object]:
    """What a worker says of a row; without a score the metric has failed."""
    lacking: dict[str, object] = {"error": {"code": "metric_failed", "message": "no score of 7"}}
    scored: dict[str, object] = {"score": score, "passed": score == 1, "feedback": None, "parts": {}}
    return {
        "prediction": {"a": "x"},
        "error": None,
        "scores": {name: lacking if score is None else scored},
        "usage": {},
        "metric_usage": {},
        "worker_ms": 2.0,
        **more,
    }


def answer(room: Room, index: int, value: object = None, **meta: object) -> None:
    """A worker has done a row."""
    worker, call_id = under_way(room)[index]
    worker.reply(call_id, row() if value is None else value, **meta)


def ask(client: Client, method: str, **payload: object) -> dict[str, Any]:
    """What another method about evaluations answers."""
    return client.outcome(client.call(f"evaluation.{method}", payload)).fields
